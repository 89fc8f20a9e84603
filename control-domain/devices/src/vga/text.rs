//! What a text screen shows.

use super::Vga;

impl Vga {
    /// The lines of the text screen, one character for each cell; `None` in graphics modes or while
    /// the screen is off. Characters beyond ASCII show as a full stop.
    pub fn text_lines(&self) -> Option<Vec<String>> {
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
        let line = |row: u32| {
            let first = start + row * pitch;
            (first..first + columns)
                .map(|cell| {
                    let mut byte = [0];
                    // Characters and attributes are side by side from the start of the memory on.
                    self.memory.read(2 * cell & 0xffff, &mut byte);
                    match byte[0] {
                        0 => ' ',
                        byte @ 0x20..=0x7e => byte.into(),
                        _ => '.',
                    }
                })
                .collect()
        };
        Some((0..rows).map(line).collect())
    }
}
