//! The two 8237A DMA controllers of the PIIX4 and their page registers (8237A data sheet; PIIX4 data
//! sheet §4.2.1, §5.2).
//!
//! A device moves bytes with [`Dma::transfer`] when it has some; the bus is always free. Absent:
//! memory to memory, which no PC wires up, and requests by software.

use crate::bus::GuestMemory;

/// Ports of the first and of the second controller, and of the page registers.
pub const FIRST: std::ops::RangeInclusive<u16> = 0x00..=0x0f;
/// The second one's registers lie at even ports.
pub const SECOND: std::ops::RangeInclusive<u16> = 0xc0..=0xdf;
/// Port 80h is nobody's page: it takes the firmware's progress codes.
pub const PAGES: std::ops::RangeInclusive<u16> = 0x81..=0x8f;

const COMMAND_DISABLE: u8 = 4;
const MODE_DOWNWARDS: u8 = 0x20;
const MODE_AUTOMATIC: u8 = 0x10;
const MODE_TYPE: u8 = 0x0c;
const TYPE_VERIFY: u8 = 0;
const TYPE_TO_MEMORY: u8 = 4;
const TYPE_FROM_MEMORY: u8 = 8;

/// Page register of each channel, as an offset from port 80h.
const PAGE_OF_CHANNEL: [usize; 8] = [7, 3, 1, 2, 15, 11, 9, 10];

/// What a transfer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that the controller took or gave, from the start of the data.
    pub bytes: usize,
    /// The channel's count ran out with the last of them.
    pub terminal_count: bool,
}

/// Which way bytes go.
#[derive(Debug)]
pub enum Data<'a> {
    /// The device gives them to memory.
    ToMemory(&'a [u8]),
    /// The device wants them from memory.
    FromMemory(&'a mut [u8]),
}

#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    base_address: u16,
    base_count: u16,
    address: u16,
    count: u16,
    mode: u8,
}

#[derive(Clone, Debug)]
struct Controller {
    channels: [Channel; 4],
    command: u8,
    /// Bit per channel: its count ran out since the status was read.
    reached: u8,
    mask: u8,
    /// The next byte of a 16-bit register is its high one.
    high_byte: bool,
}

impl Default for Controller {
    fn default() -> Self {
        Controller {
            channels: Default::default(),
            command: 0,
            reached: 0,
            mask: 0xf,
            high_byte: false,
        }
    }
}

/// Both controllers.
#[derive(Clone, Debug, Default)]
pub struct Dma {
    controllers: [Controller; 2],
    pages: [u8; 16],
}

impl Dma {
    /// Reads a byte at one of the ports above.
    pub fn read(&mut self, port: u16) -> u8 {
        if PAGES.contains(&port) {
            return self.pages[usize::from(port & 15)];
        }
        let (controller, register) = place(port);
        self.controllers[controller].read(register)
    }

    /// Writes a byte at one of the ports above.
    pub fn write(&mut self, port: u16, value: u8) {
        if PAGES.contains(&port) {
            self.pages[usize::from(port & 15)] = value;
            return;
        }
        let (controller, register) = place(port);
        self.controllers[controller].write(register, value);
    }

    /// Moves bytes over `channel` until there are none or the channel's count runs out. Nothing
    /// moves if the channel is masked or set to the other direction.
    ///
    /// Memory that isn't there reads as ones and takes nothing, as on the bus.
    pub fn transfer(&mut self, channel: u8, data: Data<'_>, memory: &dyn GuestMemory) -> Moved {
        let wide = channel & 4 != 0;
        let page = u64::from(self.pages[PAGE_OF_CHANNEL[usize::from(channel & 7)]]);
        let controller = &mut self.controllers[usize::from(wide)];
        controller.transfer(channel & 3, page, if wide { 2 } else { 1 }, data, memory)
    }
}

fn place(port: u16) -> (usize, u16) {
    if SECOND.contains(&port) {
        (1, port >> 1 & 15)
    } else {
        (0, port & 15)
    }
}

