//! Registers of the CPU that this runs on.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Bits of CR0: PG, WP, NE, ET, MP, PE.
pub const CR0: u64 = 0x8001_0033;
/// Bits of CR4: PAE.
pub const CR4: u64 = 1 << 5;
/// Bits of EFER: NXE, LME (LMA follows).
pub const EFER: u64 = 0x900;
/// MSR number of EFER.
pub const MSR_EFER: u32 = 0xc000_0080;
/// MSR number of the local APIC's base.
pub const MSR_APIC_BASE: u32 = 0x1b;

const CR4_LA57: u64 = 1 << 12;

/// Reads a model-specific register.
///
/// # Safety
/// The register must exist.
pub unsafe fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller knows that it exists; reading it touches no memory.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The register must exist, and the value must keep what the running code relies on.
pub unsafe fn write_msr(number: u32, value: u64) {
    // SAFETY: the caller vouches for the register and the value.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}

/// The time stamp counter.
pub fn time_stamp() -> u64 {
    // SAFETY: every 64-bit processor has the counter, and CR4.TSD does not bind ring 0.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Whether paging has five levels: then our four-level tables can't be used.
pub fn five_level_paging() -> bool {
    let cr4: u64;
    // SAFETY: reading CR4 in ring 0 changes nothing.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    cr4 & CR4_LA57 != 0
}

/// Whether page tables may hold pages of 1 GiB (CPUID Fn8000_0001 EDX bit 26).
pub fn gigabyte_pages() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).edx >> 26 & 1 != 0
}

/// The local APIC id of this CPU: 32 bits where CPUID gives them, else 8.
pub fn apic_id() -> u32 {
    let highest = __cpuid(0).eax;
    if highest >= 0xb {
        let topology = __cpuid_count(0xb, 0);
        if topology.ebx != 0 {
            return topology.edx;
        }
    }
    __cpuid(1).ebx >> 24
}

/// What virtualization the CPU offers.
pub fn virtualization() -> &'static str {
    if __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).ecx & 4 != 0 {
        "SVM"
    } else if __cpuid(1).ecx >> 5 & 1 != 0 {
        "VMX"
    } else {
        "no virtualization"
    }
}

/// 64 bits from the CPU's random number generator, if it has one that answers.
pub fn random() -> Option<u64> {
    if __cpuid(1).ecx >> 30 & 1 == 0 {
        return None;
    }
    (0..10).find_map(|_| {
        let (value, ok): (u64, u8);
        // SAFETY: CPUID says that the instruction is there; it writes two registers and the flags.
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack))
        };
        (ok != 0).then_some(value)
    })
}

/// Waits for about `microseconds`, with `ticks_per_microsecond` of the time stamp counter.
pub fn wait(microseconds: u64, ticks_per_microsecond: u64) {
    let start = time_stamp();
    while time_stamp().wrapping_sub(start) < microseconds * ticks_per_microsecond {
        core::hint::spin_loop();
    }
}

/// Stops this CPU for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: with interrupts off, `hlt` waits for an NMI or reset, after which it is repeated.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Sets CR0, CR4 and EFER to what all CPUs have while the hypervisor runs, and switches to the page
/// tables at `root`.
///
/// # Safety
/// `root` must map everything that is in use, at the address where it is used now.
pub unsafe fn set_paging(root: u64) {
    // SAFETY: EFER exists on every 64-bit processor; long mode stays on. The other bits only add
    // checks, except those of CR4 that are cleared: these concern vector registers, which this
    // program does not use, and machine checks. The caller vouches for the tables.
    unsafe {
        write_msr(MSR_EFER, read_msr(MSR_EFER) & 0x400 | EFER);
        asm!("mov cr3, {0}", "mov cr4, {1}", "mov cr0, {2}", in(reg) root, in(reg) CR4, in(reg) CR0,
             options(nostack, preserves_flags));
    }
}
