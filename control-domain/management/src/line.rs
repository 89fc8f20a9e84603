//! One JSON document a line.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, Read as _, Write};

/// The longest line that is read.
const MOST_LINE_BYTES: u64 = 16 << 20;

/// Writes a document as a line.
///
/// # Errors
/// As the other end fails.
pub fn write_line(mut to: impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(document)?;
    bytes.push(b'\n');
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a line and the document in it. Nothing at the end.
///
/// # Errors
/// As the other end fails; a line that is too long, not ended, or no such document.
pub fn read_line<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut bytes = Vec::new();
    from.take(MOST_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    match bytes.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&bytes)?)),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a line without an end",
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_and_others_are_refused() {
        let mut bytes = Vec::new();
        write_line(&mut bytes, &"a\nb").unwrap();
        write_line(&mut bytes, &"c").unwrap();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 2);
        let mut from = bytes.as_slice();
        let mut next = || read_line::<String>(&mut from).unwrap();
        assert_eq!(
            (next(), next(), next()),
            (Some("a\nb".into()), Some("c".into()), None)
        );
        assert!(read_line::<String>(&mut b"\"no end\"".as_slice()).is_err());
        assert!(read_line::<String>(&mut b"nonsense\n".as_slice()).is_err());
    }
}
