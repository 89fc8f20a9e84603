//! The keyboard controller: ports 60h and 64h, a keyboard and a mouse behind them, gate A20, reset.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, keyboard and auxiliary device
//! controller (type 1).

mod keyboard;
mod mouse;
mod scancodes;

use crate::bus::Outputs;
use crate::interrupts::Interrupts;
use keyboard::Keyboard;
use mouse::Mouse;
use std::collections::VecDeque;

const KEYBOARD_IRQ: u8 = 1;
const MOUSE_IRQ: u8 = 12;

const STATUS_OUTPUT_FULL: u8 = 0x01;
const STATUS_SYSTEM: u8 = 0x04;
const STATUS_COMMAND: u8 = 0x08;
const STATUS_UNLOCKED: u8 = 0x10;
const STATUS_FROM_MOUSE: u8 = 0x20;

const MODE_KEYBOARD_INTERRUPT: u8 = 0x01;
const MODE_MOUSE_INTERRUPT: u8 = 0x02;
const MODE_SYSTEM: u8 = 0x04;
const MODE_KEYBOARD_OFF: u8 = 0x10;
const MODE_MOUSE_OFF: u8 = 0x20;
const MODE_TRANSLATE: u8 = 0x40;

const OUTPUT_NO_RESET: u8 = 0x01;
const OUTPUT_A20: u8 = 0x02;

/// Who put the byte into the output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Keyboard,
    Mouse,
}

/// The controller with what is plugged into it.
#[derive(Debug)]
pub struct I8042 {
    keyboard: Keyboard,
    mouse: Mouse,
    mode: u8,
    output_port: u8,
    /// The controller's internal memory, of which byte 0 is the mode.
    memory: [u8; 32],
    /// A command that waits for its byte at port 60h.
    command: Option<u8>,
    last_write_was_command: bool,
    buffer: Option<(u8, Source)>,
    /// What reads of port 60h answer while the buffer is empty.
    last: u8,
    /// Answers of the controller itself; they go before anything from a device.
    answers: VecDeque<(u8, Source)>,
    /// The keyboard's last byte was F0h: the next one is a release.
    release: bool,
}

impl Default for I8042 {
    fn default() -> Self {
        I8042 {
            keyboard: Keyboard::default(),
            mouse: Mouse::default(),
            mode: MODE_KEYBOARD_INTERRUPT | MODE_TRANSLATE,
            output_port: 0xcc | OUTPUT_NO_RESET | OUTPUT_A20,
            memory: [0; 32],
            command: None,
            last_write_was_command: false,
            buffer: None,
            last: 0,
            answers: VecDeque::new(),
            release: false,
        }
    }
}

impl I8042 {
    /// A key was pressed or released; `code` is its make code of scan code set 1, without E0h,
    /// which `extended` stands for.
    pub fn key(&mut self, code: u8, extended: bool, pressed: bool, interrupts: &mut Interrupts) {
        self.keyboard.key(code, extended, pressed);
        self.fill(interrupts);
    }

    /// The mouse moved by `dx` to the right and `dy` down, its wheel turned by `dz` towards the
    /// person, and `buttons` are down: bit 0 left, 1 right, 2 middle.
    pub fn pointer(&mut self, dx: i32, dy: i32, dz: i32, buttons: u8, interrupts: &mut Interrupts) {
        self.mouse.motion(dx, dy, dz, buttons);
        self.fill(interrupts);
    }

    /// A reset of the machine.
    pub fn reset(&mut self, interrupts: &mut Interrupts) {
        *self = I8042::default();
        interrupts.set_isa(KEYBOARD_IRQ, false);
        interrupts.set_isa(MOUSE_IRQ, false);
    }

    /// Reads port 60h, 64h or 92h.
    pub fn read(&mut self, port: u16, interrupts: &mut Interrupts) -> u8 {
        match port {
            0x60 => self.read_data(interrupts),
            0x64 => self.status(),
            0x92 => self.output_port & OUTPUT_A20,
            _ => 0xff,
        }
    }

    /// Writes port 60h, 64h or 92h.
    pub fn write(
        &mut self,
        port: u16,
        value: u8,
        interrupts: &mut Interrupts,
        outputs: &mut Outputs,
    ) {
        match port {
            0x60 => self.write_data(value, outputs),
            0x64 => self.write_command(value, outputs),
            0x92 => {
                self.output_port = self.output_port & !OUTPUT_A20 | value & OUTPUT_A20;
                outputs.reset |= value & 1 != 0;
            }
            _ => {}
        }
        self.fill(interrupts);
    }

    fn status(&self) -> u8 {
        let mut status = STATUS_UNLOCKED;
        match self.buffer {
            Some((_, Source::Keyboard)) => status |= STATUS_OUTPUT_FULL,
            Some((_, Source::Mouse)) => status |= STATUS_OUTPUT_FULL | STATUS_FROM_MOUSE,
            None => {}
        }
        if self.mode & MODE_SYSTEM != 0 {
            status |= STATUS_SYSTEM;
        }
        if self.last_write_was_command {
            status |= STATUS_COMMAND;
        }
        status
    }

