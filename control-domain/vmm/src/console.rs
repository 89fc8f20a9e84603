//! The person's terminal as the other end of a serial line.

use crate::history::History;
use devices::ByteSink;
use std::io::{self, Read, Write};
use std::thread::JoinHandle;

/// Ctrl-]: ends the machine, as a power cut would.
pub const ESCAPE: u8 = 0x1d;

/// Ctrl-^: asks the guest to power off.
pub const POWER_OFF: u8 = 0x1e;

/// What is kept of a serial line's output, in bytes: for who comes later, and for a slow terminal. What
/// comes beyond it is lost to them, as on a real line.
const KEPT_BYTES: usize = 256 << 10;

/// Where a serial port's bytes go. Terminals read them on threads of their own, so that the guest never
/// waits for one and a burst costs few system calls.
pub type SerialOutput = History<u8>;

/// A line nobody reads yet.
pub fn serial_output() -> SerialOutput {
    History::keeping(KEPT_BYTES)
}

impl ByteSink for SerialOutput {
    fn put(&mut self, byte: u8) {
        self.push(byte);
    }
}

/// Copies a line to a terminal until the line ends. A terminal that has gone must not stop the guest.
pub fn show(line: SerialOutput, mut terminal: impl Write + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut next = 0;
        while let Some(bytes) = line.read(&mut next) {
            let _ = terminal.write_all(&bytes).and_then(|()| terminal.flush());
        }
    })
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
    use std::sync::{Arc, Mutex};

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
        let mut output = serial_output();
        let shown = show(output.clone(), slow.clone());
        let text: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        text.iter().for_each(|byte| output.put(*byte));
        output.end();
        shown.join().unwrap();
        let pieces = slow.0.lock().unwrap();
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() < 1000, "{}", pieces.len());
    }
}
