//! The crash record: the last lines of the log in memory that a warm reset leaves alone.
//!
//! A header and behind it a ring of text. What a reset left there is a claim until its check word
//! fits, and even then its text is shown byte by byte, as printable characters only.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};

/// Size of the record's memory in bytes.
pub const SIZE: usize = 64 << 10;

const MAGIC: u32 = u32::from_le_bytes(*b"ECR1");
const STATE: usize = 4;
const POSITION: usize = 8;
const CHECK: usize = 12;
const TEXT: usize = 16;

const RUNNING: u32 = 1;
const CRASHED: u32 = 2;
/// Bit of the position: the ring was filled at least once.
const WRAPPED: u32 = 1 << 31;

/// A record in `cells`. All CPUs may share it; whoever appends keeps others from appending.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    header: &'a [AtomicU8],
    text: &'a [AtomicU8],
}

impl<'a> Record<'a> {
    /// The record that lies in `cells`, as it is. `None` if there is no room for one.
    pub fn new(cells: &'a [AtomicU8]) -> Option<Self> {
        let (header, text) = cells.split_at_checked(TEXT)?;
        (!text.is_empty() && text.len() < WRAPPED as usize).then_some(Self { header, text })
    }

    fn read(&self, offset: usize) -> u32 {
        let byte = |i: usize| {
            self.header
                .get(offset + i)
                .map_or(0, |cell| cell.load(Ordering::Relaxed))
        };
        u32::from_le_bytes(core::array::from_fn(byte))
    }

    fn write(&self, offset: usize, value: u32) {
        for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
            if let Some(cell) = self.header.get(offset + i) {
                cell.store(byte, Ordering::Relaxed);
            }
        }
    }

    fn write_header(&self, state: u32, position: u32) {
        self.write(0, MAGIC);
        self.write(STATE, state);
        self.write(POSITION, position);
        self.write(CHECK, !(MAGIC ^ state.rotate_left(8) ^ position));
    }

    /// State and position, if the header is one that [`Self::write_header`] wrote.
    fn header(&self) -> Option<(u32, u32)> {
        let (state, position) = (self.read(STATE), self.read(POSITION));
        let fits =
            self.read(0) == MAGIC && self.read(CHECK) == !(MAGIC ^ state.rotate_left(8) ^ position);
        let inside = ((position & !WRAPPED) as usize) < self.text.len();
        (fits && inside).then_some((state, position))
    }

    /// Whether the record tells of a crash.
    pub fn tells_of_a_crash(&self) -> bool {
        self.header().is_some_and(|(state, _)| state == CRASHED)
    }

    /// Begins an empty record of a run that has not crashed.
    pub fn begin(&self) {
        self.write_header(RUNNING, 0);
    }

    /// Adds text; the oldest is overwritten when the ring is full.
    pub fn append(&self, text: &str) {
        let Some((state, position)) = self.header() else {
            return;
        };
        let (mut at, mut wrapped) = ((position & !WRAPPED) as usize, position & WRAPPED);
        for byte in text.bytes() {
            if let Some(cell) = self.text.get(at) {
                cell.store(byte, Ordering::Relaxed);
            }
            at += 1;
            if at >= self.text.len() {
                (at, wrapped) = (0, WRAPPED);
            }
        }
        self.write_header(state, at as u32 | wrapped);
    }

    /// Says that the text ends in a crash.
    pub fn mark_crashed(&self) {
        if let Some((_, position)) = self.header() {
            self.write_header(CRASHED, position);
        }
    }

    /// Calls `line` with the recorded lines, oldest first; overlong ones are cut.
    pub fn lines(&self, mut line: impl FnMut(&str)) {
        let Some((_, position)) = self.header() else {
            return;
        };
        let at = (position & !WRAPPED) as usize;
        let (newer, older) = self.text.split_at(at);
        let older = if position & WRAPPED != 0 { older } else { &[] };
        let mut text = Line::default();
        for cell in older.iter().chain(newer) {
            match cell.load(Ordering::Relaxed) {
                b'\n' => {
                    line(text.as_str());
                    text = Line::default();
                }
                b'\r' => {}
                byte @ b' '..=b'~' => text.push(byte),
                _ => text.push(b'?'),
            }
        }
        if !text.as_str().is_empty() {
            line(text.as_str());
        }
    }
}

/// A line of text in ASCII, cut off at its capacity.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    bytes: [u8; 160],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; 160],
            length: 0,
        }
    }
}

impl Line {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is pushed.
        self.bytes
            .get(..self.length)
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or("")
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.push(if matches!(c, ' '..='~') {
                c as u8
            } else {
                b'?'
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn cells(size: usize) -> Vec<AtomicU8> {
        (0..size).map(|i| AtomicU8::new((i * 37) as u8)).collect()
    }

    fn lines(record: &Record<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        record.lines(|l| lines.push(l.to_string()));
        lines
    }

    #[test]
    fn survives_as_it_was_written() {
        let memory = cells(256);
        let record = Record::new(&memory).unwrap();
        assert!(!record.tells_of_a_crash());
        assert!(lines(&record).is_empty());
        record.begin();
        record.append("one\r\n");
        record.append("two \u{1b}[31m\r\n");
        assert!(!Record::new(&memory).unwrap().tells_of_a_crash());
        record.mark_crashed();
        let later = Record::new(&memory).unwrap();
        assert!(later.tells_of_a_crash());
        assert_eq!(lines(&later), ["one", "two ?[31m"]);
    }

    #[test]
    fn keeps_the_newest_lines() {
        let memory = cells(16 + 12);
        let record = Record::new(&memory).unwrap();
        record.begin();
        for line in ["aaaa\n", "bbbb\n", "cccc\n"] {
            record.append(line);
        }
        assert_eq!(lines(&record), ["a", "bbbb", "cccc"]);
    }

    #[test]
    fn a_damaged_header_is_no_record() {
        let memory = cells(64);
        let record = Record::new(&memory).unwrap();
        record.begin();
        record.mark_crashed();
        for (index, cell) in memory.iter().take(TEXT).enumerate() {
            let was = cell.load(Ordering::Relaxed);
            cell.store(was ^ 0x10, Ordering::Relaxed);
            assert!(!record.tells_of_a_crash(), "byte {index}");
            record.append("x");
            cell.store(was, Ordering::Relaxed);
        }
        assert!(record.tells_of_a_crash());
        assert!(Record::new(&memory[..16]).is_none());
    }
}
