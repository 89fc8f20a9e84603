//! The text of a serial line: lines without control sequences, and the one not yet ended.

/// Assembles lines from pieces as they arrive.
///
/// Escape sequences of terminals (ECMA-48 §5.4) are left out, so that a firmware which paints the
/// screen doesn't hide a line; a carriage return alone doesn't end one.
#[derive(Default)]
pub struct Lines {
    current: String,
    escape: Escape,
}

#[derive(Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// Behind the escape character.
    Begun,
    /// Inside a control sequence.
    Sequence,
}

/// Longest line that is kept; what follows begins a new one.
const MAX_LINE_LENGTH: usize = 4096;

impl Lines {
    /// Takes the next piece and answers the lines that ended in it.
    pub fn push(&mut self, piece: &[u8]) -> Vec<String> {
        let mut ended = Vec::new();
        for &byte in piece {
            match (&self.escape, byte) {
                (Escape::Begun, b'[') => self.escape = Escape::Sequence,
                (Escape::Begun, _) => self.escape = Escape::None,
                (Escape::Sequence, 0x40..=0x7e) => self.escape = Escape::None,
                (Escape::Sequence, _) => {}
                (Escape::None, 0x1b) => self.escape = Escape::Begun,
                (Escape::None, b'\n') => ended.push(std::mem::take(&mut self.current)),
                (Escape::None, 0x20..=0x7e | b'\t') => self.current.push(char::from(byte)),
                (Escape::None, 0x80..) => self.current.push('.'),
                (Escape::None, _) => {}
            }
            if self.current.len() >= MAX_LINE_LENGTH {
                ended.push(std::mem::take(&mut self.current));
            }
        }
        ended
    }

    /// The line that has not ended, such as a prompt.
    pub fn current(&self) -> &str {
        &self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_may_be_cut_anywhere() {
        let mut lines = Lines::default();
        assert!(lines.push(b"\x1b[2").is_empty());
        assert!(lines.push(b"J\x1b").is_empty());
        assert_eq!(lines.push(b"[01;01Hone\r\ntw"), ["one"]);
        assert_eq!(lines.current(), "tw");
        assert_eq!(lines.push(b"o\xff\n\nlogin: "), ["two.", ""]);
        assert_eq!(lines.current(), "login: ");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'x'; MAX_LINE_LENGTH + 1]).len(), 1);
        assert_eq!(lines.current(), "x");
    }
}
