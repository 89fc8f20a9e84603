//! The I/O advanced programmable interrupt controller, 24 pins.
//!
//! Source: Intel 82093AA data sheet (290566).

use crate::bus::Message;

/// Guest-physical address of the register page.
pub const BASE: u64 = 0xfec0_0000;
/// Its length in bytes.
pub const LENGTH: u64 = 0x1000;
/// The offset of an address in that page.
pub fn offset(gpa: u64) -> Option<u64> {
    gpa.checked_sub(BASE).filter(|offset| *offset < LENGTH)
}

/// Number of inputs.
pub const PINS: u8 = 24;

const VERSION: u32 = 0x11 | (PINS as u32 - 1) << 16;

const DELIVERY_LOWEST_PRIORITY: u64 = 1;
const LOGICAL: u64 = 1 << 11;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Delivery status is never seen as pending: messages are delivered at once.
const READ_ONLY: u64 = 1 << 12 | REMOTE_IRR;
const DEFINED: u64 = 0xff00_0000_0001_ffff;

/// The controller.
#[derive(Clone, Debug)]
pub struct IoApic {
    id: u32,
    select: u8,
    /// Bit per pin: the line is asserted, polarity applied by the wiring and not by the entry.
    lines: u32,
    entries: [u64; PINS as usize],
}

impl Default for IoApic {
    fn default() -> Self {
        IoApic {
            id: 0,
            select: 0,
            lines: 0,
            entries: [MASKED; PINS as usize],
        }
    }
}

impl IoApic {
    /// Reads bytes of a register, which is 32 bits wide; `data` behind it stays as it is.
    pub fn read_bytes(&self, offset: u64, data: &mut [u8]) {
        let register = self.read(offset & !3).to_le_bytes();
        let bytes = register.iter().skip((offset & 3) as usize);
        for (byte, value) in data.iter_mut().zip(bytes) {
            *byte = *value;
        }
    }

    /// Writes a register; less than 32 bits write nothing.
    pub fn write_bytes(&mut self, offset: u64, data: &[u8], messages: &mut Vec<Message>) {
        if let Some(value) = data.first_chunk() {
            self.write(offset, u32::from_le_bytes(*value), messages);
        }
    }

    /// Drives a pin; out-of-range pins have no effect. Messages to send go to `messages`.
    ///
    /// `asserted` is meant logically: whether the entry says active high or low, the guest has
    /// programmed what the tables told it, so the polarity bit is kept but not interpreted.
    pub fn set_line(&mut self, pin: u8, asserted: bool, messages: &mut Vec<Message>) {
        if pin >= PINS {
            return;
        }
        let bit = 1 << pin;
        let rose = asserted && self.lines & bit == 0;
        if asserted {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
        if rose {
            self.deliver(pin, messages);
        }
    }

    /// A local APIC ended the level-triggered interrupt `vector`.
    pub fn end_of_interrupt(&mut self, vector: u8, messages: &mut Vec<Message>) {
        for pin in 0..PINS {
            let entry = &mut self.entries[usize::from(pin)];
            if *entry & (LEVEL | REMOTE_IRR) == LEVEL | REMOTE_IRR && *entry as u8 == vector {
                *entry &= !REMOTE_IRR;
                if self.lines & 1 << pin != 0 {
                    self.deliver(pin, messages);
                }
            }
        }
    }

    /// Reads the register page at `offset`.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            0x00 => self.select.into(),
            0x10 => self.read_register(),
            _ => 0,
        }
    }

    /// Writes the register page at `offset`.
    pub fn write(&mut self, offset: u64, value: u32, messages: &mut Vec<Message>) {
        match offset {
            0x00 => self.select = value as u8,
            0x10 => self.write_register(value, messages),
            _ => {}
        }
    }

    fn read_register(&self) -> u32 {
        match self.select {
            // Identification, and the arbitration identification that is loaded from it.
            0 | 2 => self.id,
            1 => VERSION,
            select => match self.entries.get(usize::from(select.wrapping_sub(0x10)) / 2) {
                Some(entry) if select & 1 == 0 => *entry as u32,
                Some(entry) => (*entry >> 32) as u32,
                None => 0,
            },
        }
    }

    fn write_register(&mut self, value: u32, messages: &mut Vec<Message>) {
        if self.select == 0 {
            self.id = value & 0x0f00_0000;
            return;
        }
        let pin = self.select.wrapping_sub(0x10) / 2;
        let Some(entry) = self.entries.get_mut(usize::from(pin)) else {
            return;
        };
        let old = *entry;
        let wide = if self.select & 1 == 0 {
            old & !0xffff_ffff | u64::from(value)
        } else {
            old & 0xffff_ffff | u64::from(value) << 32
        };
        *entry = wide & DEFINED & !READ_ONLY | old & READ_ONLY;
        if *entry & LEVEL == 0 {
            // Going through edge mode is how software without an EOI register clears a pin.
            *entry &= !REMOTE_IRR;
        } else if self.lines & 1 << pin != 0 {
            self.deliver(pin, messages);
        }
    }

    fn deliver(&mut self, pin: u8, messages: &mut Vec<Message>) {
        let entry = &mut self.entries[usize::from(pin)];
        if *entry & MASKED != 0 {
            return;
        }
        if *entry & LEVEL != 0 {
            if *entry & REMOTE_IRR != 0 {
                return;
            }
            *entry |= REMOTE_IRR;
        }
        let delivery = *entry >> 8 & 7;
        let mut address = 0xfee0_0000 | (*entry >> 56) << 12;
        if *entry & LOGICAL != 0 {
            address |= 1 << 2;
        }
        if delivery == DELIVERY_LOWEST_PRIORITY {
            address |= 1 << 3;
        }
        // Vector, delivery mode, asserted, trigger mode.
        let data = (*entry & 0x7ff) as u32 | 1 << 14 | (*entry & LEVEL) as u32;
        messages.push(Message { address, data });
    }
}

#[cfg(test)]
#[path = "ioapic/tests.rs"]
mod tests;
