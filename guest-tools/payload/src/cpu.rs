//! Single instructions, and those that may fault with the fault caught.

use crate::interrupts::Fault;
use core::arch::asm;

/// CPUID: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// Reads the time stamp counter, not before what comes before it.
pub fn tsc() -> u64 {
    // SAFETY: both instructions exist on every 64-bit processor and touch no memory.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

/// Reads a model-specific register.
///
/// # Errors
/// The exception that the processor raised instead.
pub fn read_msr(number: u32) -> Result<u64, Fault> {
    let (mut low, mut high) = (0u32, 0u32);
    crate::interrupts::catch(|recovery| {
        // SAFETY: a read has no effect on memory; a fault continues at the label behind it.
        unsafe {
            asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "rdmsr", "2:",
                t = out(reg) _, r = in(reg) recovery, in("ecx") number, inout("eax") low, inout("edx") high, options(nostack));
        }
    })?;
    Ok(u64::from(high) << 32 | u64::from(low))
}

/// Writes a model-specific register.
///
/// # Errors
/// The exception that the processor raised instead.
pub fn write_msr(number: u32, value: u64) -> Result<(), Fault> {
    crate::interrupts::catch(|recovery| {
        // SAFETY: the tests write only what this program can live with; a fault continues at the
        // label behind it.
        unsafe {
            asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "wrmsr", "2:",
                t = out(reg) _, r = in(reg) recovery, in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
        }
    })
}

/// Reads 4 bytes at an address that may not be mapped.
///
/// # Errors
/// The exception that the processor raised instead.
pub fn read_memory(address: u64) -> Result<u32, Fault> {
    let mut value = 0u32;
    crate::interrupts::catch(|recovery| {
        // SAFETY: a read; a fault continues at the label behind it.
        unsafe {
            asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "mov {v:e}, [{a}]", "2:",
                t = out(reg) _, r = in(reg) recovery, a = in(reg) address, v = inout(reg) value, options(nostack));
        }
    })?;
    Ok(value)
}

/// Writes 4 bytes at an address that may not be mapped.
///
/// # Errors
/// The exception that the processor raised instead.
pub fn write_memory(address: u64, value: u32) -> Result<(), Fault> {
    crate::interrupts::catch(|recovery| {
        // SAFETY: the callers give addresses outside of this program's memory only; a fault
        // continues at the label behind it.
        unsafe {
            asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "mov [{a}], {v:e}", "2:",
                t = out(reg) _, r = in(reg) recovery, a = in(reg) address, v = in(reg) value, options(nostack));
        }
    })
}

/// The linear address of the last page fault.
pub fn cr2() -> u64 {
    let address: u64;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

macro_rules! ports {
    ($read:ident $write:ident $type:ty, $register:tt) => {
        /// Writes to a port.
        pub fn $write(port: u16, value: $type) {
            // SAFETY: port output touches no memory of this program.
            unsafe { asm!(concat!("out dx, ", $register), in("dx") port, in($register) value, options(nomem, nostack, preserves_flags)) };
        }
        /// Reads from a port.
        pub fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: port input touches no memory of this program.
            unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value, options(nomem, nostack, preserves_flags)) };
            value
        }
    };
}

ports!(in8 out8 u8, "al");
ports!(in16 out16 u16, "ax");
ports!(in32 out32 u32, "eax");

/// Interrupts on or off.
pub fn set_interrupts(on: bool) {
    // SAFETY: the interrupt table is set up before the first call with `true`.
    unsafe {
        if on {
            asm!("sti", options(nomem, nostack));
        } else {
            asm!("cli", options(nomem, nostack));
        }
    }
}

/// Waits for an interrupt, with interrupts on; they are off again afterwards.
pub fn wait() {
    // SAFETY: as above. The interrupt can't come between STI and HLT.
    unsafe { asm!("sti", "hlt", "cli", options(nomem, nostack)) };
}

/// Stops this processor for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: with interrupts off, nothing runs on this processor any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Drops a translation.
pub fn invalidate(address: u64) {
    // SAFETY: the tables are consistent at all times.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack)) };
}