impl Controller {
    fn read(&mut self, register: u16) -> u8 {
        match register {
            0..=7 => {
                let channel = &self.channels[usize::from(register >> 1)];
                let value = if register & 1 == 0 {
                    channel.address
                } else {
                    channel.count
                };
                let [low, high] = value.to_le_bytes();
                if self.second_byte() { high } else { low }
            }
            8 => std::mem::take(&mut self.reached),
            15 => self.mask | 0xf0,
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u8) {
        let selected = usize::from(value & 3);
        match register {
            0..=7 => {
                let shift = if self.second_byte() { 8 } else { 0 };
                let merge = |old: u16| old & !(0xff << shift) | u16::from(value) << shift;
                let channel = &mut self.channels[usize::from(register >> 1)];
                if register & 1 == 0 {
                    channel.base_address = merge(channel.base_address);
                    channel.address = channel.base_address;
                } else {
                    channel.base_count = merge(channel.base_count);
                    channel.count = channel.base_count;
                }
            }
            8 => self.command = value,
            10 if value & 4 != 0 => self.mask |= 1 << selected,
            10 => self.mask &= !(1 << selected),
            11 => self.channels[selected].mode = value,
            12 => self.high_byte = false,
            13 => {
                self.command = 0;
                self.reached = 0;
                self.mask = 0xf;
                self.high_byte = false;
            }
            14 => self.mask = 0,
            15 => self.mask = value & 0xf,
            _ => {}
        }
    }

    fn second_byte(&mut self) -> bool {
        self.high_byte = !self.high_byte;
        !self.high_byte
    }

    fn transfer(
        &mut self,
        number: u8,
        page: u64,
        unit: usize,
        mut data: Data<'_>,
        memory: &dyn GuestMemory,
    ) -> Moved {
        let nothing = Moved {
            bytes: 0,
            terminal_count: false,
        };
        let channel = &mut self.channels[usize::from(number)];
        let fits = match (channel.mode & MODE_TYPE, &data) {
            (TYPE_VERIFY, _) => true,
            (kind, Data::ToMemory(_)) => kind == TYPE_TO_MEMORY,
            (kind, Data::FromMemory(_)) => kind == TYPE_FROM_MEMORY,
        };
        if !fits || self.mask & 1 << number != 0 || self.command & COMMAND_DISABLE != 0 {
            return nothing;
        }
        let length = match &data {
            Data::ToMemory(bytes) => bytes.len(),
            Data::FromMemory(bytes) => bytes.len(),
        };
        let verify = channel.mode & MODE_TYPE == TYPE_VERIFY;
        let mut bytes = 0;
        let mut terminal_count = false;
        while bytes + unit <= length && !terminal_count {
            // The page stays: an address wraps within it, of 64 KiB or of 128.
            let gpa = match unit {
                1 => page << 16 | u64::from(channel.address),
                _ => (page & 0xfe) << 16 | u64::from(channel.address) << 1,
            };
            match &mut data {
                _ if verify => {}
                Data::ToMemory(from) => {
                    let _ = memory.write(gpa, &from[bytes..bytes + unit]);
                }
                Data::FromMemory(to) => {
                    let to = &mut to[bytes..bytes + unit];
                    if memory.read(gpa, to).is_err() {
                        to.fill(0xff);
                    }
                }
            }
            bytes += unit;
            terminal_count = channel.step();
        }
        if terminal_count {
            self.reached |= 1 << number;
            if channel.mode & MODE_AUTOMATIC != 0 {
                channel.address = channel.base_address;
                channel.count = channel.base_count;
            } else {
                self.mask |= 1 << number;
            }
        }
        Moved {
            bytes,
            terminal_count,
        }
    }
}

impl Channel {
    /// One unit was moved. Answers whether it was the last: the count goes below zero.
    fn step(&mut self) -> bool {
        self.address = if self.mode & MODE_DOWNWARDS != 0 {
            self.address.wrapping_sub(1)
        } else {
            self.address.wrapping_add(1)
        };
        let (count, below) = self.count.overflowing_sub(1);
        self.count = count;
        below
    }
}

#[cfg(test)]
#[path = "dma/tests.rs"]
mod tests;
