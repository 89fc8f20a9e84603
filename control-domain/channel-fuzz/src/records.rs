//! Packets as few bytes.
//!
//! A record: flags (1 byte: completion wanted in bit 0, number of pieces in bits 1 and 2, bytes for memory in
//! bit 3), then for each piece its address in units of 256 bytes (3 bytes) and its length (2 bytes), then
//! length (1 byte) and bytes of the payload, then length (1 byte) and bytes that are put where the first
//! piece is.

use guest_buffer::{Buffer, Piece};
use guest_memory::GuestMemory;

/// A packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Whether the guest wants a completion.
    pub wants_completion: bool,
    /// Where its memory is: address in units of 256 bytes, bytes.
    pub pieces: Vec<(u32, u16)>,
    /// What is on the ring.
    pub payload: &'a [u8],
    /// What is in the memory.
    pub content: &'a [u8],
}

/// The packets that some bytes stand for.
pub struct Records<'a>(pub &'a [u8]);

const UNIT: u64 = 256;
const COMPLETION: u8 = 1;
const CONTENT: u8 = 8;

impl<'a> Record<'a> {
    /// The memory.
    pub fn buffer(&self) -> Buffer {
        Buffer::new(self.pieces.iter().map(|(unit, length)| Piece {
            gpa: u64::from(*unit) * UNIT,
            length: (*length).into(),
        }))
    }

    /// Puts the content where it belongs, if there is memory.
    pub fn put(&self, memory: &GuestMemory) {
        if let Some((unit, _)) = self.pieces.first() {
            // Where there is none, there is none.
            let _ = memory.write(u64::from(*unit) * UNIT, self.content);
        }
    }

    /// The bytes that stand for it. At most 3 pieces and 255 bytes each.
    pub fn pack(&self) -> Vec<u8> {
        let content = if self.content.is_empty() { 0 } else { CONTENT };
        let count = self.pieces.len().min(3) as u8;
        let mut bytes = vec![u8::from(self.wants_completion) | count << 1 | content];
        for (unit, length) in self.pieces.iter().take(3) {
            bytes.extend(&unit.to_le_bytes()[..3]);
            bytes.extend(length.to_le_bytes());
        }
        let mut put = |part: &[u8]| {
            let part = &part[..part.len().min(255)];
            bytes.push(part.len() as u8);
            bytes.extend(part);
        };
        put(self.payload);
        if content != 0 {
            put(self.content);
        }
        bytes
    }
}

impl<'a> Records<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn part(&mut self) -> &'a [u8] {
        match self.take(1) {
            [length] => self.take((*length).into()),
            _ => &[],
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let flags = *self.take(1).first()?;
        let pieces = (0..flags >> 1 & 3).filter_map(|_| match *self.take(5) {
            [a, b, c, low, high] => {
                let unit = u32::from_le_bytes([a, b, c, 0]);
                Some((unit, u16::from_le_bytes([low, high])))
            }
            _ => None,
        });
        Some(Record {
            wants_completion: flags & COMPLETION != 0,
            pieces: pieces.collect(),
            payload: self.part(),
            content: match flags & CONTENT {
                0 => &[],
                _ => self.part(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_nothing_panics() {
        let records = [
            Record {
                wants_completion: true,
                pieces: vec![(0x12_3456, 0x789a), (1, 2)],
                payload: b"payload",
                content: b"content",
            },
            Record {
                payload: b"x",
                ..Record::default()
            },
        ];
        let packed: Vec<u8> = records.iter().flat_map(Record::pack).collect();
        assert_eq!(Records(&packed).collect::<Vec<_>>(), records);
        for end in 0..packed.len() {
            assert!(Records(&packed[..end]).count() <= 3);
        }
    }
}
