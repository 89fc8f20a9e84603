//! The machine's text screen as lines of a log: what changed, with the number of the row.

use std::fmt::Write;

/// What of the screen was told already.
#[derive(Debug, Default)]
pub struct TextScreen {
    told: Vec<String>,
}

impl TextScreen {
    /// The rows that are new since the last time, each as `NN| text`; empty ones are not told.
    pub fn changes(&mut self, rows: Vec<String>) -> String {
        let mut text = String::new();
        for (number, row) in rows.iter().enumerate() {
            let row = row.trim_end();
            if !row.is_empty() && self.told.get(number).map(|told| told.trim_end()) != Some(row) {
                let _ = writeln!(text, "{number:02}| {row}");
            }
        }
        self.told = rows;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let mut screen = TextScreen::default();
        let rows = |rows: &[&str]| rows.iter().map(|row| row.to_string()).collect();
        assert_eq!(screen.changes(rows(&["C:\\>  ", "   "])), "00| C:\\>\n");
        assert_eq!(screen.changes(rows(&["C:\\>", "x"])), "01| x\n");
        assert_eq!(screen.changes(rows(&["C:\\>", "x"])), "");
        assert_eq!(screen.changes(rows(&["", "C:\\>"])), "01| C:\\>\n");
    }
}
