//! What a text screen shows.

use super::Vga;

/// Where the cells of a text screen lie.
pub(super) struct TextScreen {
    pub columns: u32,
    pub rows: u32,
    start: u32,
    pitch: u32,
}

impl TextScreen {
    /// Number of a cell. Characters and attributes are side by side from the start of the memory on, two
    /// bytes a cell.
    pub fn cell(&self, row: u32, column: u32) -> u32 {
        self.start + row * self.pitch + column
    }
}

impl Vga {
    /// `None` in graphics modes or while the screen is off.
    pub(super) fn text_screen(&self) -> Option<TextScreen> {
        let graphics = self.graphics[6] & 1 != 0 || self.attribute[0x10] & 1 != 0;
        let off = self.sequencer[1] & 0x20 != 0 || self.attribute_index & 0x20 == 0;
        if graphics || off || self.vbe.enabled() {
            return None;
        }
        let columns = u32::from(self.crtc[1]) + 1;
        let overflow = u32::from(self.crtc[7]);
        let last_scan_line =
            u32::from(self.crtc[0x12]) | (overflow & 2) << 7 | (overflow & 0x40) << 3;
        let rows = (last_scan_line + 1) / (u32::from(self.crtc[9] & 0x1f) + 1);
        let start = u32::from(self.crtc[0x0c]) << 8 | u32::from(self.crtc[0x0d]);
        let pitch = 2 * u32::from(self.crtc[0x13]);
        Some(TextScreen {
            columns,
            rows,
            start,
            pitch,
        })
    }

    /// The lines of the text screen, one character for each cell; `None` in graphics modes or while
    /// the screen is off. Characters beyond ASCII show as a full stop.
    pub fn text_lines(&self) -> Option<Vec<String>> {
        let screen = self.text_screen()?;
        let line = |row: u32| {
            let cells = (0..screen.columns).map(|column| screen.cell(row, column));
            cells
                .map(|cell| match self.byte(2 * cell & 0xffff) {
                    0 => ' ',
                    byte @ 0x20..=0x7e => byte.into(),
                    _ => '.',
                })
                .collect()
        };
        Some((0..screen.rows).map(line).collect())
    }
}
