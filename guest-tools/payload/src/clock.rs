//! Time: the hypervisor's reference counter, in 100 ns.

use crate::cpu::read_msr;

/// HV_X64_MSR_TIME_REF_COUNT.
pub const TIME_REF_COUNT: u32 = 0x4000_0020;

/// The reference counter; 0 if there is none.
pub fn now() -> u64 {
    read_msr(TIME_REF_COUNT).unwrap_or(0)
}

/// Waits until `condition` holds, at most so many microseconds. Answers whether it does.
pub fn wait_until_us(us: u64, mut condition: impl FnMut() -> bool) -> bool {
    let end = now() + us * 10;
    loop {
        if condition() {
            return true;
        }
        if now() >= end {
            return condition();
        }
        core::hint::spin_loop();
    }
}

/// Waits.
pub fn sleep_us(us: u64) {
    wait_until_us(us, || false);
}
