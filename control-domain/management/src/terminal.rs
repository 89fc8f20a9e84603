//! A person's terminal while it stands for a machine's.

use rustix::termios::{OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcsetattr};
use std::io;

/// The terminal without echo, line editing and signals, until this is dropped.
pub struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    /// Makes standard input raw, if it is a terminal.
    pub fn enter() -> Self {
        let input = io::stdin();
        let before = if isatty(&input) {
            tcgetattr(&input).ok()
        } else {
            None
        };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // Lines that we print ourselves still begin at the left.
            raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
            let _ = tcsetattr(&input, OptionalActions::Now, &raw);
        }
        Self { before }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
