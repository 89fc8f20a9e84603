//! Resizing a dynamic disk.
//!
//! Growing: a longer table is written behind the last block and flushed; the header's first sector
//! then names it; the footers name the new size last. Shrinking: what lies behind the new end in its
//! block is zeroed, the footers name the new size, and then the blocks behind it leave the table. A
//! power cut in between leaves the old size or the new one.

use super::Sparse;
use crate::bat::UNUSED;
use crate::create::check_size;
use crate::footer::Geometry;
use crate::header::Header;
use disk::{Disk, DiskError, SECTOR_SIZE, Storage, invalid};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U32, U64};

impl<S: Storage> Sparse<S> {
    /// Gives the disk a new size in bytes. What lies behind it is lost.
    ///
    /// # Errors
    /// If the disk has a parent (it then has the parent's size), the format can't hold the size, or
    /// the file can't be written.
    pub fn resize(&mut self, size: u64) -> Result<(), DiskError> {
        check_size(size)?;
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        if self.parent.is_some() {
            return Err(DiskError::Unsupported {
                reason: "a differencing VHD has the size of its parent; merge it first".into(),
            });
        }
        // Behind either end nothing may be left that a later growth would show.
        let old_size = self.size;
        self.leave_blocks_behind(old_size);
        self.size = old_size.max(size);
        self.zero_rest_of_block(old_size.min(size))?;
        self.flush()?;
        let blocks = size.div_ceil(self.block_size);
        if blocks > self.bat.entries() as u64 {
            self.lengthen_table(blocks)?;
        }
        self.footer.current_size = U64::new(size);
        self.footer.geometry = Geometry::of_size(size);
        self.footer.seal();
        if self.footer_offset == 0 {
            self.make_room(self.next_block)?;
        }
        self.storage
            .write(self.footer_offset, self.footer.as_bytes())?;
        self.storage.flush()?;
        self.storage.write(0, self.footer.as_bytes())?;
        self.storage.flush()?;
        self.size = size;
        self.leave_blocks_behind(size);
        self.flush()
    }

    fn leave_blocks_behind(&mut self, size: u64) {
        for (place, block) in self.bat.places() {
            if block as u64 >= size.div_ceil(self.block_size) {
                self.bat.leave(block);
                self.bitmaps.forget(block);
                self.freed.push(place);
            }
        }
    }

    /// Zeroes what lies behind an end in its block.
    fn zero_rest_of_block(&mut self, size: u64) -> Result<(), DiskError> {
        let end = size.next_multiple_of(self.block_size).min(self.size);
        if end == size {
            return Ok(());
        }
        self.write(size, &vec![0; (end - size) as usize])
    }

    fn lengthen_table(&mut self, blocks: u64) -> Result<(), DiskError> {
        let mut header = Header::read(&mut self.storage, &self.footer)?;
        let entries = u32::try_from(blocks).map_err(|_| invalid(0, "too many blocks"))?;
        let offset = self.next_block;
        let length = (blocks * 4).next_multiple_of(SECTOR_SIZE);
        if offset + length > self.footer_offset {
            self.make_room(offset + length)?;
        }
        let mut table = self.bat.bytes();
        table.resize(length as usize, UNUSED.to_be_bytes()[0]);
        self.storage.write(offset, &table)?;
        self.storage.flush()?;
        header.table_offset = U64::new(offset);
        header.max_table_entries = U32::new(entries);
        header.seal();
        // All that changed lies in one sector.
        self.storage.write(
            self.footer.data_offset.get(),
            &header.as_bytes()[..SECTOR_SIZE as usize],
        )?;
        self.storage.flush()?;
        self.bat.moved(offset, entries);
        self.next_block = offset + length;
        Ok(())
    }
}
