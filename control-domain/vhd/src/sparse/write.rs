//! Writing: new blocks, bits, the table, and blocks that are given back. The order is in the parent module.

use super::{Sparse, touched};
use crate::bitmaps::Bitmap;
use crate::footer::FOOTER_SIZE;
use disk::{Disk, DiskError, Place, SECTOR_SIZE, Storage};
use zerocopy::IntoBytes;

/// For how many blocks room is made at once.
const ROOM_BLOCKS: u64 = 8;
/// How much is zeroed at once.
const ZERO_BYTES: u64 = 1 << 20;

impl<S: Storage> Sparse<S> {
    pub(super) fn write_piece(
        &mut self,
        block: usize,
        inside: u64,
        data: &[u8],
    ) -> Result<(), DiskError> {
        if self.bitmaps.is_full() {
            self.flush()?;
        }
        let place = match self.bat.find(block) {
            Some(place) => place,
            // What is zero already need not be written.
            None if self.is_zero_below(block, inside, data)? => return Ok(()),
            None => self.allocate(block)?,
        };
        self.fill_partial_sectors(block, place, inside, data.len())?;
        self.storage
            .write(place + self.bitmap_size + inside, data)?;
        let sectors = touched(inside, data.len());
        let bitmap = self.bitmap(block, place)?;
        if sectors.clone().all(|sector| bitmap.is_set(sector)) {
            return Ok(());
        }
        let mut bitmap = bitmap.clone();
        for sector in sectors {
            bitmap.set(sector);
        }
        self.bitmaps.change(block, bitmap);
        Ok(())
    }

    /// Whether these bytes are zeros and lie over nothing but zeros.
    fn is_zero_below(&mut self, block: usize, inside: u64, data: &[u8]) -> Result<bool, DiskError> {
        if data.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let start = block as u64 * self.block_size + inside;
        self.is_nothing_below(start, start + data.len() as u64)
    }

    /// Whether neither the parent nor anything below it holds any of a range.
    pub(super) fn is_nothing_below(&mut self, start: u64, end: u64) -> Result<bool, DiskError> {
        let mut at = start;
        while at < end {
            let below = self.extent_below(at, end - at)?;
            if below.place != Place::Zero {
                return Ok(false);
            }
            at += below.length.max(1);
        }
        Ok(true)
    }

    /// A sector that this file does not hold and that is now written in part: the rest of it must
    /// be what lies below.
    fn fill_partial_sectors(
        &mut self,
        block: usize,
        place: u64,
        inside: u64,
        length: usize,
    ) -> Result<(), DiskError> {
        let end = inside + length as u64;
        for sector in [inside / SECTOR_SIZE, (end - 1) / SECTOR_SIZE] {
            let start = sector * SECTOR_SIZE;
            let partial = start < inside || start + SECTOR_SIZE > end;
            if partial && !self.bitmap(block, place)?.is_set(sector) {
                let mut below = [0; SECTOR_SIZE as usize];
                self.read_below(block as u64 * self.block_size + start, &mut below)?;
                self.storage
                    .write(place + self.bitmap_size + start, &below)?;
            }
        }
        Ok(())
    }

    /// Gives a block its place: steps 1 and 2 of the order of writes, without the data.
    fn allocate(&mut self, block: usize) -> Result<u64, DiskError> {
        let place = match self.free.last().copied() {
            Some(place) => {
                let length = self.block_bytes();
                if !self.storage.punch(place, length) {
                    self.zero(place, place + length)?;
                }
                place
            }
            None => self.place_at_end()?,
        };
        self.bat.enter(block, place)?;
        if self.free.last() == Some(&place) {
            self.free.pop();
        } else {
            self.next_block = place + self.block_bytes();
        }
        let empty = Bitmap::new(vec![0; self.bitmap_size as usize]);
        self.bitmaps.change(block, empty);
        Ok(place)
    }

    fn place_at_end(&mut self) -> Result<u64, DiskError> {
        let place = self.next_block;
        let end = place + self.block_bytes();
        if end > self.footer_offset {
            let blocks = self.size.div_ceil(self.block_size);
            let left = blocks
                .saturating_sub(self.bat.used() as u64)
                .clamp(1, ROOM_BLOCKS);
            self.make_room(place + left * self.block_bytes())?;
        }
        self.zero(place, self.stale_end.min(end))?;
        Ok(place)
    }

    /// Moves the footer behind `room_end`: step 1 of the order of writes.
    pub(super) fn make_room(&mut self, room_end: u64) -> Result<(), DiskError> {
        let footer_offset = room_end.max(self.stale_end.next_multiple_of(SECTOR_SIZE));
        self.storage.write(footer_offset, self.footer.as_bytes())?;
        self.storage.flush()?;
        // The old footer is waste from now on.
        if self.footer_offset > 0 {
            self.stale_end = self.stale_end.max(self.footer_offset + FOOTER_SIZE);
        }
        self.footer_offset = footer_offset;
        Ok(())
    }

    /// Zeroes a range of the file.
    fn zero(&mut self, start: u64, end: u64) -> Result<(), DiskError> {
        let zeros = vec![0; end.saturating_sub(start).min(ZERO_BYTES) as usize];
        let mut at = start;
        while at < end {
            let part = (end - at).min(ZERO_BYTES);
            self.storage.write(at, &zeros[..part as usize])?;
            at += part;
        }
        Ok(())
    }

    /// Takes a block out of the table, if that leaves zeros. Answers whether it did.
    pub(super) fn discard_block(&mut self, block: usize, place: u64) -> Result<bool, DiskError> {
        let start = block as u64 * self.block_size;
        let end = (start + self.block_size).min(self.size);
        let leaves_zeros = self.is_nothing_below(start, end)?;
        if leaves_zeros {
            self.bat.leave(block);
            self.bitmaps.forget(block);
            self.freed.push(place);
        }
        Ok(leaves_zeros)
    }

    /// Gives a block up, if it is meant as a whole and that leaves zeros; else makes a hole of what the file
    /// holds: the sectors whose bits are set read as zeros then, the others as before.
    pub(super) fn discard_piece(
        &mut self,
        block: usize,
        inside: u64,
        length: u64,
    ) -> Result<(), DiskError> {
        let Some(place) = self.bat.find(block) else {
            return Ok(());
        };
        // The last block may be shorter than the others.
        let left = self.size - block as u64 * self.block_size;
        let is_whole = length == left.min(self.block_size);
        if !is_whole || !self.discard_block(block, place)? {
            self.storage
                .punch_pages(place + self.bitmap_size + inside, length);
        }
        Ok(())
    }

    /// Step 3 of the order of writes; the data is on the disk.
    pub(super) fn write_metadata(&mut self) -> Result<(), DiskError> {
        for (block, bitmap) in self.bitmaps.changed() {
            if let Some(place) = self.bat.find(block) {
                self.storage.write(place, bitmap.bytes())?;
            }
        }
        self.bat.write_pending(&mut self.storage)?;
        self.storage.flush()?;
        self.bitmaps.written();
        self.bat.written();
        for place in &self.freed {
            // The table in the file does not point there any more.
            self.storage
                .punch(*place, self.bitmap_size + self.block_size);
        }
        self.free.append(&mut self.freed);
        Ok(())
    }
}
