//! The video adapter: a VGA with the Bochs extensions for larger modes.
//!
//! Source: IBM VGA Technical Reference (PS/2 Hardware Interface, Video Subsystem); the registers of
//! the Bochs display interface as SeaVGABIOS and the Linux driver `bochs` use them.

mod memory;
mod picture;
mod text;
mod vbe;

use crate::bus::VideoMemory;
use crate::layout::TextWindow;
pub use picture::{LinearMode, Picture};
use vbe::Vbe;

/// Guest-physical address of the legacy window.
pub const LEGACY_WINDOW: u64 = 0xa_0000;
/// Its length in bytes.
pub const LEGACY_LENGTH: u64 = 0x2_0000;

const SEQUENCER_MASKS: [u8; 5] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GRAPHICS_MASKS: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const CRTC_REGISTERS: usize = 0x19;
const ATTRIBUTE_REGISTERS: usize = 0x15;

const MISC_COLOUR: u8 = 1;
const MISC_MEMORY: u8 = 2;

/// One frame of 70 Hz, the lines of one of 449, and the parts of each that show something.
const FRAME_NS: u64 = 14_268_000;
const FRAME_VISIBLE_NS: u64 = 12_711_000;
const LINE_NS: u64 = 31_778;
const LINE_VISIBLE_NS: u64 = 25_422;

/// The adapter.
pub struct Vga {
    memory: Box<dyn VideoMemory>,
    vbe: Vbe,
    misc: u8,
    feature: u8,
    sequencer: [u8; SEQUENCER_MASKS.len()],
    sequencer_index: u8,
    graphics: [u8; GRAPHICS_MASKS.len()],
    graphics_index: u8,
    crtc: [u8; CRTC_REGISTERS],
    crtc_index: u8,
    attribute: [u8; ATTRIBUTE_REGISTERS],
    attribute_index: u8,
    /// The next write to port 3C0h is data.
    attribute_data: bool,
    palette: [u8; 768],
    palette_mask: u8,
    /// Position in the palette, in colour components.
    palette_at: usize,
    palette_reading: bool,
    latches: [u8; 4],
    text_window: Option<TextWindow>,
    layout_changed: bool,
}

impl Vga {
    /// An adapter at power-on.
    pub fn new(memory: Box<dyn VideoMemory>) -> Self {
        let vbe = Vbe::new(memory.size());
        Vga {
            memory,
            vbe,
            misc: 0,
            feature: 0,
            sequencer: [0; 5],
            sequencer_index: 0,
            graphics: [0; 9],
            graphics_index: 0,
            crtc: [0; CRTC_REGISTERS],
            crtc_index: 0,
            attribute: [0; ATTRIBUTE_REGISTERS],
            attribute_index: 0,
            attribute_data: false,
            palette: [0; 768],
            palette_mask: 0xff,
            palette_at: 0,
            palette_reading: false,
            latches: [0; 4],
            text_window: None,
            layout_changed: false,
        }
    }

