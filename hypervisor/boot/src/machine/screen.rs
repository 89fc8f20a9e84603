//! Text on the framebuffer that the firmware left, for crashes.

use font8x8::legacy::BASIC_LEGACY;
use hypervisor_hal::handoff::Framebuffer;

/// Glyphs are 8 by 8; each of their lines is drawn twice.
const CELL_WIDTH: u32 = 8;
const CELL_HEIGHT: u32 = 16;
const MARGIN: u32 = 16;

// The same in every order of the channels.
const BLACK: u32 = 0;
const WHITE: u32 = 0x00ff_ffff;

/// The screen while it shows a crash.
pub struct Screen {
    framebuffer: Framebuffer,
    y: u32,
}

impl Screen {
    /// Takes the whole screen and blackens it.
    pub fn clear(framebuffer: Framebuffer) -> Self {
        let screen = Self {
            framebuffer,
            y: MARGIN,
        };
        for y in 0..framebuffer.height {
            for x in 0..framebuffer.width {
                screen.pixel(x, y, BLACK);
            }
        }
        screen
    }

    /// Writes one line of ASCII below the last, as far as there is room.
    pub fn line(&mut self, text: &str) {
        for (column, byte) in (0u32..).zip(text.bytes()) {
            let glyph = BASIC_LEGACY.get(usize::from(byte)).unwrap_or(&[0; 8]);
            for (row, bits) in (0u32..).zip(glyph) {
                for x in (0..8).filter(|x| bits >> x & 1 != 0) {
                    for half in 0..2 {
                        self.pixel(
                            MARGIN + column * CELL_WIDTH + x,
                            self.y + 2 * row + half,
                            WHITE,
                        );
                    }
                }
            }
        }
        self.y += CELL_HEIGHT;
    }

    fn pixel(&self, x: u32, y: u32, value: u32) {
        let Framebuffer {
            base,
            width,
            height,
            stride,
        } = self.framebuffer;
        if x < width && y < height {
            let offset = (u64::from(y) * u64::from(stride) + u64::from(x)) * 4;
            // SAFETY: the firmware says that the framebuffer has `height` lines of `stride` pixels
            // there, and the host's page tables map it at its own address.
            unsafe { ((base + offset) as *mut u32).write_volatile(value) };
        }
    }
}
