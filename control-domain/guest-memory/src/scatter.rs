//! Scatter-gather lists: where in guest memory a transfer's bytes lie.

use crate::{GuestMemory, NotMemory};
use std::sync::Arc;

/// Pieces of guest memory in the order of a transfer. It keeps the memory mapped, so that addresses of
/// it may be given to the kernel for as long as the list lives; the kernel's writes are like another
/// processor's.
#[derive(Clone, Debug)]
pub struct ScatterList {
    memory: Arc<GuestMemory>,
    pieces: Vec<Piece>,
    length: u64,
}

/// Bytes that lie together in the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    offset: u64,
    length: u64,
}

impl ScatterList {
    /// Of ranges of guest-physical memory: address of the first byte, and length in bytes.
    ///
    /// # Errors
    /// [`NotMemory`] with the first address that is none.
    pub fn new(
        memory: Arc<GuestMemory>,
        ranges: impl IntoIterator<Item = (u64, u64)>,
    ) -> Result<Self, NotMemory> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut total: u64 = 0;
        for (mut gpa, mut length) in ranges {
            total = total.checked_add(length).ok_or(NotMemory(gpa))?;
            while length > 0 {
                let (offset, contiguous) = memory.layout().find(gpa).ok_or(NotMemory(gpa))?;
                let here = contiguous.min(length);
                match pieces.last_mut() {
                    Some(last) if last.offset + last.length == offset => last.length += here,
                    _ => pieces.push(Piece {
                        offset,
                        length: here,
                    }),
                }
                length -= here;
                if length > 0 {
                    gpa = gpa.checked_add(here).ok_or(NotMemory(gpa))?;
                }
            }
        }
        Ok(Self {
            memory,
            pieces,
            length: total,
        })
    }

    /// Bytes of the transfer.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The pieces of a part of the transfer, cut to it: offset in the mapping, length.
    fn pieces(&self, at: u64, length: u64) -> impl Iterator<Item = (u64, u64)> {
        let end = at.saturating_add(length).min(self.length);
        let mut start = 0;
        self.pieces.iter().filter_map(move |piece| {
            let (from, to) = (start.max(at), (start + piece.length).min(end));
            let offset = piece.offset + from.saturating_sub(start);
            start += piece.length;
            (from < to).then(|| (offset, to - from))
        })
    }

    /// Where a part of the transfer lies in this process: addresses and lengths, within the mapping. What is
    /// behind the transfer's end is left out.
    pub fn addresses(&self, at: u64, length: u64) -> impl Iterator<Item = (u64, u64)> {
        let mapping = self.memory.mapping();
        self.pieces(at, length)
            .map(|(offset, length)| (mapping.user_address(offset), length))
    }

    /// Copies a part of the transfer out of guest memory. Bytes behind its end stay as they are.
    pub fn read(&self, at: u64, bytes: &mut [u8]) {
        let mut done = 0;
        for (offset, length) in self.pieces(at, bytes.len() as u64) {
            let end = done + length as usize;
            self.memory.mapping().read(offset, &mut bytes[done..end]);
            done = end;
        }
    }

    /// Copies a part of the transfer into guest memory. Bytes behind its end are left out.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        for (offset, length) in self.pieces(at, bytes.len() as u64) {
            let end = done + length as usize;
            self.memory.mapping().write(offset, &bytes[done..end]);
            done = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Mapping, Range};

    /// Two ranges that lie apart both in the guest and, the other way round, in the mapping.
    fn memory() -> Arc<GuestMemory> {
        let mut layout = Layout::default();
        let ranges = [(0, 0x20_0000), (0x1000, 0), (0x10_0000, 0x1000)];
        for (gpa, offset) in ranges {
            layout
                .add(Range {
                    gpa,
                    length: 0x1000,
                    offset,
                })
                .unwrap();
        }
        let mapping = Mapping::anonymous(4 << 20).unwrap();
        Arc::new(GuestMemory::new(mapping, layout).unwrap())
    }

    #[test]
    fn pieces_follow_the_list_and_join_where_they_touch() {
        let memory = memory();
        let ranges = [(0xff0, 0x20), (0x1010, 0xff0), (0x10_0000, 0x10), (0, 4)];
        let list = ScatterList::new(memory.clone(), ranges).unwrap();
        assert_eq!(list.length(), 0x1024);
        let expected = [
            Piece {
                offset: 0x20_0ff0,
                length: 0x10,
            },
            Piece {
                offset: 0,
                length: 0x1010,
            },
            Piece {
                offset: 0x20_0000,
                length: 4,
            },
        ];
        assert_eq!(list.pieces, expected);
        let bytes: Vec<u8> = (0..0x1024u32).map(|n| (n % 251) as u8).collect();
        list.write(0, &bytes);
        let mut back = vec![0; bytes.len()];
        list.read(0, &mut back);
        assert_eq!(back, bytes);
        let mut part = [0; 0x20];
        list.read(0x1010, &mut part);
        assert_eq!(part[..0x14], bytes[0x1010..]);
        assert_eq!(part[0x14..], [0; 0xc]);
        let mut guest = [0; 4];
        memory.read(0x1000, &mut guest).unwrap();
        assert_eq!(guest[..], bytes[0x10..0x14]);
    }

    #[test]
    fn addresses_are_of_the_part_that_was_asked_for() {
        let memory = memory();
        let base = memory.mapping().user_address(0);
        let list = ScatterList::new(memory, [(0xff0, 0x20)]).unwrap();
        let all: Vec<_> = list.addresses(0, 0x20).collect();
        assert_eq!(all, [(base + 0x20_0ff0, 0x10), (base, 0x10)]);
        let some: Vec<_> = list.addresses(0x8, 0x9).collect();
        assert_eq!(some, [(base + 0x20_0ff8, 8), (base, 1)]);
        assert_eq!(list.addresses(0x18, u64::MAX).count(), 1);
        assert_eq!(list.addresses(0x20, 1).count(), 0);
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        let memory = memory();
        for (range, address) in [
            ((0x2000, 1), 0x2000),
            ((0x1ff0, 0x20), 0x2000),
            ((u64::MAX, 2), u64::MAX),
        ] {
            let error = ScatterList::new(memory.clone(), [range]).unwrap_err();
            assert_eq!(error, NotMemory(address));
        }
    }
}
