//! The port that SeaBIOS writes its log to.

use crate::bus::ByteSink;

/// The port.
pub const PORT: u16 = 0x402;
/// What it reads as, by which the BIOS knows that somebody listens.
pub const SIGNATURE: u8 = 0xe9;

/// The log, if somebody listens.
#[derive(Default)]
pub struct DebugPort {
    sink: Option<Box<dyn ByteSink>>,
}

impl DebugPort {
    /// A port that passes what is written to `sink`.
    pub fn new(sink: Option<Box<dyn ByteSink>>) -> Self {
        DebugPort { sink }
    }

    /// Reads the port. Without a listener nothing answers, so the BIOS saves itself the writes.
    pub fn read(&self) -> u8 {
        if self.sink.is_some() { SIGNATURE } else { 0xff }
    }

    /// Writes the port.
    pub fn write(&mut self, byte: u8) {
        if let Some(sink) = &mut self.sink {
            sink.put(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn passes_bytes_and_says_whether_it_is_there() {
        let (sender, received) = channel();
        let mut port = DebugPort::new(Some(Box::new(move |byte| {
            sender.send(byte).expect("listens")
        })));
        port.write(b'S');
        assert_eq!(received.try_recv(), Ok(b'S'));
        assert_eq!(port.read(), 0xe9);
        assert_eq!(DebugPort::default().read(), 0xff);
    }
}
