//! The local APIC in x2APIC mode (SDM vol. 3 §11.12).

use crate::cpu::{read_msr, write_msr};

/// The vector of spurious interrupts, which take no end.
pub const SPURIOUS: u8 = 0xff;

const BASE: u32 = 0x1b;
const X2APIC: u32 = 0x800;

/// Switches to x2APIC mode and enables the APIC. Answers false if the processor refuses.
pub fn enable() -> bool {
    let Ok(base) = read_msr(BASE) else {
        return false;
    };
    write_msr(BASE, base | 3 << 10).is_ok()
        && write_msr(X2APIC + 0xf, 0x100 | u64::from(SPURIOUS)).is_ok()
}

/// The APIC id.
pub fn id() -> Option<u32> {
    read_msr(X2APIC + 2).ok().map(|id| id as u32)
}

/// Ends the interrupt in service.
pub fn end_of_interrupt() {
    // In the interrupt handler: no fault is expected, so none is caught.
    // SAFETY: the register takes 0 and touches no memory; x2APIC mode is on before interrupts are.
    unsafe {
        core::arch::asm!("wrmsr", in("ecx") X2APIC + 0xb, in("eax") 0, in("edx") 0, options(nomem, nostack));
    }
}

/// Sends an interrupt command (SDM vol. 3 figure 11-28) to the APIC with this id.
pub fn command(destination: u32, low: u32) -> bool {
    write_msr(X2APIC + 0x30, u64::from(destination) << 32 | u64::from(low)).is_ok()
}

/// Sends a fixed interrupt.
pub fn send(destination: u32, vector: u8) -> bool {
    command(destination, 1 << 14 | u32::from(vector))
}

/// Sends an interrupt to this processor.
pub fn send_to_self(vector: u8) -> bool {
    write_msr(X2APIC + 0x3f, vector.into()).is_ok()
}

/// Starts the timer with divider 1; `periodic` or once.
pub fn start_timer(vector: u8, count: u32, periodic: bool) -> bool {
    write_msr(X2APIC + 0x3e, 0xb).is_ok()
        && write_msr(X2APIC + 0x32, u64::from(vector) | u64::from(periodic) << 17).is_ok()
        && write_msr(X2APIC + 0x38, count.into()).is_ok()
}