    fn read_data(&mut self, interrupts: &mut Interrupts) -> u8 {
        if let Some((byte, _)) = self.buffer.take() {
            self.last = byte;
            // The line falls before the next byte raises it.
            self.signal(interrupts);
            self.fill(interrupts);
        }
        self.last
    }

    /// Moves the next byte into the empty output buffer.
    fn fill(&mut self, interrupts: &mut Interrupts) {
        while self.buffer.is_none() {
            self.buffer = if let Some(answer) = self.answers.pop_front() {
                Some(answer)
            } else if self.mode & MODE_KEYBOARD_OFF == 0
                && let Some(byte) = self.keyboard.take()
            {
                // A release prefix that was swallowed leaves the buffer empty: go around.
                match self.translate(byte) {
                    Some(byte) => Some((byte, Source::Keyboard)),
                    None => continue,
                }
            } else if self.mode & MODE_MOUSE_OFF == 0
                && let Some(byte) = self.mouse.take()
            {
                Some((byte, Source::Mouse))
            } else {
                break;
            };
        }
        self.signal(interrupts);
    }

    /// Scan code set 2 to set 1, as the controller does for every byte of the keyboard.
    fn translate(&mut self, byte: u8) -> Option<u8> {
        if self.mode & MODE_TRANSLATE == 0 {
            return Some(byte);
        }
        if byte == scancodes::RELEASE {
            self.release = true;
            return None;
        }
        let release = if std::mem::take(&mut self.release) {
            0x80
        } else {
            0
        };
        Some(scancodes::to_set_1(byte) | release)
    }

    fn signal(&mut self, interrupts: &mut Interrupts) {
        let source = self.buffer.map(|(_, source)| source);
        let keyboard = source == Some(Source::Keyboard) && self.mode & MODE_KEYBOARD_INTERRUPT != 0;
        let mouse = source == Some(Source::Mouse) && self.mode & MODE_MOUSE_INTERRUPT != 0;
        interrupts.set_isa(KEYBOARD_IRQ, keyboard);
        interrupts.set_isa(MOUSE_IRQ, mouse);
    }

    fn answer(&mut self, byte: u8) {
        self.answers.push_back((byte, Source::Keyboard));
    }

    fn write_command(&mut self, command: u8, outputs: &mut Outputs) {
        self.last_write_was_command = true;
        self.command = None;
        match command {
            0x20 => self.answer(self.mode),
            0x21..=0x3f => self.answer(self.memory[usize::from(command & 0x1f)]),
            0x60..=0x7f | 0xd1..=0xd4 => self.command = Some(command),
            0xa7 => self.mode |= MODE_MOUSE_OFF,
            0xa8 => self.mode &= !MODE_MOUSE_OFF,
            // Test of the mouse's and the keyboard's wires: good.
            0xa9 | 0xab => self.answer(0x00),
            // Self-test: good.
            0xaa => {
                self.mode |= MODE_SYSTEM;
                self.answer(0x55);
            }
            0xad => self.mode |= MODE_KEYBOARD_OFF,
            0xae => self.mode &= !MODE_KEYBOARD_OFF,
            // Input port: keyboard not locked, colour display.
            0xc0 => self.answer(0x80),
            0xd0 => {
                let full = |source| self.buffer.is_some_and(|(_, from)| from == source);
                let flags =
                    u8::from(full(Source::Keyboard)) << 4 | u8::from(full(Source::Mouse)) << 5;
                self.answer(self.output_port | flags);
            }
            0xdd => self.output_port &= !OUTPUT_A20,
            0xdf => self.output_port |= OUTPUT_A20,
            // Pulse output lines whose bit is 0; line 0 is the reset.
            0xf0..=0xff => outputs.reset |= command & OUTPUT_NO_RESET == 0,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8, outputs: &mut Outputs) {
        self.last_write_was_command = false;
        match self.command.take() {
            Some(0x60) => self.mode = value,
            Some(command @ 0x61..=0x7f) => self.memory[usize::from(command & 0x1f)] = value,
            Some(0xd1) => {
                self.output_port = value;
                outputs.reset |= value & OUTPUT_NO_RESET == 0;
            }
            Some(0xd2) => self.answer(value),
            Some(0xd3) => self.answers.push_back((value, Source::Mouse)),
            Some(0xd4) => {
                // Sending to a device turns it on.
                self.mode &= !MODE_MOUSE_OFF;
                self.mouse.command(value);
            }
            _ => {
                self.mode &= !MODE_KEYBOARD_OFF;
                self.keyboard.command(value);
            }
        }
    }
}

#[cfg(test)]
#[path = "i8042/tests.rs"]
mod tests;