    /// A reset of the machine. The memory keeps its content.
    pub fn reset(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Box::new(Vec::new()));
        *self = Vga::new(memory);
    }

    /// Size of the memory in bytes.
    pub fn memory_bytes(&self) -> u32 {
        self.memory.size()
    }

    /// Its registers, for people.
    pub fn inspect(&self) -> String {
        format!(
            "misc {:#04x} sequencer {:02x?} graphics {:02x?} crtc {:02x?} attribute {:02x?} {:?}",
            self.misc, self.sequencer, self.graphics, self.crtc, self.attribute, self.vbe
        )
    }

    /// Whether the text window has changed since the last time this was asked.
    pub fn take_layout_change(&mut self) -> bool {
        std::mem::take(&mut self.layout_changed)
    }

    fn crtc_base(&self) -> u16 {
        if self.misc & MISC_COLOUR != 0 {
            0x3d0
        } else {
            0x3b0
        }
    }

    /// Reads port 3B0h to 3DFh.
    pub fn read_port(&mut self, port: u16, now_ns: u64) -> u8 {
        match port {
            0x3c0 => self.attribute_index,
            0x3c1 => self
                .attribute
                .get(usize::from(self.attribute_index & 0x1f))
                .copied()
                .unwrap_or(0),
            // A colour monitor is attached.
            0x3c2 => 0x10,
            0x3c4 => self.sequencer_index,
            0x3c5 => self
                .sequencer
                .get(usize::from(self.sequencer_index))
                .copied()
                .unwrap_or(0),
            0x3c6 => self.palette_mask,
            0x3c7 => {
                if self.palette_reading {
                    3
                } else {
                    0
                }
            }
            0x3c8 => (self.palette_at / 3) as u8,
            0x3c9 => self.read_palette(),
            0x3ca => self.feature,
            0x3cc => self.misc,
            0x3ce => self.graphics_index,
            0x3cf => self
                .graphics
                .get(usize::from(self.graphics_index))
                .copied()
                .unwrap_or(0),
            _ if port & 0x3f0 == self.crtc_base() => match port & 0xf {
                4 => self.crtc_index,
                5 => self
                    .crtc
                    .get(usize::from(self.crtc_index))
                    .copied()
                    .unwrap_or(0),
                0xa => {
                    self.attribute_data = false;
                    input_status(now_ns)
                }
                _ => 0xff,
            },
            _ => 0xff,
        }
    }

    /// Writes port 3B0h to 3DFh.
    pub fn write_port(&mut self, port: u16, value: u8) {
        match port {
            0x3c0 | 0x3c1 => self.write_attribute(value),
            0x3c2 => self.misc = value & 0xef,
            0x3c4 => self.sequencer_index = value & 7,
            0x3c5 => {
                let i = usize::from(self.sequencer_index);
                if let (Some(register), Some(mask)) =
                    (self.sequencer.get_mut(i), SEQUENCER_MASKS.get(i))
                {
                    *register = value & mask;
                }
            }
            0x3c6 => self.palette_mask = value,
            0x3c7 | 0x3c8 => {
                self.palette_at = 3 * usize::from(value);
                self.palette_reading = port == 0x3c7;
            }
            0x3c9 => self.write_palette(value),
            0x3ce => self.graphics_index = value & 0xf,
            0x3cf => {
                let i = usize::from(self.graphics_index);
                if let (Some(register), Some(mask)) =
                    (self.graphics.get_mut(i), GRAPHICS_MASKS.get(i))
                {
                    *register = value & mask;
                }
            }
            _ if port & 0x3f0 == self.crtc_base() => match port & 0xf {
                4 => self.crtc_index = value,
                5 => self.write_crtc(value),
                0xa => self.feature = value & 0x10,
                _ => {}
            },
            _ => {}
        }
        self.update_text_window();
    }

    fn write_attribute(&mut self, value: u8) {
        if self.attribute_data {
            let i = usize::from(self.attribute_index & 0x1f);
            if let Some(register) = self.attribute.get_mut(i) {
                *register = if i < 16 { value & 0x3f } else { value };
            }
        } else {
            self.attribute_index = value & 0x3f;
        }
        self.attribute_data = !self.attribute_data;
    }

    fn write_crtc(&mut self, value: u8) {
        let locked = self.crtc[0x11] & 0x80 != 0;
        let index = usize::from(self.crtc_index);
        match index {
            // One bit of the overflow register belongs to the line compare, which is not locked.
            7 if locked => self.crtc[7] = self.crtc[7] & !0x10 | value & 0x10,
            0..=7 if locked => {}
            _ => {
                if let Some(register) = self.crtc.get_mut(index) {
                    *register = value;
                }
            }
        }
    }

    fn palette_step(&mut self) -> usize {
        let at = self.palette_at;
        self.palette_at = (at + 1) % self.palette.len();
        at
    }

    fn read_palette(&mut self) -> u8 {
        let at = self.palette_step();
        self.palette[at]
    }

    fn write_palette(&mut self, value: u8) {
        let at = self.palette_step();
        self.palette[at] = if self.vbe.wide_palette() {
            value
        } else {
            value & 0x3f
        };
    }

    /// Reads port 1CEh to 1D0h, 16 bits.
    pub fn read_vbe(&self, port: u16) -> u16 {
        self.vbe.read(port)
    }

    /// Writes port 1CEh to 1D0h, 16 bits.
    pub fn write_vbe(&mut self, port: u16, value: u16) {
        if let Some(bytes) = self.vbe.write(port, value) {
            self.clear(bytes);
        }
        self.update_text_window();
    }

    /// Clears what a new mode shows.
    fn clear(&mut self, bytes: u32) {
        let zeros = [0; 4096];
        let mut offset = 0;
        while offset < bytes {
            let length = (bytes - offset).min(zeros.len() as u32);
            self.memory.write(offset, &zeros[..length as usize]);
            offset += length;
        }
    }
}

/// Bit 0: nothing is shown now; bit 3: vertical retrace. By the clock, so that who waits for an
/// edge sees one.
fn input_status(now_ns: u64) -> u8 {
    let in_frame = now_ns % FRAME_NS;
    if in_frame >= FRAME_VISIBLE_NS {
        9
    } else if in_frame % LINE_NS >= LINE_VISIBLE_NS {
        1
    } else {
        0
    }
}

#[cfg(test)]
#[path = "vga/tests.rs"]
mod tests;
