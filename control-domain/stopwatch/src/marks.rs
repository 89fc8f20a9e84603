//! Marks in what a guest writes on its console.

/// The prompt has no end of line.
const PROMPT: &[u8] = b"login: ";
/// Longer lines are no marks.
const LINE_BYTES: usize = 256;

/// The line that has not ended yet.
#[derive(Debug, Default)]
pub struct Marks {
    line: Vec<u8>,
}

impl Marks {
    /// The first mark that ends in the next piece, with its end there. Without one, all of the piece is done with.
    pub fn find(&mut self, piece: &[u8]) -> Option<(usize, String)> {
        for (at, &byte) in piece.iter().enumerate() {
            let found = if byte == b'\n' || byte == b'\r' {
                let found = mark(&self.line);
                self.line.clear();
                found
            } else if self.line.len() < LINE_BYTES {
                self.line.push(byte);
                let is_prompt = self.line.ends_with(PROMPT);
                is_prompt.then(|| "login".to_owned())
            } else {
                None
            };
            if let Some(name) = found {
                return Some((at + 1, name));
            }
        }
        None
    }
}

fn mark(line: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(line.strip_prefix(b"mark ")?).ok()?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_whole_line_in_however_many_pieces() {
        let mut marks = Marks::default();
        assert_eq!(marks.find(b"# echo mark a\r\nma"), None);
        assert_eq!(marks.find(b"rk a\r\nmark b"), Some((5, "a".into())));
        assert_eq!(marks.find(b"\nmark b"), None);
        assert_eq!(marks.find(b"\nguest log"), Some((1, "b".into())));
        assert_eq!(marks.find(b"guest log"), None);
        assert_eq!(marks.find(b"in: x"), Some((4, "login".into())));
    }

    #[test]
    fn other_lines_are_none() {
        let mut marks = Marks::default();
        let lines = b"mark \nmark a b\nmark \xff\nremark a\n";
        assert_eq!(marks.find(lines), None);
        let long = [b'x'; 3 * LINE_BYTES];
        assert_eq!(marks.find(&long), None);
        assert_eq!(marks.find(b"\nmark c\n"), Some((8, "c".into())));
    }
}
