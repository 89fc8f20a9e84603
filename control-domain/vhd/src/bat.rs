//! The block allocation table: for each block the sector at which its bitmap begins.

use crate::footer::FOOTER_SIZE;
use crate::header::HEADER_SIZE;
use disk::{Checked, DiskError, SECTOR_SIZE, Storage, invalid};

/// Entry of a block that was never written.
pub const UNUSED: u32 = u32::MAX;

/// The table of an open disk, and which entries the file does not have yet.
#[derive(Debug)]
pub struct Bat {
    offset: u64,
    entries: Vec<u32>,
    pending: Vec<u32>,
}

impl Bat {
    /// Reads and checks the table. `block_bytes` is bitmap and data of a block; blocks must lie apart
    /// from each other, the footer's copy, the header at `header_offset` and the table, and before `end`.
    ///
    /// # Errors
    /// If the table or a block is not within the file, or two blocks overlap.
    pub fn read<S: Storage>(
        storage: &mut Checked<S>,
        offset: u64,
        count: u32,
        block_bytes: u64,
        header_offset: u64,
        end: u64,
    ) -> Result<Self, DiskError> {
        let length = u64::from(count) * 4;
        let table_end = offset
            .checked_add(length)
            .filter(|table_end| *table_end <= end);
        let Some(table_end) = table_end else {
            return Err(invalid(
                offset,
                format!("the block table of {count} entries is not within the file"),
            ));
        };
        let mut bytes = vec![0; length as usize];
        storage.read(offset, &mut bytes)?;
        let entries: Vec<u32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|entry| u32::from_be_bytes(*entry))
            .collect();
        let mut used: Vec<(u64, usize)> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| **entry != UNUSED)
            .map(|(block, entry)| (u64::from(*entry) * SECTOR_SIZE, block))
            .collect();
        used.sort_unstable();
        let reserved = [
            (offset, table_end),
            (header_offset, header_offset + HEADER_SIZE),
        ];
        let mut free = FOOTER_SIZE;
        for (start, block) in used {
            let at = offset + block as u64 * 4;
            let over = |range: &(u64, u64)| start < range.1 && start + block_bytes > range.0;
            if start < free || reserved.iter().any(over) {
                return Err(invalid(
                    at,
                    format!("block {block} at {start:#x} overlaps what lies before it"),
                ));
            }
            free = start + block_bytes;
            if free > end {
                return Err(invalid(
                    at,
                    format!("block {block} at {start:#x} ends behind the file; it was cut short"),
                ));
            }
        }
        Ok(Self {
            offset,
            entries,
            pending: Vec::new(),
        })
    }

    /// Offset of a block's bitmap in the file.
    pub fn find(&self, block: usize) -> Option<u64> {
        let entry = *self.entries.get(block)?;
        (entry != UNUSED).then(|| u64::from(entry) * SECTOR_SIZE)
    }

    /// Enters a block, in memory for now: [`Bat::write_pending`] is to follow a flush.
    ///
    /// # Errors
    /// If the offset can't be expressed in the table.
    pub fn enter(&mut self, block: usize, offset: u64) -> Result<(), DiskError> {
        let sector = u32::try_from(offset / SECTOR_SIZE)
            .ok()
            .filter(|sector| *sector != UNUSED);
        let (Some(sector), Some(entry)) = (sector, self.entries.get_mut(block)) else {
            return Err(invalid(
                self.offset,
                "the file has grown beyond what a VHD can address (2 TiB)",
            ));
        };
        *entry = sector;
        self.pending.push(block as u32);
        Ok(())
    }

    /// Whether entries wait for [`Bat::write_pending`].
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes the entries that the file does not have yet. The blocks must be safe on the disk.
    ///
    /// # Errors
    /// If the file can't be written; the entries stay pending.
    pub fn write_pending<S: Storage>(&mut self, storage: &mut Checked<S>) -> Result<(), DiskError> {
        for &block in &self.pending {
            let bytes = self.entries[block as usize].to_be_bytes();
            storage.write(self.offset + u64::from(block) * 4, &bytes)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// The first offset behind all blocks.
    pub fn blocks_end(&self, block_bytes: u64) -> Option<u64> {
        let last = self
            .entries
            .iter()
            .filter(|entry| **entry != UNUSED)
            .max()?;
        Some(u64::from(*last) * SECTOR_SIZE + block_bytes)
    }

    /// Number of blocks that are allocated.
    pub fn used(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| **entry != UNUSED)
            .count()
    }
}
