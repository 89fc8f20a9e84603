//! The legacy window: four planes, behind the logic of the graphics controller.
//!
//! Where planes lie in the video memory is ours to choose. Text uses planes 0 and 1 at even offsets
//! only, characters and attributes; so these bytes are laid side by side from offset 0 on, just as
//! the processor sees them at B8000h, and the window can be mapped as it is. In chain-4 and in the
//! larger modes the memory is linear anyway.

use super::{LEGACY_LENGTH, MISC_MEMORY, Vga};
use crate::layout::TextWindow;

/// Bytes of one plane: 64 KiB in each of two banks.
const PLANE_BYTES: u32 = 128 << 10;
const BANK_BYTES: u32 = 64 << 10;

const CHAIN_4: u8 = 8;
/// Sequencer, memory mode: even and odd addresses are not separated.
const SEQUENTIAL: u8 = 4;
const HOST_ODD_EVEN: u8 = 0x10;
const READ_COMPARE: u8 = 8;

/// Place of byte `offset` of `plane` in video memory, and the first of its pair.
pub(super) fn place(plane: u32, offset: u32) -> u32 {
    let offset = offset % PLANE_BYTES;
    let pair = plane / 2 * 2 * PLANE_BYTES;
    let odd = (offset & 1) * PLANE_BYTES;
    pair + odd + (offset & !1) + (plane & 1)
}

/// Bit i of `bits` to all bits of byte i.
fn expand(bits: u8) -> [u8; 4] {
    std::array::from_fn(|plane| if bits >> plane & 1 != 0 { 0xff } else { 0 })
}

/// How the window reaches the planes.
enum Mapping {
    /// Chain-4 or a packed mode: straight through.
    Linear(u32),
    /// The planes of this mask, at this offset.
    Planar { planes: u8, offset: u32 },
}

impl Vga {
    /// Start and length of the part of the legacy window that is decoded.
    fn window(&self) -> (u32, u32) {
        match self.graphics[6] >> 2 & 3 {
            0 => (0, LEGACY_LENGTH as u32),
            1 => (0, 0x1_0000),
            2 => (0x1_0000, 0x8000),
            _ => (0x1_8000, 0x8000),
        }
    }

    fn mapping(&self, offset: u32) -> Option<Mapping> {
        let (start, length) = self.window();
        let offset = offset
            .checked_sub(start)
            .filter(|offset| *offset < length)?;
        if self.misc & MISC_MEMORY == 0 {
            return None;
        }
        let banked = u32::from(self.vbe.bank()) * BANK_BYTES + offset;
        let (mode, mask) = (self.sequencer[4], self.sequencer[2]);
        Some(if mode & CHAIN_4 != 0 {
            if mask >> (offset & 3) & 1 == 0 && !self.vbe.enabled() {
                return Some(Mapping::Planar {
                    planes: 0,
                    offset: banked,
                });
            }
            Mapping::Linear(banked)
        } else if mode & SEQUENTIAL == 0 {
            let planes = mask & if offset & 1 == 0 { 0b0101 } else { 0b1010 };
            Mapping::Planar {
                planes,
                offset: banked & !1,
            }
        } else {
            Mapping::Planar {
                planes: mask,
                offset: banked,
            }
        })
    }

    pub(super) fn byte(&self, at: u32) -> u8 {
        let mut byte = [0];
        self.memory.read(at, &mut byte);
        byte[0]
    }

    /// Reads a byte at `offset` from A0000h.
    pub fn read_memory(&mut self, offset: u32) -> u8 {
        match self.mapping(offset) {
            None => 0xff,
            Some(Mapping::Linear(at)) => self.byte(at),
            Some(Mapping::Planar { offset: at, .. }) => {
                self.latches = std::array::from_fn(|plane| self.byte(place(plane as u32, at)));
                if self.graphics[5] & READ_COMPARE != 0 {
                    let (wanted, relevant) = (expand(self.graphics[2]), expand(self.graphics[7]));
                    let differs = (0..4).fold(0, |bits, i| {
                        bits | (self.latches[i] ^ wanted[i]) & relevant[i]
                    });
                    return !differs;
                }
                let selected = usize::from(self.graphics[4] & 3);
                let odd_even = self.graphics[5] & HOST_ODD_EVEN != 0;
                let plane = if odd_even {
                    selected & 2 | (offset & 1) as usize
                } else {
                    selected
                };
                self.latches[plane]
            }
        }
    }

    /// Writes a byte at `offset` from A0000h.
    pub fn write_memory(&mut self, offset: u32, value: u8) {
        match self.mapping(offset) {
            None => {}
            Some(Mapping::Linear(at)) => self.memory.write(at, &[value]),
            Some(Mapping::Planar { planes, offset }) => {
                let data = self.write_data(value);
                for plane in (0..4).filter(|plane| planes >> plane & 1 != 0) {
                    self.memory
                        .write(place(plane as u32, offset), &[data[plane]]);
                }
            }
        }
    }

    /// What the graphics controller makes of a byte for each plane.
    fn write_data(&self, value: u8) -> [u8; 4] {
        let rotated = value.rotate_right((self.graphics[3] & 7).into());
        let set_reset = expand(self.graphics[0]);
        let mut mask = self.graphics[8];
        let data = match self.graphics[5] & 3 {
            0 => {
                let enabled = expand(self.graphics[1]);
                std::array::from_fn(|i| enabled[i] & set_reset[i] | !enabled[i] & rotated)
            }
            1 => return self.latches,
            2 => expand(value),
            _ => {
                mask &= rotated;
                set_reset
            }
        };
        std::array::from_fn(|i| {
            let latch = self.latches[i];
            let combined = match self.graphics[3] >> 3 & 3 {
                0 => data[i],
                1 => data[i] & latch,
                2 => data[i] | latch,
                _ => data[i] ^ latch,
            };
            combined & mask | latch & !mask
        })
    }

    /// The part of the legacy window that may be mapped as plain memory: in text modes, while the
    /// graphics controller passes bytes unchanged.
    pub fn text_window(&self) -> Option<TextWindow> {
        let plain = self.misc & MISC_MEMORY != 0
            && !self.vbe.enabled()
            && self.sequencer[2] == 0b0011
            && self.sequencer[4] & (CHAIN_4 | SEQUENTIAL) == 0
            && self.graphics[1] == 0
            && self.graphics[3] == 0
            && self.graphics[4] & 2 == 0
            && self.graphics[5] & (READ_COMPARE | HOST_ODD_EVEN | 3) == HOST_ODD_EVEN
            && self.graphics[6] & 8 != 0
            && self.graphics[8] == 0xff;
        let (start, length) = self.window();
        plain.then(|| TextWindow {
            start: super::LEGACY_WINDOW + u64::from(start),
            length: length.into(),
            offset: 0,
        })
    }

    pub(super) fn update_text_window(&mut self) {
        let window = self.text_window();
        if window != self.text_window {
            self.text_window = window;
            self.layout_changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_of_every_plane_has_its_own_place() {
        let mut seen = BTreeSet::new();
        for plane in 0..4 {
            for offset in 0..PLANE_BYTES {
                assert!(seen.insert(place(plane, offset)));
            }
        }
        assert_eq!(seen.last(), Some(&(4 * PLANE_BYTES - 1)));
    }
}
