//! What a guest does that means harm, or means nothing. Nothing but itself may suffer.

use crate::interrupts::processor;
use crate::options::Options;
use crate::page::Page;
use crate::report::{Failure, Outcome, equal, holds};
use crate::{cpu, processors, say};

/// A generator of numbers that can be repeated (xorshift64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = Options::get().number("seed", 0);
        let seed = if seed == 0 { cpu::tsc() | 1 } else { seed };
        say!("payload: seed={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Tables for one page of linear addresses, at 512 GiB: below the second entry of the PML4.
static TABLES: [Page; 3] = [const { Page::new() }; 3];
const WINDOW: u64 = 1 << 39;

fn open_window() {
    let [pointers, directory, table] = &TABLES;
    pointers.write(0, directory.address() | 3);
    directory.write(0, table.address() | 3);
    // SAFETY: the PML4 of the vmm is at 0x1000; its second entry is free.
    unsafe { (0x1008 as *mut u64).write_volatile(pointers.address() | 3) };
}

/// Reads and writes at random guest-physical addresses over the whole width, its own memory left out.
pub fn random_gpa() -> Outcome {
    let count = Options::get().number("count", 100_000);
    let own = Options::get().memory_bytes;
    let width = u64::from(cpu::cpuid(0x8000_0008, 0)[0] & 0xff).clamp(36, 52);
    let mut random = Random::new();
    open_window();
    let (mut answered, mut faults) = (0u64, 0u64);
    for n in 0..count {
        let bits = 32 + random.next() % (width - 31);
        let address = random.next() & ((1 << bits) - 1) & !0xfff;
        if address < own {
            continue;
        }
        TABLES[2].write(0, address | 3);
        cpu::invalidate(WINDOW);
        let offset = random.next() & 0xffc;
        let result = if random.next() & 1 == 0 {
            cpu::read_memory(WINDOW + offset).map(drop)
        } else {
            cpu::write_memory(WINDOW + offset, random.next() as u32)
        };
        match result {
            Ok(()) => answered += 1,
            Err(_) => faults += 1,
        }
        if n % 20_000 == 19_999 {
            say!("payload: random-gpa {} of {count}", n + 1);
        }
    }
    say!("payload: random-gpa {answered} answered, {faults} faults, width {width}");
    Ok(())
}

/// Registers that are changed by writing back what was read, or that reset the machine.
fn spared(number: u32) -> bool {
    matches!(number, 0x4000_0003 | 0x1b | 0x802..=0x8ff | 0xc000_0080..=0xc000_0084 | 0xc000_0100..=0xc000_0102)
}

/// Reads every register of every range that exists anywhere, and writes back what was read; to
/// those that can't be read, random values.
pub fn msr_sweep() -> Outcome {
    let mut random = Random::new();
    let (mut readable, mut writable, mut faults) = (0u64, 0u64, 0u64);
    let ranges = [
        0..0x2000u32,
        0x4000_0000..0x4000_2000,
        0xc000_0000..0xc000_2000,
        0xc001_0000..0xc001_2000,
    ];
    for number in ranges.into_iter().flatten() {
        let read = cpu::read_msr(number);
        readable += u64::from(read.is_ok());
        if !spared(number) {
            let written = cpu::write_msr(number, read.unwrap_or_else(|_| random.next()));
            writable += u64::from(written.is_ok());
            faults += u64::from(written.is_err());
        }
    }
    for _ in 0..10_000 {
        let number = random.next() as u32;
        if !spared(number) && !(0x4000_0000..0x4000_2000).contains(&number) && number > 0x2000 {
            faults += u64::from(cpu::read_msr(number).is_err());
        }
    }
    say!("payload: msr-sweep {readable} readable, {writable} writable, {faults} faults");
    holds("some exist", readable > 10, readable)?;
    holds("some don't", faults > 1000, faults)
}

/// All ports, all sizes, both directions; but the one that ends the machine and the serial port.
pub fn port_sweep() -> Outcome {
    let mut random = Random::new();
    for port in 0..=u16::MAX {
        let _ = (cpu::in8(port), cpu::in16(port), cpu::in32(port));
        if !(0xf1..=0xf4).contains(&port) && !(0x3f5..=0x3ff).contains(&port) {
            let value = random.next() as u32;
            cpu::out8(port, value as u8);
            cpu::out16(port, value as u16);
            cpu::out32(port, value);
        }
        if port % 0x4000 == 0x3fff {
            say!("payload: port-sweep {} of 65536", u32::from(port) + 1);
        }
    }
    Ok(())
}

/// An exception without a table: the processor shuts down.
pub fn triple_fault() -> ! {
    let none = [0u8; 10];
    say!("payload: triple fault follows");
    // SAFETY: the machine ends here, as intended.
    unsafe { core::arch::asm!("lidt [{}]", "ud2", in(reg) &none, options(noreturn)) }
}

/// One round: fill registers, wait, compare. Answers a bit per register that changed.
fn pattern_round(seed: u64) -> u32 {
    let word = |n: u64| (seed ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut wrong = 0u32;
    let mut vectors = [0u64; 32];
    for (n, value) in vectors.iter_mut().enumerate() {
        *value = word(n as u64);
    }
    let mut after = [0u64; 32];
    let mut gpr = [word(40), word(41), word(42), word(43), word(44), word(45)];
    let before = gpr;
    // SAFETY: the buffers hold 16 vector registers of 16 bytes each; all changed registers are
    // named (the target has no vector registers of its own to name). DR0 to DR3 are not enabled.
    unsafe {
        core::arch::asm!(
            "movups xmm0, [{v}]", "movups xmm1, [{v} + 16]", "movups xmm2, [{v} + 32]", "movups xmm3, [{v} + 48]",
            "movups xmm4, [{v} + 64]", "movups xmm5, [{v} + 80]", "movups xmm6, [{v} + 96]", "movups xmm7, [{v} + 112]",
            "movups xmm8, [{v} + 128]", "movups xmm9, [{v} + 144]", "movups xmm10, [{v} + 160]", "movups xmm11, [{v} + 176]",
            "movups xmm12, [{v} + 192]", "movups xmm13, [{v} + 208]", "movups xmm14, [{v} + 224]", "movups xmm15, [{v} + 240]",
            "mov dr0, r8", "mov dr1, r9", "mov dr2, r10", "mov dr3, r11", "mov cr2, r12",
            "mov ecx, 200000", "2:", "pause", "dec ecx", "jnz 2b",
            "mov rcx, dr0", "xor r8, rcx", "mov rcx, dr1", "xor r9, rcx", "mov rcx, dr2", "xor r10, rcx",
            "mov rcx, dr3", "xor r11, rcx", "mov rcx, cr2", "xor r12, rcx",
            "movups [{a}], xmm0", "movups [{a} + 16], xmm1", "movups [{a} + 32], xmm2", "movups [{a} + 48], xmm3",
            "movups [{a} + 64], xmm4", "movups [{a} + 80], xmm5", "movups [{a} + 96], xmm6", "movups [{a} + 112], xmm7",
            "movups [{a} + 128], xmm8", "movups [{a} + 144], xmm9", "movups [{a} + 160], xmm10", "movups [{a} + 176], xmm11",
            "movups [{a} + 192], xmm12", "movups [{a} + 208], xmm13", "movups [{a} + 224], xmm14", "movups [{a} + 240], xmm15",
            v = in(reg) vectors.as_ptr(), a = in(reg) after.as_mut_ptr(), out("rcx") _,
            inout("r8") gpr[0], inout("r9") gpr[1], inout("r10") gpr[2], inout("r11") gpr[3], inout("r12") gpr[4], inout("r13") gpr[5],
            options(nostack),
        );
    }
    for (n, difference) in gpr[..5].iter().enumerate() {
        wrong |= u32::from(*difference != 0) << n;
    }
    wrong |= u32::from(gpr[5] != before[5]) << 5;
    wrong |= u32::from(vectors != after) << 6;
    // Registers behind MSRs: FS, GS and KERNEL_GS bases, STAR, LSTAR, CSTAR, SFMASK, SYSENTER_*.
    let numbers = [
        0xc000_0100u32,
        0xc000_0101,
        0xc000_0102,
        0xc000_0081,
        0xc000_0082,
        0xc000_0083,
        0xc000_0084,
        0x174,
        0x175,
        0x176,
    ];
    // Canonical addresses; selectors and masks are 32 bits wide.
    let values = numbers.map(|number| {
        word(number.into())
            & if number == 0xc000_0084 || number == 0x174 {
                0xffff
            } else {
                0x7fff_ffff_ffff
            }
    });
    for (number, value) in numbers.iter().zip(values) {
        wrong |= u32::from(cpu::write_msr(*number, value).is_err()) << 7;
    }
    for _ in 0..100_000 {
        core::hint::spin_loop();
    }
    for (n, (number, value)) in numbers.iter().zip(values).enumerate() {
        wrong |= u32::from(cpu::read_msr(*number) != Ok(value)) << (8 + n);
    }
    wrong
}

fn pattern_rounds() -> u32 {
    let seconds = Options::get().number("seconds", 5);
    let end = crate::clock::now() + seconds * 10_000_000;
    let mut seed = cpu::tsc() ^ (processor() as u64) << 56;
    while crate::clock::now() < end {
        seed = seed.wrapping_add(1);
        match pattern_round(seed) {
            0 => {}
            wrong => return wrong,
        }
    }
    0
}

/// Fills every register that the hypervisor switches with patterns, on all processors at once.
pub fn patterns() -> Outcome {
    let count = super::interrupts::running()?;
    (1..count).for_each(|index| processors::give(index, pattern_rounds));
    let own = pattern_rounds();
    let limit = (Options::get().number("seconds", 5) + 10) * 1_000_000;
    for index in 1..count {
        let answer = processors::wait_for(index, limit).ok_or(Failure {
            what: "no answer",
            found: index as u64,
            expected: 0,
        })?;
        equal(
            "registers changed on another processor (bits)",
            answer.into(),
            0,
        )?;
    }
    equal("registers changed (bits)", own.into(), 0)
}
