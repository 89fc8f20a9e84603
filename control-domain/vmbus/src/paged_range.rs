//! A range of guest memory given as a list of pages: what GPADLs and GPA-direct packets consist of.

use guest_memory::{GuestMemory, NotMemory};
use std::fmt;
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

/// Size of the pages in lists, in bytes.
pub const PAGE_BYTES: u32 = 4096;
/// Page numbers from here on are beyond the physical address space (52 bits).
const PAGE_NUMBER_LIMIT: u64 = 1 << 40;

/// Bytes that are contiguous for the guest's driver, on pages that need not be. The page numbers
/// are a claim: whether memory is there shows at each access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedRange {
    offset: u32,
    length: u32,
    pages: Vec<u64>,
}

/// A part of a range that is contiguous in guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub length: u32,
}

/// Why a list of pages is refused, or an access to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// The list ends before its range does.
    Truncated,
    /// The range is empty.
    Empty,
    /// The offset in the first page is beyond the page.
    Offset(u32),
    /// There can't be such a page.
    Page(u64),
    /// An access ends behind the range: where it begins, how long it is, the range's length.
    Outside(u32, usize, u32),
    /// There is no memory.
    NotMemory(NotMemory),
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "a page list ends before its range"),
            Self::Empty => write!(f, "a range of no bytes"),
            Self::Offset(offset) => write!(f, "offset {offset:#x} is beyond the first page"),
            Self::Page(page) => write!(f, "page number {page:#x} is beyond physical memory"),
            Self::Outside(at, length, of) => {
                write!(f, "{length} bytes at {at} are not within a range of {of}")
            }
            Self::NotMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RangeError {}

impl From<NotMemory> for RangeError {
    fn from(error: NotMemory) -> Self {
        Self::NotMemory(error)
    }
}

impl PagedRange {
    /// A range that begins `offset` bytes into the first page.
    ///
    /// # Errors
    /// As [`PagedRange::parse`].
    pub fn new(offset: u32, length: u32, pages: Vec<u64>) -> Result<Self, RangeError> {
        if length == 0 {
            return Err(RangeError::Empty);
        }
        if offset >= PAGE_BYTES {
            return Err(RangeError::Offset(offset));
        }
        if let Some(page) = pages.iter().find(|page| **page >= PAGE_NUMBER_LIMIT) {
            return Err(RangeError::Page(*page));
        }
        if pages.len() < page_count(offset, length) {
            return Err(RangeError::Truncated);
        }
        Ok(Self {
            offset,
            length,
            pages,
        })
    }

    /// Reads one range off the front of `bytes`: length, offset, page numbers. Answers the rest too.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), RangeError> {
        let truncated = |_| RangeError::Truncated;
        let ([length, offset], rest) =
            <[U32; 2]>::read_from_prefix(bytes).map_err(|_| RangeError::Truncated)?;
        let (offset, length) = (offset.get(), length.get());
        if offset >= PAGE_BYTES {
            return Err(RangeError::Offset(offset));
        }
        let count = page_count(offset, length);
        let list = <[U64]>::ref_from_prefix_with_elems(rest, count);
        let (pages, rest) = list.map_err(|_| ()).map_err(truncated)?;
        let pages = pages.iter().map(|page| page.get()).collect();
        Ok((Self::new(offset, length, pages)?, rest))
    }

    /// Bytes.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Offset of the first byte in the first page.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// The pieces of `length` bytes from byte `at` on, neighbouring pages joined.
    ///
    /// # Errors
    /// If that is not within the range.
    pub fn pieces(&self, at: u32, length: usize) -> Result<Pieces<'_>, RangeError> {
        let fits = u32::try_from(length)
            .ok()
            .and_then(|length| at.checked_add(length))
            .is_some_and(|end| end <= self.length);
        if !fits {
            return Err(RangeError::Outside(at, length, self.length));
        }
        Ok(Pieces {
            pages: &self.pages,
            position: u64::from(self.offset) + u64::from(at),
            left: length as u64,
        })
    }

    /// Copies guest memory out, from byte `at` of the range on.
    ///
    /// # Errors
    /// If that is not within the range, or no memory.
    pub fn read(&self, memory: &GuestMemory, at: u32, bytes: &mut [u8]) -> Result<(), RangeError> {
        let mut done = 0;
        for piece in self.pieces(at, bytes.len())? {
            let part = &mut bytes[done..done + piece.length as usize];
            memory.read(piece.gpa, part)?;
            done += piece.length as usize;
        }
        Ok(())
    }

    /// Copies into guest memory, from byte `at` of the range on.
    ///
    /// # Errors
    /// As `read`; what lay before the hole has been written.
    pub fn write(&self, memory: &GuestMemory, at: u32, bytes: &[u8]) -> Result<(), RangeError> {
        let mut done = 0;
        for piece in self.pieces(at, bytes.len())? {
            memory.write(piece.gpa, &bytes[done..done + piece.length as usize])?;
            done += piece.length as usize;
        }
        Ok(())
    }
}

