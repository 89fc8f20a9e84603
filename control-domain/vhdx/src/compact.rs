//! Makes the file as short as its blocks allow.

use crate::bat::{BITMAP_SIZE, State};
use crate::log_entry::MOST_PAGES;
use crate::occupancy::Occupancy;
use crate::{MIB, Vhdx};
use disk::{Disk, DiskError, Storage};

/// Bytes that are moved before the table is written.
const BYTES_PER_COMMIT: u64 = 256 * MIB;

/// A block in the file.
#[derive(Clone, Copy)]
struct Placed {
    offset: u64,
    length: u64,
    /// Of its entry in the table.
    index: u64,
    state: State,
}

impl<S: Storage> Vhdx<S> {
    /// Gives up blocks that are all zero, moves those at the end of the file into holes, and cuts the file.
    /// The content stays the same; a cut on the way leaves a whole disk. `progress` is told how many
    /// of how many bytes of blocks were looked at. Answers by how many bytes the file is shorter.
    ///
    /// # Errors
    /// If the file can't be read or written, or the disk is read-only.
    pub fn compact(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, DiskError> {
        self.mark(false)?;
        self.flush()?;
        let before = self.image.length;
        let mut blocks = self.placed()?;
        self.flush()?;
        let total = blocks.iter().map(|block| block.length).sum();
        if !self.image.metadata.leave_allocated {
            blocks = self.give_up_zeros(blocks, progress, total)?;
        }
        // From here on the holes are found by looking, those of before may be cut off.
        self.forget_free();
        let mut occupancy = self.image.structures();
        for block in &blocks {
            occupancy.take(block.offset..block.offset + block.length);
        }
        let mut end = self
            .image
            .regions
            .all
            .iter()
            .map(|region| region.range.end)
            .max()
            .unwrap_or(0);
        end = end.max(self.image.log().end);
        for block in self.move_down(blocks, &mut occupancy)? {
            end = end.max(block.offset + block.length);
        }
        // The log remembers how long the file was.
        self.end_log()?;
        if end < self.image.length {
            self.image.file.set_length(end)?;
            self.image.length = end;
            self.image.file.flush()?;
        }
        progress(total, total);
        Ok(before - self.image.length)
    }

    /// All blocks in the file, payload and bitmaps.
    fn placed(&mut self) -> Result<Vec<Placed>, DiskError> {
        let geometry = self.image.geometry;
        let mut placed = Vec::new();
        for block in 0..geometry.blocks() {
            let entry = self.image.payload(block)?;
            if entry.is_present() {
                placed.push(Placed {
                    offset: entry.offset,
                    length: geometry.block_size,
                    index: geometry.index(block),
                    state: entry.state,
                });
            } else if entry.offset != 0 {
                // Room that was kept for a block that is not there; it will be someone else's.
                self.make_room(1)?;
                self.image
                    .set_entry(geometry.index(block), entry.state, 0)?;
                self.unflushed = true;
            }
            let last_of_chunk =
                (block + 1) % geometry.chunk_ratio == 0 || block + 1 == geometry.blocks();
            if geometry.differencing
                && last_of_chunk
                && let Some(offset) = self.image.bitmap(block)?
            {
                placed.push(Placed {
                    offset,
                    length: BITMAP_SIZE,
                    index: geometry.bitmap_index(block),
                    state: State::FullyPresent,
                });
            }
        }
        Ok(placed)
    }

    fn give_up_zeros(
        &mut self,
        blocks: Vec<Placed>,
        progress: &mut dyn FnMut(u64, u64),
        total: u64,
    ) -> Result<Vec<Placed>, DiskError> {
        let geometry = self.image.geometry;
        let empty = if geometry.differencing {
            State::Zero
        } else {
            State::NotPresent
        };
        let mut kept = Vec::new();
        let mut done = 0;
        for block in blocks {
            progress(done, total);
            done += block.length;
            let payload = !geometry.is_bitmap(block.index);
            if payload
                && block.state == State::FullyPresent
                && self.is_zero(block.offset, block.length)?
            {
                self.make_room(1)?;
                self.image.set_entry(block.index, empty, 0)?;
                self.unflushed = true;
            } else {
                kept.push(block);
            }
        }
        self.flush()?;
        Ok(kept)
    }

    /// Whether a stretch of the file is zero.
    pub(crate) fn is_zero(&mut self, offset: u64, length: u64) -> Result<bool, DiskError> {
        let mut data = vec![0; MIB.min(length) as usize];
        let mut at = 0;
        while at < length {
            let part = &mut data[..MIB.min(length - at) as usize];
            self.image.file.read(offset + at, part)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }

    /// Moves the last blocks into the first holes. A block's old place is free when the table is written.
    fn move_down(
        &mut self,
        mut blocks: Vec<Placed>,
        occupancy: &mut Occupancy,
    ) -> Result<Vec<Placed>, DiskError> {
        blocks.sort_unstable_by_key(|block| core::cmp::Reverse(block.offset));
        let mut left: Vec<std::ops::Range<u64>> = Vec::new();
        let mut moved = 0;
        let mut data = vec![0; MIB as usize];
        // Behind which offset to look for room for a payload block, and for a bitmap.
        let mut from = [0, 0];
        for block in &mut blocks {
            let from = &mut from[usize::from(self.image.geometry.is_bitmap(block.index))];
            let Some(place) = occupancy.find(*from, block.length, block.offset) else {
                continue;
            };
            *from = place + block.length;
            for at in (0..block.length).step_by(MIB as usize) {
                self.image.file.read(block.offset + at, &mut data)?;
                self.image.file.write(place + at, &data)?;
            }
            self.unflushed = true;
            occupancy.take(place..place + block.length);
            left.push(block.offset..block.offset + block.length);
            block.offset = place;
            self.image.set_entry(block.index, block.state, place)?;
            moved += block.length;
            if moved >= BYTES_PER_COMMIT || self.image.pages.changed() + 1 >= MOST_PAGES {
                self.commit()?;
                for range in left.drain(..) {
                    occupancy.give_back(range);
                }
                moved = 0;
            }
        }
        self.flush()?;
        Ok(blocks)
    }
}
