//! The local APIC, as far as starting and stopping other CPUs needs it (APM vol. 2 §16.5).

use super::cpu;

const X2APIC: u64 = 1 << 10;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const ICR_MSR: u32 = 0x830;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const DELIVERY_PENDING: u32 = 1 << 12;

/// Interrupt command: INIT, asserted.
pub const INIT: u32 = 0x4500;
/// Interrupt command: NMI to all but this CPU.
pub const NMI_TO_OTHERS: u32 = 0xc_4400;

/// Interrupt command: start at `page`, an address below 1 MiB.
pub const fn startup(page: u64) -> u32 {
    0x4600 | (page >> 12) as u32 & 0xff
}

/// Sends `command` to the CPU `apic_id` through this CPU's local APIC, in the mode it is in.
///
/// # Safety
/// The page tables in use must map the local APIC's registers at their own address, and the
/// addressed CPUs must be ready for the command.
pub unsafe fn send(apic_id: u32, command: u32) {
    // SAFETY: every 64-bit processor has this register.
    let base = unsafe { cpu::read_msr(cpu::MSR_APIC_BASE) };
    if base & X2APIC != 0 {
        // SAFETY: the register exists in this mode; what the command does is the caller's.
        unsafe { cpu::write_msr(ICR_MSR, u64::from(apic_id) << 32 | u64::from(command)) };
        return;
    }
    let register = |offset: u64| ((base & ADDRESS) + offset) as *mut u32;
    // SAFETY: the caller vouches for the mapping; both are 32-bit registers of the local APIC,
    // and writing the lower one sends the command.
    unsafe {
        register(ICR_HIGH).write_volatile(apic_id << 24);
        register(ICR_LOW).write_volatile(command);
        for _ in 0..1_000_000u32 {
            if register(ICR_LOW).read_volatile() & DELIVERY_PENDING == 0 {
                break;
            }
            core::hint::spin_loop();
        }
    }
}
