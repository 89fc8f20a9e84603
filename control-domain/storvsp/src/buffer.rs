//! Where the guest wants its data: pieces of guest-physical memory, one behind the other.

use std::fmt;

const PAGE_SIZE: u64 = 4096;

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
}

/// A range whose numbers can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferError;

/// Guest-physical memory. Methods take `&self`: the guest's processors write to it at the same time.
pub trait Memory {
    /// Fills `data` from `gpa` on.
    ///
    /// # Errors
    /// If it is not all memory.
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), OutsideMemory>;

    /// Stores `data` from `gpa` on.
    ///
    /// # Errors
    /// If it is not all memory; some may be stored.
    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), OutsideMemory>;
}

/// There is no memory at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideMemory(pub u64);

impl fmt::Display for OutsideMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory at guest-physical address {:#x}", self.0)
    }
}

impl std::error::Error for OutsideMemory {}

impl Buffer {
    /// Pieces as they are; neighbours become one.
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut buffer = Buffer::default();
        for piece in pieces {
            buffer.push(piece);
        }
        buffer
    }

    /// A range of a GPA-direct packet: `length` bytes from `offset` on, in the pages with these numbers.
    ///
    /// # Errors
    /// If the pages do not hold it.
    pub fn from_pages(offset: u32, length: u32, pages: &[u64]) -> Result<Self, BufferError> {
        let (mut offset, mut left) = (u64::from(offset), u64::from(length));
        if offset >= PAGE_SIZE {
            return Err(BufferError);
        }
        let mut buffer = Buffer::default();
        for page in pages {
            let start = page.checked_mul(PAGE_SIZE).ok_or(BufferError)?;
            let length = left.min(PAGE_SIZE - offset);
            buffer.push(Piece {
                gpa: start + offset,
                length,
            });
            left -= length;
            offset = 0;
        }
        match left {
            0 => Ok(buffer),
            _ => Err(BufferError),
        }
    }

    fn push(&mut self, piece: Piece) {
        match self.pieces.last_mut() {
            _ if piece.length == 0 => {}
            Some(last) if last.gpa.checked_add(last.length) == Some(piece.gpa) => {
                last.length = last.length.saturating_add(piece.length);
            }
            _ => self.pieces.push(piece),
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
        let add = |sum: u64, piece: &Piece| sum.saturating_add(piece.length);
        self.pieces.iter().fold(0, add)
    }

    /// Cuts what lies behind `length` bytes.
    pub fn truncate(&mut self, length: u64) {
        let mut left = length;
        for piece in &mut self.pieces {
            piece.length = piece.length.min(left);
            left -= piece.length;
        }
        self.pieces.retain(|piece| piece.length > 0);
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
        let mut skip = at;
        self.pieces.iter().filter_map(move |piece| {
            let skipped = skip.min(piece.length);
            skip -= skipped;
            (skipped < piece.length).then(|| Piece {
                gpa: piece.gpa.saturating_add(skipped),
                length: piece.length - skipped,
            })
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
    fn pages_become_pieces() {
        let buffer = Buffer::from_pages(0xff0, 0x1020, &[1, 2, 9]).expect("they hold it");
        let piece = |gpa, length| Piece { gpa, length };
        assert_eq!(
            buffer.pieces(),
            [piece(0x1ff0, 0x1010), piece(0x9000, 0x10)]
        );
        assert_eq!(buffer.length(), 0x1020);
        let mut cut = buffer.clone();
        cut.truncate(0x1010);
        assert_eq!(cut.pieces(), [piece(0x1ff0, 0x1010)]);
        assert!(Buffer::from_pages(0x1000, 1, &[1]).is_err());
        assert!(Buffer::from_pages(0xfff, 2, &[1]).is_err());
        assert!(Buffer::from_pages(0, 1, &[u64::MAX]).is_err());
        assert_eq!(Buffer::from_pages(0, 0, &[]), Ok(Buffer::default()));
    }
}