/// Pages that `length` bytes touch, from `offset` in the first one on.
fn page_count(offset: u32, length: u32) -> usize {
    (u64::from(offset) + u64::from(length)).div_ceil(PAGE_BYTES.into()) as usize
}

/// See [`PagedRange::pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    pages: &'a [u64],
    position: u64,
    left: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        const PAGE: u64 = PAGE_BYTES as u64;
        if self.left == 0 {
            return None;
        }
        let first = (self.position / PAGE) as usize;
        let inside = self.position % PAGE;
        let page = *self.pages.get(first)?;
        let (mut length, mut next) = (PAGE - inside, first + 1);
        while length < self.left && self.pages.get(next) == Some(&(page + (next - first) as u64)) {
            length += PAGE;
            next += 1;
        }
        let length = length.min(self.left);
        self.position += length;
        self.left -= length;
        Some(Piece {
            gpa: page * PAGE + inside,
            // A range has at most u32::MAX bytes.
            length: length as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn neighbouring_pages_are_joined() {
        let range = PagedRange::new(0xff0, 0x2020, vec![7, 8, 20, 21]).unwrap();
        let pieces: Vec<_> = range.pieces(0, 0x2020).unwrap().collect();
        let piece = |gpa, length| Piece { gpa, length };
        assert_eq!(pieces, [piece(0x7ff0, 0x1010), piece(0x1_4000, 0x1010)]);
        let pieces: Vec<_> = range.pieces(0x1008, 16).unwrap().collect();
        assert_eq!(pieces, [piece(0x8ff8, 8), piece(0x1_4000, 8)]);
        assert_eq!(range.pieces(0x2020, 0).unwrap().count(), 0);
        assert!(range.pieces(0x2020, 1).is_err());
        assert!(range.pieces(u32::MAX, 2).is_err());
    }

    #[test]
    fn lists_are_checked() {
        let bytes = words(&[0xff8_0000_0010, 3, 4, 99]);
        let (range, rest) = PagedRange::parse(&bytes).unwrap();
        assert_eq!((range.length(), range.offset()), (16, 0xff8));
        assert_eq!(rest, words(&[99]));
        for (bad, error) in [
            (words(&[0xff8_0000_0010, 3]), RangeError::Truncated),
            (vec![1, 0, 0, 0], RangeError::Truncated),
            (words(&[0x1000_0000_0010, 3, 4]), RangeError::Offset(4096)),
            (words(&[0, 3]), RangeError::Empty),
            (words(&[8, 1 << 40]), RangeError::Page(1 << 40)),
            (words(&[u64::from(u32::MAX), 3]), RangeError::Truncated),
        ] {
            assert_eq!(PagedRange::parse(&bad), Err(error));
        }
    }
}
