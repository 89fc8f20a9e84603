//! The person's terminal as the other end of a serial line.

use devices::ByteSink;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// Ctrl-]: ends the machine, as a power cut would.
pub const ESCAPE: u8 = 0x1d;

/// Where a serial port's bytes go: standard output, each byte at once.
pub struct Output(File);

impl Output {
    /// Standard output.
    ///
    /// # Errors
    /// If there is none.
    pub fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl ByteSink for Output {
    fn put(&mut self, byte: u8) {
        // A console that has gone must not stop the guest.
        let _ = self.0.write_all(&[byte]);
    }
}

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
            raw.output_modes |=
                rustix::termios::OutputModes::OPOST | rustix::termios::OutputModes::ONLCR;
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

/// Reads standard input on a thread of its own until its end or the escape key. The thread is
/// never joined: it ends with the process.
pub fn read_input(
    mut typed: impl FnMut(&[u8]) + Send + 'static,
    escape: impl FnOnce() + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        loop {
            match io::stdin().read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(length) if bytes[..length].contains(&ESCAPE) => return escape(),
                Ok(length) => typed(&bytes[..length]),
            }
        }
    });
}
