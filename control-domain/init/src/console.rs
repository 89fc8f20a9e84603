//! The lines on the console, and the state of its terminal.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fmt::Arguments;
use std::io::{Write, stdin};

/// Writes one line `entente-init: …` to the console.
macro_rules! report {
    ($($argument:tt)*) => { $crate::console::write_line(format_args!($($argument)*)) };
}
pub(crate) use report;

/// Writes one line with the prefix that the test rows wait for. A console that takes no more
/// output is no reason to stop.
pub fn write_line(line: Arguments<'_>) {
    // One write per line, so that lines of other programs don't land in its middle.
    let text = format!("entente-init: {line}\n");
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The terminal behind the console as the kernel left it.
pub struct Console {
    settings: Option<Termios>,
}

impl Console {
    /// Remembers the settings of the terminal.
    pub fn open() -> Self {
        Self {
            settings: tcgetattr(stdin()).ok(),
        }
    }

    /// Puts the settings back: a vmm that shows a guest's serial line makes the terminal raw, and
    /// one that was killed could not undo it.
    pub fn restore(&self) {
        if let Some(settings) = &self.settings {
            let _ = tcsetattr(stdin(), OptionalActions::Now, settings);
        }
    }
}
