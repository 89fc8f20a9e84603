//! A 101-key keyboard on the PS/2 wire, scan code sets 1 and 2.

use super::scancodes::{self, EXTENDED, RELEASE};
use std::collections::VecDeque;

const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;
/// Keys in the buffer beyond this are lost, as on the real one.
const BUFFER_BYTES: usize = 64;

/// The keyboard.
#[derive(Debug)]
pub struct Keyboard {
    output: VecDeque<u8>,
    scanning: bool,
    set: u8,
    /// A command that waits for its parameter.
    command: Option<u8>,
    last_sent: u8,
}

impl Default for Keyboard {
    fn default() -> Self {
        Keyboard {
            output: VecDeque::new(),
            scanning: true,
            set: 2,
            command: None,
            last_sent: 0,
        }
    }
}

impl Keyboard {
    /// A key changed; `code` is of set 1.
    pub fn key(&mut self, code: u8, extended: bool, pressed: bool) {
        if !self.scanning || self.output.len() >= BUFFER_BYTES {
            return;
        }
        if extended {
            self.output.push_back(EXTENDED);
        }
        if self.set == 1 {
            self.output
                .push_back(code & 0x7f | if pressed { 0 } else { 0x80 });
        } else {
            if !pressed {
                self.output.push_back(RELEASE);
            }
            self.output.push_back(scancodes::to_set_2(code));
        }
    }

    /// The next byte on the wire.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.output.pop_front()?;
        self.last_sent = byte;
        Some(byte)
    }

    /// A byte from the machine. Its answer goes before keys that wait.
    pub fn command(&mut self, byte: u8) {
        let command = self.command.take();
        // A command interrupts one that waits for its parameter.
        if let Some(command) = command
            && byte < 0xed
        {
            self.parameter(command, byte);
            return;
        }
        match byte {
            0xed | 0xf0 | 0xf3 | 0xfb..=0xfd => {
                self.command = Some(byte);
                self.answer(&[ACKNOWLEDGE]);
            }
            0xee => self.answer(&[0xee]),
            0xf2 => self.answer(&[ACKNOWLEDGE, 0xab, 0x83]),
            0xf4 => {
                self.output.clear();
                self.scanning = true;
                self.answer(&[ACKNOWLEDGE]);
            }
            0xf5 | 0xf6 => {
                self.output.clear();
                self.set = 2;
                self.scanning = byte == 0xf6;
                self.answer(&[ACKNOWLEDGE]);
            }
            // Make and break properties of set 3, which nobody sees in the other sets.
            0xf7..=0xfa => self.answer(&[ACKNOWLEDGE]),
            0xfe => self.answer(&[self.last_sent]),
            0xff => {
                *self = Keyboard::default();
                self.answer(&[ACKNOWLEDGE, SELF_TEST_PASSED]);
            }
            _ => self.answer(&[RESEND]),
        }
    }

    fn parameter(&mut self, command: u8, byte: u8) {
        match (command, byte) {
            (0xf0, 0) => self.answer(&[ACKNOWLEDGE, self.set]),
            (0xf0, 1 | 2) => {
                self.set = byte;
                self.answer(&[ACKNOWLEDGE]);
            }
            // Set 3 is not there.
            (0xf0, _) => self.answer(&[RESEND]),
            // Lamps and repeat rate: there are none to set.
            _ => self.answer(&[ACKNOWLEDGE]),
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().rev() {
            self.output.push_front(*byte);
        }
    }
}
