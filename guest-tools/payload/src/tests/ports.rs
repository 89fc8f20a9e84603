//! Exits that the vmm answers: ports and memory that is not there.

use crate::cpu;
use crate::interrupts::{Fault, catch};
use crate::options::Options;
use crate::report::{Outcome, equal};

/// Answers the number written before, plus one.
const ECHO: u16 = 0xf8;

pub fn echo() -> Outcome {
    for n in [0u32, 41, 0xffff_fffe] {
        cpu::out32(ECHO, n);
        equal("answer", cpu::in32(ECHO).into(), u64::from(n) + 1)?;
    }
    // Small operands leave the upper half of EAX alone, 32-bit ones clear that of RAX.
    let (mut small, mut large) = (0x1122_3344_5566_7788_u64, u64::MAX);
    // SAFETY: port input touches no memory.
    unsafe {
        core::arch::asm!("in al, dx", in("dx") 0x70_u16, inout("rax") small, options(nomem, nostack));
        core::arch::asm!("in eax, dx", in("dx") ECHO, inout("rax") large, options(nomem, nostack));
    }
    equal("IN to AL", small, 0x1122_3344_5566_77ff)?;
    equal("IN to EAX", large, 0xffff_ffff)
}

pub fn string() -> Outcome {
    let text = b"payload: string-port speaks\n";
    let (mut source, mut count) = (text.as_ptr() as u64, text.len() as u64);
    // SAFETY: OUTS reads the text, INS writes the buffer, each within its length.
    unsafe {
        core::arch::asm!("rep outsb", in("dx") 0x3f8_u16, inout("rsi") source, inout("rcx") count, options(nostack));
    }
    equal("OUTS count", count, 0)?;
    equal(
        "OUTS pointer",
        source - text.as_ptr() as u64,
        text.len() as u64,
    )?;
    cpu::out32(ECHO, 0x0403_0200);
    let mut buffer = [0u32; 4];
    let (mut destination, mut count) = (buffer.as_mut_ptr() as u64, 3u64);
    // SAFETY: three of the four elements are written.
    unsafe {
        core::arch::asm!("rep insd", in("dx") ECHO, inout("rdi") destination, inout("rcx") count, options(nostack));
    }
    equal("INS count", count, 0)?;
    equal("INS pointer", destination - buffer.as_ptr() as u64, 12)?;
    equal(
        "INS data",
        u64::from(buffer[2]) << 32 | u64::from(buffer[3]),
        0x0403_0201 << 32,
    )
}

/// Behind the memory and below the window of 4 GiB that the page tables map.
fn nowhere() -> u64 {
    Options::get().memory_bytes.next_multiple_of(2 << 20) + 0x1000
}

/// String instructions that leave what the page tables map, two bytes before their end.
pub fn string_fault() -> Outcome {
    const END: u64 = 1 << 32;
    let expect = |result: Result<(), Fault>, count, pointer| {
        let fault = result.err();
        equal("vector", fault.map_or(0, |f| f.vector.into()), 14)?;
        equal("error code", fault.map_or(0, |f| f.error_code.into()), 2)?;
        equal("CR2", cpu::cr2(), END)?;
        equal("elements left", count, 2)?;
        equal("pointer", pointer, END)
    };
    let (mut count, mut to) = (4u64, END - 2);
    let fault = catch(|recovery| {
        // SAFETY: no memory of this program is near the end of the window; a fault continues at the
        // label behind the instruction.
        unsafe {
            core::arch::asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "rep insb", "2:",
                t = out(reg) _, r = in(reg) recovery, in("dx") ECHO, inout("rcx") count, inout("rdi") to, options(nostack));
        }
    });
    expect(fault, count, to)?;
    (count, to) = (4, END - 2);
    let fault = catch(|recovery| {
        // SAFETY: as above; what is read lies behind this program's memory.
        unsafe {
            core::arch::asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "rep movsb", "2:",
                t = out(reg) _, r = in(reg) recovery, inout("rsi") nowhere() => _, inout("rcx") count, inout("rdi") to, options(nostack));
        }
    });
    expect(fault, count, to)
}

pub fn unmapped_memory() -> Outcome {
    let address = nowhere();
    let read = cpu::read_memory(address).map_err(super::enlightenments::fault("read"))?;
    equal("reads as ones", read.into(), 0xffff_ffff)?;
    cpu::write_memory(address, 5).map_err(super::enlightenments::fault("write"))?;
    equal(
        "writes are lost",
        cpu::read_memory(address).unwrap_or(0).into(),
        0xffff_ffff,
    )
}
