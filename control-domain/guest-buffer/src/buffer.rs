//! A buffer and its pieces, one behind the other.

use crate::memory::{Memory, OutsideMemory};
use vmbus::PagedRange;

/// A stretch of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub length: u64,
}

/// Pieces of memory. Whether there is memory is seen when they are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    pieces: Vec<Piece>,
    /// Where each piece ends, in bytes of the buffer.
    ends: Vec<u64>,
}

impl Buffer {
    /// Pieces as they are; neighbours become one.
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut buffer = Buffer::default();
        for piece in pieces {
            buffer.push(piece);
        }
        buffer
    }

    /// The ranges of a packet, or of memory that was described before.
    pub fn of_ranges<'a>(ranges: impl IntoIterator<Item = &'a PagedRange>) -> Self {
        let pieces = ranges.into_iter().flat_map(|range| {
            let length = range.length() as usize;
            range.pieces(0, length).into_iter().flatten()
        });
        Self::new(pieces.map(|piece| Piece {
            gpa: piece.gpa,
            length: piece.length.into(),
        }))
    }

    fn push(&mut self, piece: Piece) {
        let end = self.length().saturating_add(piece.length);
        match (self.pieces.last_mut(), self.ends.last_mut()) {
            _ if piece.length == 0 => {}
            (Some(last), Some(last_end))
                if last.gpa.checked_add(last.length) == Some(piece.gpa) =>
            {
                last.length = last.length.saturating_add(piece.length);
                *last_end = end;
            }
            _ => {
                self.pieces.push(piece);
                self.ends.push(end);
            }
        }
    }

    /// Adds what another one has.
    pub fn append(&mut self, other: Buffer) {
        for piece in other.pieces {
            self.push(piece);
        }
    }

    /// The pieces.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Bytes altogether.
    pub fn length(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Cuts what lies behind `length` bytes.
    pub fn truncate(&mut self, length: u64) {
        let kept = self.ends.partition_point(|end| *end < length);
        if let (Some(piece), Some(end)) = (self.pieces.get_mut(kept), self.ends.get_mut(kept)) {
            piece.length -= *end - length;
            *end = length;
        }
        let whole = kept + usize::from(length > 0);
        self.pieces.truncate(whole);
        self.ends.truncate(whole);
    }

    /// Stores `data` from byte `at` of the buffer on; what has no room is left out.
    ///
    /// # Errors
    /// If a piece is not memory.
    pub fn store<M: Memory + ?Sized>(
        &self,
        memory: &M,
        at: u64,
        data: &[u8],
    ) -> Result<(), OutsideMemory> {
        let mut rest = data;
        for piece in self.from(at) {
            let (now, later) = rest.split_at(rest.len().min(clamp(piece.length)));
            memory.write(piece.gpa, now)?;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Fills `data` from byte `at` of the buffer on. Answers how many bytes there were.
    ///
    /// # Errors
    /// If a piece is not memory.
    pub fn load<M: Memory + ?Sized>(
        &self,
        memory: &M,
        at: u64,
        data: &mut [u8],
    ) -> Result<usize, OutsideMemory> {
        let mut done = 0;
        for piece in self.from(at) {
            let length = clamp(piece.length).min(data.len() - done);
            memory.read(piece.gpa, &mut data[done..done + length])?;
            done += length;
            if done == data.len() {
                break;
            }
        }
        Ok(done)
    }

    /// The pieces from a byte on.
    fn from(&self, at: u64) -> impl Iterator<Item = Piece> + '_ {
        let first = self.ends.partition_point(|end| *end <= at);
        let before = match first {
            0 => 0,
            first => self.ends[first - 1],
        };
        let mut skip = at - before;
        self.pieces[first..].iter().map(move |piece| {
            let skipped = std::mem::take(&mut skip);
            Piece {
                gpa: piece.gpa.saturating_add(skipped),
                length: piece.length - skipped,
            }
        })
    }
}

fn clamp(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_found_and_cut() {
        let piece = |gpa, length| Piece { gpa, length };
        let given = [
            piece(0x1ff0, 0x10),
            piece(0x2000, 0x1000),
            piece(0x5000, 0),
            piece(0x9000, 0x10),
        ];
        let buffer = Buffer::new(given);
        assert_eq!(
            buffer.pieces(),
            [piece(0x1ff0, 0x1010), piece(0x9000, 0x10)]
        );
        assert_eq!(buffer.length(), 0x1020);
        let mut cut = buffer.clone();
        cut.truncate(0x1010);
        assert_eq!(cut.pieces(), [piece(0x1ff0, 0x1010)]);
        cut.truncate(0x2000);
        assert_eq!(cut.length(), 0x1010);
        cut.truncate(1);
        assert_eq!(cut.pieces(), [piece(0x1ff0, 1)]);
        cut.truncate(0);
        assert_eq!(cut, Buffer::default());
        assert_eq!(
            buffer.from(0x1011).collect::<Vec<_>>(),
            [piece(0x9001, 0xf)]
        );
        assert_eq!(buffer.from(0x1020).next(), None);
    }
}
