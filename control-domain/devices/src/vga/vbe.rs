//! The Bochs display interface: an index and a data port, 16 bits each.

use super::picture::{LinearMode, pixel_bytes};

const INDEX_PORT: u16 = 0x1ce;
/// Newest version of the interface, and the oldest that is told apart.
const NEWEST_ID: u16 = 0xb0c5;
const OLDEST_ID: u16 = 0xb0c0;

const ID: u16 = 0;
const WIDTH: u16 = 1;
const HEIGHT: u16 = 2;
const DEPTH: u16 = 3;
const ENABLE: u16 = 4;
const BANK: u16 = 5;
const VIRTUAL_WIDTH: u16 = 6;
const VIRTUAL_HEIGHT: u16 = 7;
const X_OFFSET: u16 = 8;
const Y_OFFSET: u16 = 9;
const MEMORY_64K: u16 = 10;

const ENABLED: u16 = 1;
const CAPABILITIES: u16 = 2;
const WIDE_PALETTE: u16 = 0x20;
const KEEP_MEMORY: u16 = 0x80;

const MAX_WIDTH: u16 = 2560;
const MAX_HEIGHT: u16 = 1600;
const MAX_DEPTH: u16 = 32;

/// The registers.
#[derive(Debug)]
pub struct Vbe {
    memory_bytes: u32,
    index: u16,
    id: u16,
    width: u16,
    height: u16,
    depth: u16,
    enable: u16,
    bank: u16,
    virtual_width: u16,
    x: u16,
    y: u16,
}

impl Vbe {
    /// At power-on.
    pub fn new(memory_bytes: u32) -> Self {
        Vbe {
            memory_bytes,
            index: 0,
            id: NEWEST_ID,
            width: 0,
            height: 0,
            depth: 8,
            enable: 0,
            bank: 0,
            virtual_width: 0,
            x: 0,
            y: 0,
        }
    }

    /// What is shown, when a mode is on.
    pub fn mode(&self) -> LinearMode {
        let pixel_bytes = u64::from(pixel_bytes(self.depth).unwrap_or(0));
        let pitch = u64::from(self.virtual_width) * pixel_bytes;
        LinearMode {
            offset: u64::from(self.y) * pitch + u64::from(self.x) * pixel_bytes,
            width: self.width.into(),
            height: self.height.into(),
            pitch,
            depth: self.depth,
        }
    }

    /// A mode of this interface is on.
    pub fn enabled(&self) -> bool {
        self.enable & ENABLED != 0
    }

    /// Colour components have 8 bits instead of 6.
    pub fn wide_palette(&self) -> bool {
        self.enable & WIDE_PALETTE != 0
    }

    /// The 64 KiB of video memory that the legacy window shows.
    pub fn bank(&self) -> u16 {
        if self.enabled() { self.bank } else { 0 }
    }

    /// Bytes of `pixels`; 15 bits take two bytes, 4 bits lie in four planes.
    fn bytes(&self, pixels: u32) -> u32 {
        match self.depth {
            4 => pixels / 8,
            depth => pixels * u32::from(depth.div_ceil(8)),
        }
    }

    fn virtual_height(&self) -> u16 {
        match self.bytes(self.virtual_width.into()) {
            0 => self.height,
            line => (self.memory_bytes / line).min(0xffff) as u16,
        }
    }

    /// Reads a port.
    pub fn read(&self, port: u16) -> u16 {
        if port == INDEX_PORT {
            return self.index;
        }
        let capabilities = self.enable & CAPABILITIES != 0;
        match self.index {
            ID => self.id,
            WIDTH if capabilities => MAX_WIDTH,
            HEIGHT if capabilities => MAX_HEIGHT,
            DEPTH if capabilities => MAX_DEPTH,
            WIDTH => self.width,
            HEIGHT => self.height,
            DEPTH => self.depth,
            ENABLE => self.enable,
            BANK => self.bank,
            VIRTUAL_WIDTH => self.virtual_width,
            VIRTUAL_HEIGHT => self.virtual_height(),
            X_OFFSET => self.x,
            Y_OFFSET => self.y,
            MEMORY_64K => (self.memory_bytes >> 16) as u16,
            _ => 0,
        }
    }

    /// Writes a port. Answers how many bytes from the start of the memory a new mode clears.
    pub fn write(&mut self, port: u16, value: u16) -> Option<u32> {
        if port == INDEX_PORT {
            self.index = value;
            return None;
        }
        match self.index {
            ID if (OLDEST_ID..=NEWEST_ID).contains(&value) => self.id = value,
            // The mode is fixed while it is on.
            WIDTH if !self.enabled() && value <= MAX_WIDTH => self.width = value & !7,
            HEIGHT if !self.enabled() && value <= MAX_HEIGHT => self.height = value,
            DEPTH if !self.enabled() => match value {
                0 => self.depth = 8,
                4 | 8 | 15 | 16 | 24 | 32 => self.depth = value,
                _ => {}
            },
            ENABLE => return self.write_enable(value),
            BANK if u32::from(value) < self.memory_bytes >> 16 => self.bank = value,
            VIRTUAL_WIDTH => {
                let wide_enough = value >= self.width;
                let fits = self.bytes(value.into()).saturating_mul(self.height.into())
                    <= self.memory_bytes;
                if wide_enough && fits {
                    self.virtual_width = value;
                }
            }
            X_OFFSET => self.x = value,
            Y_OFFSET => self.y = value,
            _ => {}
        }
        None
    }

    fn write_enable(&mut self, value: u16) -> Option<u32> {
        let starts = value & ENABLED != 0 && !self.enabled();
        self.enable = value;
        if !starts {
            return None;
        }
        self.virtual_width = self.width;
        (self.x, self.y, self.bank) = (0, 0, 0);
        let shown = self.bytes(u32::from(self.width) * u32::from(self.height));
        if shown > self.memory_bytes || self.width == 0 || self.height == 0 {
            // There is no such mode.
            self.enable &= !ENABLED;
            return None;
        }
        (value & KEEP_MEMORY == 0).then_some(shown)
    }
}
