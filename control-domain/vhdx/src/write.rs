//! The guest's writes and discards, block by block.

use crate::bat::{BITMAP_SIZE, Entry, State};
use crate::{PAGE_LIMIT, Vhdx};
use disk::{Disk, DiskError, Storage};
use std::ops::Range;

/// Pages that a write within one block may change: entries of block and sector bitmap, and the bits of
/// 256 MiB in sectors of 512 bytes.
const PAGES_PER_PIECE: usize = 2 + 16;
const _: () = assert!(
    PAGES_PER_PIECE < crate::log_entry::MOST_PAGES && crate::log_entry::MOST_PAGES < PAGE_LIMIT
);

impl<S: Storage> Vhdx<S> {
    pub(crate) fn write_range(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.mark(true)?;
        let block_size = self.image.geometry.block_size;
        let mut at = 0;
        while at < data.len() {
            let position = offset + at as u64;
            let inside = position % block_size;
            let length = (block_size - inside).min((data.len() - at) as u64) as usize;
            self.make_room(PAGES_PER_PIECE)?;
            self.write_piece(position, &data[at..at + length])?;
            at += length;
        }
        Ok(())
    }

    /// Writes within one block.
    fn write_piece(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let geometry = self.image.geometry;
        let (block, inside) = (offset / geometry.block_size, offset % geometry.block_size);
        let entry = self.image.payload(block)?;
        let whole = data.len() as u64 == geometry.block_length(block);
        let of_parent = geometry.differencing && entry.state == State::NotPresent;
        match entry.state {
            State::FullyPresent => self.image.file.write(entry.offset + inside, data),
            State::PartiallyPresent if whole => {
                self.image.file.write(entry.offset, data)?;
                let index = geometry.index(block);
                self.image
                    .set_entry(index, State::FullyPresent, entry.offset)
            }
            State::PartiallyPresent => {
                let base = self.bitmap_of(block)?;
                self.write_sectors(entry.offset, base, offset, data)
            }
            _ if of_parent && !whole => self.write_first_sectors(block, offset, data),
            _ if data.iter().all(|byte| *byte == 0) => self.write_zero(block, entry),
            _ => {
                let room = self.allocate(geometry.block_size, !whole)?;
                if let Err(error) = self.image.file.write(room.offset + inside, data) {
                    self.give_back(&room);
                    return Err(error);
                }
                self.image
                    .set_entry(geometry.index(block), State::FullyPresent, room.offset)
            }
        }
    }

    /// Zeros for a block that is not in the file, and need not be.
    fn write_zero(&mut self, block: u64, entry: Entry) -> Result<(), DiskError> {
        let geometry = &self.image.geometry;
        // Unmapped and undefined blocks are zero here, but others may read them as they like.
        let is_zero = match entry.state {
            State::NotPresent => !geometry.differencing,
            state => state == State::Zero,
        };
        if is_zero {
            return Ok(());
        }
        self.image.set_entry(geometry.index(block), State::Zero, 0)
    }

    /// The first write into a block that is the parent's so far.
    fn write_first_sectors(
        &mut self,
        block: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<(), DiskError> {
        let geometry = self.image.geometry;
        let base = match self.image.bitmap(block)? {
            Some(base) => base,
            None => {
                let base = self.allocate(BITMAP_SIZE, true)?.offset;
                let index = geometry.bitmap_index(block);
                self.image.set_entry(index, State::FullyPresent, base)?;
                base
            }
        };
        // Bits of a block that is not present mean nothing, so they may be set.
        let first = geometry.bit(block * geometry.block_size);
        let bits = first..first + geometry.block_size / geometry.sector_size;
        self.image
            .pages
            .set_bits(&mut self.image.file, base, bits, false)?;
        let room = self.allocate(geometry.block_size, true)?;
        if let Err(error) = self.write_sectors(room.offset, base, offset, data) {
            self.give_back(&room);
            return Err(error);
        }
        self.image
            .set_entry(geometry.index(block), State::PartiallyPresent, room.offset)
    }

    /// Writes whole sectors into a block that is partly the parent's, and sets their bits. What of the
    /// first and last sector is not written stays as it is.
    fn write_sectors(
        &mut self,
        place: u64,
        bitmap: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<(), DiskError> {
        let geometry = self.image.geometry;
        let end = offset + data.len() as u64;
        let start = offset / geometry.sector_size * geometry.sector_size;
        let sectors_end = end.next_multiple_of(geometry.sector_size);
        let inside = start % geometry.block_size;
        if (start, sectors_end) == (offset, end) {
            self.image.file.write(place + inside, data)?;
        } else {
            let mut sectors = vec![0; (sectors_end - start) as usize];
            let last = sectors.len() - geometry.sector_size as usize;
            let (head, tail) =
                sectors.split_at_mut(geometry.sector_size.min(sectors_end - start) as usize);
            self.read(start, head)?;
            if !tail.is_empty() {
                let tail_start = last - head.len();
                self.read(start + last as u64, &mut tail[tail_start..])?;
            }
            let skipped = (offset - start) as usize;
            sectors[skipped..skipped + data.len()].copy_from_slice(data);
            self.image.file.write(place + inside, &sectors)?;
        }
        let first = geometry.bit(start);
        let bits = first..first + (sectors_end - start) / geometry.sector_size;
        self.image
            .pages
            .set_bits(&mut self.image.file, bitmap, bits, true)
    }

    /// Gives up whole blocks, and makes holes in others; a fixed disk keeps all its room.
    pub(crate) fn discard_range(&mut self, range: Range<u64>) -> Result<(), DiskError> {
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        if self.image.metadata.leave_allocated {
            return Ok(());
        }
        self.mark(true)?;
        let geometry = self.image.geometry;
        let mut at = range.start;
        while at < range.end {
            let (block, inside) = (at / geometry.block_size, at % geometry.block_size);
            let length = (geometry.block_length(block) - inside).min(range.end - at);
            let entry = self.image.payload(block)?;
            if entry.is_present() && length == geometry.block_length(block) {
                self.make_room(PAGES_PER_PIECE)?;
                self.image
                    .set_entry(geometry.index(block), State::Unmapped, 0)?;
                self.free(entry.offset, geometry.block_size);
            } else if entry.is_present() {
                self.image.file.punch_pages(entry.offset + inside, length);
            }
            at += length;
        }
        Ok(())
    }
}
