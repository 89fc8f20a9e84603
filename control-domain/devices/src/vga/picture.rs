//! The screen as a picture: text in the guest's own font, as its BIOS or its system loaded it into plane
//! 2, and the linear modes of the Bochs display interface.
//!
//! Not there: the planar and packed graphics modes of the VGA itself; blinking, which stands still.

use super::Vga;
use super::memory::place;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
}

/// A mode whose pixels lie one after the other, as whole bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearMode {
    /// Where the picture begins in video memory, in bytes.
    pub offset: u64,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub pitch: u64,
    /// Bits of a pixel: 8, 15, 16, 24 or 32.
    pub depth: u16,
}

type Colour = [u8; 3];

/// Bytes of a character's glyph in plane 2, of which only the first few lines show.
const GLYPH_BYTES: u32 = 32;
const FONT_PLANE: u32 = 2;
/// Attribute controller, mode: the ninth column of line graphics repeats the eighth.
const LINE_GRAPHICS: u8 = 4;
/// Attribute controller, mode: bit 7 of an attribute blinks, and is no colour.
const BLINK: u8 = 8;
/// Attribute controller, mode: bits 4 and 5 of a colour come from the colour select register.
const COLOUR_SELECT: u8 = 0x80;
const CURSOR_OFF: u8 = 0x20;

impl Vga {
    /// What the screen shows. `None` while it is off, or in a mode that is not understood here.
    pub fn picture(&self) -> Option<Picture> {
        match self.vbe.enabled() {
            true => self.linear_picture(self.vbe.mode()),
            false => self.text_picture(),
        }
    }

    fn text_picture(&self) -> Option<Picture> {
        let screen = self.text_screen()?;
        let cell_width = if self.sequencer[1] & 1 != 0 { 8 } else { 9 };
        let cell_height = u32::from(self.crtc[9] & 0x1f) + 1;
        let (width, height) = (screen.columns * cell_width, screen.rows * cell_height);
        let mut rgb = vec![0; (width * height * 3) as usize];
        for row in 0..screen.rows {
            for column in 0..screen.columns {
                let cell = screen.cell(row, column);
                let glyph = self.glyph(cell, cell_height);
                for (y, line) in (0..).zip(glyph) {
                    for x in 0..cell_width {
                        let colour = self.text_colour(cell, line >> (8 - x) & 1 != 0);
                        let at = (row * cell_height + y) * width + column * cell_width + x;
                        rgb[at as usize * 3..][..3].copy_from_slice(&colour);
                    }
                }
            }
        }
        Some(Picture { width, height, rgb })
    }

    /// The lines of a cell, nine pixels each, the leftmost in bit 8.
    fn glyph(&self, cell: u32, lines: u32) -> Vec<u16> {
        let character = self.byte(2 * cell & 0xffff);
        let attribute = self.byte(2 * cell + 1 & 0xffff);
        let maps = self.sequencer[3];
        // Each number of a font has its low bits apart from its high bit (sequencer, map select).
        let number = match attribute & 8 {
            0 => maps & 3 | maps >> 2 & 4,
            _ => maps >> 2 & 3 | maps >> 3 & 4,
        };
        let number = u32::from(number);
        let font = (number & 3) * 0x4000 + (number >> 2) * 0x2000;
        let first = font + u32::from(character) * GLYPH_BYTES;
        let joined =
            self.attribute[0x10] & LINE_GRAPHICS != 0 && (0xc0..=0xdf).contains(&character);
        (0..lines)
            .map(|line| {
                if self.cursor_covers(cell, line) {
                    return 0x1ff;
                }
                let bits = u16::from(self.byte(place(FONT_PLANE, first + line)));
                bits << 1 | if joined { bits & 1 } else { 0 }
            })
            .collect()
    }

    fn cursor_covers(&self, cell: u32, line: u32) -> bool {
        let at = u32::from(self.crtc[0x0e]) << 8 | u32::from(self.crtc[0x0f]);
        let [first, last] = [0x0a, 0x0b].map(|index| u32::from(self.crtc[index] & 0x1f));
        let on = self.crtc[0x0a] & CURSOR_OFF == 0;
        on && cell == at && (first..=last).contains(&line)
    }

    fn text_colour(&self, cell: u32, foreground: bool) -> Colour {
        let attribute = self.byte(2 * cell + 1 & 0xffff);
        let number = match foreground {
            true => attribute & 0x0f,
            false if self.attribute[0x10] & BLINK != 0 => attribute >> 4 & 7,
            false => attribute >> 4,
        };
        let colour = self.attribute[usize::from(number)];
        let select = self.attribute[0x14];
        self.palette_colour(match self.attribute[0x10] & COLOUR_SELECT {
            0 => select << 4 & 0xc0 | colour & 0x3f,
            _ => select << 4 & 0xf0 | colour & 0x0f,
        })
    }

    fn palette_colour(&self, number: u8) -> Colour {
        let first = usize::from(number & self.palette_mask) * 3;
        let component = |n: usize| match (self.palette[first + n], self.vbe.wide_palette()) {
            (value, true) => value,
            (value, false) => widened(value.into(), 6),
        };
        [0, 1, 2].map(component)
    }

    /// What lies in video memory, seen in a mode. `None`: there is no such depth.
    pub fn linear_picture(&self, mode: LinearMode) -> Option<Picture> {
        let pixel_bytes = pixel_bytes(mode.depth)?;
        let mut rgb = Vec::with_capacity((mode.width * mode.height * 3) as usize);
        let mut line = vec![0; (mode.width * pixel_bytes) as usize];
        for row in 0..mode.height {
            // Any offset can be programmed; what lies behind the memory is black.
            let offset = mode.offset + u64::from(row) * mode.pitch;
            match u32::try_from(offset) {
                Ok(offset) => self.memory.read(offset, &mut line),
                Err(_) => line.fill(0),
            }
            for bytes in line.chunks_exact(pixel_bytes as usize) {
                rgb.extend(self.linear_colour(mode.depth, bytes));
            }
        }
        let (width, height) = (mode.width, mode.height);
        Some(Picture { width, height, rgb })
    }

    fn linear_colour(&self, depth: u16, bytes: &[u8]) -> Colour {
        match (depth, bytes) {
            (15, [low, high]) => {
                let word = u16::from_le_bytes([*low, *high]);
                [word >> 10, word >> 5, word].map(|value| widened(value & 0x1f, 5))
            }
            (16, [low, high]) => {
                let word = u16::from_le_bytes([*low, *high]);
                let [red, blue] = [word >> 11, word & 0x1f].map(|value| widened(value, 5));
                [red, widened(word >> 5 & 0x3f, 6), blue]
            }
            (_, [number]) => self.palette_colour(*number),
            (_, [blue, green, red, ..]) => [*red, *green, *blue],
            _ => [0; 3],
        }
    }
}

/// Bytes of a pixel, in the depths that take whole bytes.
pub fn pixel_bytes(depth: u16) -> Option<u32> {
    match depth {
        8 => Some(1),
        15 | 16 => Some(2),
        24 => Some(3),
        32 => Some(4),
        _ => None,
    }
}

/// A colour component of so many bits, at least four, as eight.
fn widened(value: u16, bits: u32) -> u8 {
    let high = value << (8 - bits);
    (high | high >> bits) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_is_white_in_all_depths() {
        assert_eq!(
            [(31, 5), (63, 6), (0, 5)].map(|(value, bits)| widened(value, bits)),
            [255, 255, 0]
        );
    }
}
