//! Text to COM1, and the port that ends the machine.

use crate::cpu;
use core::fmt::{self, Write};

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| cpu::out8(0x3f8, byte));
        Ok(())
    }
}

/// Writes a formatted line, as `println`.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => { $crate::serial::write_line(format_args!($($argument)*)) };
}

/// Writes one line.
pub fn write_line(text: fmt::Arguments<'_>) {
    // The sink can't fail.
    let _ = writeln!(Serial, "{text}");
}

/// Ends the machine; the vmm exits with `code`.
pub fn end(code: u8) -> ! {
    cpu::out8(0xf4, code);
    cpu::stop()
}
