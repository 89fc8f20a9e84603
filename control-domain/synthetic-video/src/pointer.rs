//! The guest's pointer: where it is, and its image, which comes in parts.

use crate::NO_POINTER;
use crate::wire::{LAST_PART, PointerShape};
use vmbus::RingError;

/// Pixels of the largest pointer, in each direction.
const MOST_PIXELS: u32 = 96;

/// The pointer as the guest has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// It is not hidden.
    pub visible: bool,
    /// Column of its image's left edge, which may lie outside the screen.
    pub x: i32,
    /// Row of its image's upper edge, likewise.
    pub y: i32,
    /// What it looks like, once the guest has said so.
    pub image: Option<Image>,
}

/// What a pointer looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Whether `pixels` has blue, green, red and opacity of each pixel; else it is a plane of bits that
    /// the screen is ANDed with, and behind it one that it is XORed with, rows in whole bytes.
    pub argb: bool,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The pixel that points: column and row.
    pub hot: (u32, u32),
    /// The pixels.
    pub pixels: Vec<u8>,
}

/// Parts that came, until the last one does.
#[derive(Debug, Default)]
pub struct Parts {
    next: u8,
    pixels: Vec<u8>,
}

impl Parts {
    /// A part. Answers the whole image with the last one.
    pub fn add(&mut self, shape: PointerShape, pixels: &[u8]) -> Result<Option<Image>, RingError> {
        let (width, height) = (shape.width.get(), shape.height.get());
        if width > MOST_PIXELS || height > MOST_PIXELS {
            return Err(NO_POINTER);
        }
        let argb = shape.argb != 0;
        let bytes = match argb {
            true => width * height * 4,
            false => width.div_ceil(8) * height * 2,
        };
        match shape.part {
            LAST_PART => {}
            0 => *self = Self::default(),
            part if part == self.next => {}
            _ => return Err(NO_POINTER),
        }
        self.next = shape.part.wrapping_add(1);
        // A driver may send more than the pixels take.
        let room = (bytes as usize).saturating_sub(self.pixels.len());
        self.pixels.extend(pixels.iter().take(room));
        if shape.part != LAST_PART {
            return Ok(None);
        }
        let pixels = std::mem::take(self).pixels;
        if pixels.len() != bytes as usize {
            return Err(NO_POINTER);
        }
        let hot = (shape.hot_x.get(), shape.hot_y.get());
        Ok(Some(Image {
            argb,
            width,
            height,
            hot,
            pixels,
        }))
    }
}
