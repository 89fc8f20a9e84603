//! The person's terminal as the other end of a serial line.

use devices::ByteSink;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Ctrl-]: ends the machine, as a power cut would.
pub const ESCAPE: u8 = 0x1d;

/// Ctrl-^: asks the guest to power off.
pub const POWER_OFF: u8 = 0x1e;

/// What may wait for a slow terminal, in bytes; what comes beyond it is lost, as on a real line.
const BACKLOG_BYTES: usize = 1 << 20;

/// Where a serial port's bytes go: standard output, by a thread of its own, so that the guest never
/// waits for the terminal and a burst costs few system calls.
pub struct Output {
    line: Arc<Line>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    over: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write) {
        loop {
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.over;
            let mut waiting = self
                .bell
                .wait_while(self.lock(), idle)
                .unwrap_or_else(PoisonError::into_inner);
            let bytes = std::mem::take(&mut waiting.bytes);
            if bytes.is_empty() {
                return;
            }
            drop(waiting);
            // A console that has gone must not stop the guest.
            let _ = output.write_all(&bytes).and_then(|()| output.flush());
        }
    }
}

impl Output {
    /// A line to standard output.
    pub fn open() -> Self {
        Self::to(io::stdout())
    }

    fn to(output: impl Write + Send + 'static) -> Self {
        let line = Arc::new(Line::default());
        let theirs = line.clone();
        let writer = std::thread::spawn(move || theirs.write_to(output));
        Self {
            line,
            writer: Some(writer),
        }
    }
}

impl ByteSink for Output {
    fn put(&mut self, byte: u8) {
        let mut waiting = self.line.lock();
        if waiting.bytes.len() < BACKLOG_BYTES {
            waiting.bytes.push(byte);
        }
        if waiting.bytes.len() == 1 {
            self.line.bell.notify_one();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.line.lock().over = true;
        self.line.bell.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
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

/// Reads standard input on a thread of its own until its end or the escape key. The key to power off
/// goes to `power_off` and not to `typed`. The thread is never joined: it ends with the process.
pub fn read_input(
    mut typed: impl FnMut(&[u8]) + Send + 'static,
    mut power_off: impl FnMut() + Send + 'static,
    escape: impl FnOnce() + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        loop {
            match io::stdin().read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(length) if bytes[..length].contains(&ESCAPE) => return escape(),
                Ok(length) => {
                    for (n, part) in bytes[..length].split(|b| *b == POWER_OFF).enumerate() {
                        if n > 0 {
                            power_off();
                        }
                        typed(part);
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(std::time::Duration::from_millis(5));
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_burst_is_written_whole_and_in_few_pieces() {
        let slow = Slow::default();
        let mut output = Output::to(slow.clone());
        let text: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        text.iter().for_each(|byte| output.put(*byte));
        drop(output);
        let pieces = slow.0.lock().unwrap();
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() < 1000, "{}", pieces.len());
    }
}
