//! The lines on the console, and the state of its terminal.

use rustix::termios::{OptionalActions, Termios, tcdrain, tcgetattr, tcsetattr};
use std::fmt::Arguments;
use std::io::{Write, stdin, stdout};
use std::sync::mpsc;
use std::time::Duration;

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
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Waits until the console has sent all that was written, at most so long: the kernel turns a PC
/// off without asking its serial line, and a line that is held up by its other end never empties.
pub fn drain(patience: Duration) {
    let (sent, wait) = mpsc::channel();
    let drain = move || {
        let _ = tcdrain(stdout());
        let _ = sent.send(());
    };
    if std::thread::Builder::new().spawn(drain).is_ok() {
        let _ = wait.recv_timeout(patience);
    }
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
