//! The two rings of a channel: a page of indices each, and data pages behind it.
//!
//! Indices count bytes of the data area. An empty ring has equal indices, so a writer never fills the
//! last 8 bytes. Who writes signals when the reader may have gone to sleep: the ring was empty, and
//! the reader's interrupt mask is clear. Who reads signals when the writer waits for room that is there
//! now (pending send size).

mod incoming;
mod outgoing;

pub use incoming::IncomingRing;
pub use outgoing::{OutgoingRing, Sent};

use crate::packet::PacketError;
use crate::paged_range::{PAGE_BYTES, PagedRange, RangeError};
use guest_memory::GuestMemory;
use std::fmt;
use std::sync::Arc;

/// Offsets of the words in a ring's first page.
pub mod header {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const WRITE_INDEX: u32 = 0;
    pub const READ_INDEX: u32 = 4;
    pub const INTERRUPT_MASK: u32 = 8;
    pub const PENDING_SEND_SIZE: u32 = 12;
    pub const FEATURES: u32 = 64;
    /// Feature: the pending send size is used.
    pub const FEATURE_PENDING_SEND_SIZE: u32 = 1;
}

/// What a guest did wrong in a ring. Its channel is broken then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The GPADL is no memory for two rings.
    Geometry(&'static str),
    /// An index is not a multiple of 8 within the ring: its name, its value, the ring's size.
    Index(&'static str, u32, u32),
    /// A descriptor's data offset and length (in units of 8 bytes) and the bytes that are there.
    Descriptor(u16, u16, u32),
    /// A packet that can't be understood.
    Packet(PacketError),
    /// The memory of the ring, or memory that a packet named.
    Range(RangeError),
    /// A packet of ours that never fits this ring: its bytes, the ring's size.
    TooLong(usize, u32),
    /// The device's own protocol was broken; it says how.
    Protocol(&'static str),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry(what) => f.write_str(what),
            Self::Index(name, value, size) => {
                write!(f, "{name} index {value:#x} in a ring of {size:#x} bytes")
            }
            Self::Descriptor(offset, length, available) => write!(
                f,
                "a packet with data at {offset} of {length} words, in {available} bytes"
            ),
            Self::Packet(error) => error.fmt(f),
            Self::Range(error) => error.fmt(f),
            Self::TooLong(length, size) => {
                write!(f, "a ring of {size:#x} bytes is too small for {length}")
            }
            Self::Protocol(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RingError {}

impl From<RangeError> for RingError {
    fn from(error: RangeError) -> Self {
        Self::Range(error)
    }
}

impl From<PacketError> for RingError {
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}

/// One ring's memory.
#[derive(Clone, Debug)]
pub struct RingMemory {
    range: Arc<PagedRange>,
    /// Byte of the range at which the header page begins.
    start: u32,
    /// Bytes of the data area.
    size: u32,
}

impl RingMemory {
    /// Both rings of a channel: that of the guest, then that to the guest from page
    /// `downstream_page` on.
    ///
    /// # Errors
    /// If they don't fit, or have no data pages.
    pub fn pair(range: &Arc<PagedRange>, downstream_page: u32) -> Result<[Self; 2], RingError> {
        if range.offset() != 0 || !range.length().is_multiple_of(PAGE_BYTES) {
            return Err(RingError::Geometry("the rings are not whole pages"));
        }
        let pages = range.length() / PAGE_BYTES;
        if downstream_page < 2 || downstream_page > pages.saturating_sub(2) {
            return Err(RingError::Geometry("a ring has no page for data"));
        }
        let part = |first: u32, end: u32| Self {
            range: range.clone(),
            start: first * PAGE_BYTES,
            size: (end - first - 1) * PAGE_BYTES,
        };
        Ok([part(0, downstream_page), part(downstream_page, pages)])
    }

    /// Bytes of the data area.
    pub fn size(&self) -> u32 {
        self.size
    }

    fn header_gpa(&self, field: u32) -> Result<u64, RangeError> {
        let mut pieces = self.range.pieces(self.start + field, 4)?;
        pieces.next().map_or(Err(RangeError::Empty), |p| Ok(p.gpa))
    }

    fn load(&self, memory: &GuestMemory, field: u32) -> Result<u32, RingError> {
        let gpa = self.header_gpa(field)?;
        Ok(memory.load_u32(gpa).map_err(RangeError::from)?)
    }

    fn store(&self, memory: &GuestMemory, field: u32, value: u32) -> Result<(), RingError> {
        let gpa = self.header_gpa(field)?;
        Ok(memory.store_u32(gpa, value).map_err(RangeError::from)?)
    }

    fn load_index(
        &self,
        memory: &GuestMemory,
        field: u32,
        name: &'static str,
    ) -> Result<u32, RingError> {
        let index = self.load(memory, field)?;
        if index >= self.size || !index.is_multiple_of(8) {
            return Err(RingError::Index(name, index, self.size));
        }
        Ok(index)
    }

    /// The index `bytes` further on. Both are at most the ring's size.
    fn advance(&self, index: u32, bytes: u32) -> u32 {
        ((u64::from(index) + u64::from(bytes)) % u64::from(self.size)) as u32
    }

    /// Bytes from index `from` up to index `to`.
    fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from {
            to - from
        } else {
            self.size - from + to
        }
    }

    /// Where `length` bytes at `index` are cut by the end of the data area.
    fn until_wrap(&self, index: u32, length: usize) -> usize {
        length.min((self.size - index) as usize)
    }

    fn read(&self, memory: &GuestMemory, index: u32, bytes: &mut [u8]) -> Result<(), RingError> {
        let data = self.start + PAGE_BYTES;
        let (first, wrapped) = bytes.split_at_mut(self.until_wrap(index, bytes.len()));
        self.range.read(memory, data + index, first)?;
        Ok(self.range.read(memory, data, wrapped)?)
    }

    fn write(&self, memory: &GuestMemory, index: u32, bytes: &[u8]) -> Result<(), RingError> {
        let data = self.start + PAGE_BYTES;
        let (first, wrapped) = bytes.split_at(self.until_wrap(index, bytes.len()));
        self.range.write(memory, data + index, first)?;
        Ok(self.range.write(memory, data, wrapped)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_need_whole_pages_and_room() {
        let range = |offset, length| {
            let pages = (0..40).collect();
            Arc::new(PagedRange::new(offset, length, pages).unwrap())
        };
        let [up, down] = RingMemory::pair(&range(0, 10 * 4096), 4).unwrap();
        assert_eq!((up.size(), down.size()), (3 * 4096, 5 * 4096));
        assert_eq!(down.header_gpa(8).unwrap(), 4 * 4096 + 8);
        for page in [0, 1, 9, 10, u32::MAX] {
            assert!(RingMemory::pair(&range(0, 10 * 4096), page).is_err());
        }
        assert!(RingMemory::pair(&range(0, 4096), 0).is_err());
        assert!(RingMemory::pair(&range(8, 10 * 4096), 4).is_err());
        assert!(RingMemory::pair(&range(0, 10 * 4096 - 8), 4).is_err());
    }
}
