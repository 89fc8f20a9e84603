//! Compacting: blocks of zeros leave the table, the last blocks move into the holes, the file is cut.
//!
//! A power cut leaves the disk as it was, with more or less of the work done: a block is copied into a
//! hole and flushed before the table points there, and a hole is one only when the table in the file
//! says so.

use super::{Sparse, reserved};
use crate::footer::FOOTER_SIZE;
use crate::header::Header;
use disk::{Disk, DiskError, Storage};
use zerocopy::IntoBytes;

/// How many blocks move between two flushes.
const BATCH: usize = 16;
/// How much is read at once.
const CHUNK_BYTES: u64 = 1 << 20;

impl<S: Storage> Sparse<S> {
    /// Gives back the room of blocks that hold only zeros over nothing but zeros, and of holes in the
    /// file. `progress` is told blocks that were looked at or moved, and their number.
    ///
    /// # Errors
    /// If the file can't be read or written; the disk holds what it held, and the call can be repeated.
    pub fn compact(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), DiskError> {
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        self.flush()?;
        let places = self.bat.places();
        let first = places.first().map_or(self.next_block, |place| place.0);
        let total = places.len() as u64 * 2;
        for (done, (place, block)) in places.iter().enumerate() {
            if self.is_block_zero(*block, *place)? {
                self.discard_block(*block, *place)?;
            }
            progress(done as u64, total);
        }
        self.flush()?;
        let header = Header::read(&mut self.storage, &self.footer)?;
        let reserved = reserved(&self.footer, &header);
        loop {
            let moves = self.bat.moves(first, self.block_bytes(), &reserved, BATCH);
            if moves.is_empty() {
                break;
            }
            for (_, from, to) in &moves {
                self.copy_in_file(*from, *to)?;
            }
            self.storage.flush()?;
            for (block, _, to) in &moves {
                self.bat.enter(*block, *to)?;
            }
            self.write_metadata()?;
        }
        let fixed_end = reserved.iter().map(|range| range.end).max().unwrap_or(0);
        self.next_block = self.bat.blocks_end(self.block_bytes()).max(fixed_end);
        self.free = self.bat.holes(self.block_bytes(), &reserved);
        self.cut_behind_blocks()?;
        progress(total, total);
        Ok(())
    }

    /// Moves the footer right behind the last block and cuts the file there.
    pub(super) fn cut_behind_blocks(&mut self) -> Result<(), DiskError> {
        if self.footer_offset != self.next_block {
            self.storage
                .write(self.next_block, self.footer.as_bytes())?;
            self.storage.flush()?;
            self.footer_offset = self.next_block;
        }
        self.stale_end = self.next_block + FOOTER_SIZE;
        self.storage.set_length(self.stale_end)?;
        self.storage.flush()
    }

    fn is_block_zero(&mut self, block: usize, place: u64) -> Result<bool, DiskError> {
        let start = block as u64 * self.block_size;
        let length = self.block_size.min(self.size.saturating_sub(start));
        let runs = self
            .bitmap(block, place)?
            .runs(0..length.div_ceil(disk::SECTOR_SIZE));
        let mut data = vec![0; CHUNK_BYTES.min(self.block_size) as usize];
        for (_, first, last) in runs.into_iter().filter(|run| run.0) {
            let (mut at, end) = (first * disk::SECTOR_SIZE, last * disk::SECTOR_SIZE);
            while at < end {
                let part = (end - at).min(data.len() as u64) as usize;
                self.storage
                    .read(place + self.bitmap_size + at, &mut data[..part])?;
                if data[..part].iter().any(|byte| *byte != 0) {
                    return Ok(false);
                }
                at += part as u64;
            }
        }
        Ok(true)
    }

    /// Copies a whole block, bitmap and all.
    fn copy_in_file(&mut self, from: u64, to: u64) -> Result<(), DiskError> {
        let mut data = vec![0; CHUNK_BYTES.min(self.block_bytes()) as usize];
        let mut at = 0;
        while at < self.block_bytes() {
            let part = (self.block_bytes() - at).min(data.len() as u64) as usize;
            self.storage.read(from + at, &mut data[..part])?;
            self.storage.write(to + at, &data[..part])?;
            at += part as u64;
        }
        Ok(())
    }
}
