//! Single instructions.

use core::arch::asm;

/// Writes a byte to a port.
pub fn out8(port: u16, value: u8) {
    // SAFETY: port output touches no memory of this program.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags))
    };
}

/// Stops this processor for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: with interrupts off, nothing runs on this processor any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
