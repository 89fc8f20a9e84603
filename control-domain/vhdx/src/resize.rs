//! Changes the size of a disk.

use crate::bat::{BITMAP_SIZE, State};
use crate::image::write_zeros;
use crate::metadata::Metadata;
use crate::{MIB, Vhdx};
use disk::{Checked, Disk, DiskError, Place, Storage};
use std::ops::Range;

impl<S: Storage> Vhdx<S> {
    /// Makes the disk larger, or smaller where what is cut off is zero. A cut on the way leaves the old
    /// size or the new one. Shrinking does not shorten the file: [`Vhdx::compact`] does.
    ///
    /// # Errors
    /// If the size is none that the format has, data would be cut off, there is no room, or the file
    /// can't be written; the disk then has its old size.
    pub fn resize(&mut self, size: u64) -> Result<(), DiskError> {
        let wanted = Metadata {
            size,
            ..self.image.metadata.clone()
        };
        wanted.check(self.image.regions.metadata.start)?;
        let old = self.image.geometry.size;
        if size == old {
            return Ok(());
        }
        self.mark(true)?;
        if size > old {
            self.prepare_growth(size)?;
            self.set_size(size)
        } else {
            self.require_zeros(size, old)?;
            let last = self.image.geometry.blocks();
            self.set_size(size)?;
            self.free_behind_end(last)
        }
    }

    /// Logs the new size, together with all that was prepared for it.
    fn set_size(&mut self, size: u64) -> Result<(), DiskError> {
        let at = self.image.metadata.size_offset;
        let old = self.image.geometry.size;
        self.make_room(2)?;
        let image = &mut self.image;
        image
            .pages
            .set_bytes(&mut image.file, at, &size.to_le_bytes())?;
        if let Err(error) = self.commit() {
            // The pages are written again with the next commit, then with the old size.
            let image = &mut self.image;
            image
                .pages
                .set_bytes(&mut image.file, at, &old.to_le_bytes())?;
            return Err(error);
        }
        self.image.metadata.size = size;
        self.image.geometry.size = size;
        Ok(())
    }

    fn prepare_growth(&mut self, size: u64) -> Result<(), DiskError> {
        let geometry = self.image.geometry;
        if let Some(parent) = &self.parent
            && parent.size() > geometry.size
        {
            let reason = "the parent is larger than this disk, and what lies there would show; merge them first";
            return Err(DiskError::Unsupported {
                reason: reason.into(),
            });
        }
        let entries = geometry.entries(size);
        let bat = &self.image.regions.bat;
        if entries * 8 > bat.end - bat.start {
            self.move_table(entries)?;
        }
        self.clear_behind_end()?;
        let (first, end) = (geometry.blocks(), size.div_ceil(geometry.block_size));
        let fixed = self.image.metadata.leave_allocated && end > first;
        let mut offset = if fixed {
            self.allocate((end - first) * geometry.block_size, true)?
                .offset
        } else {
            0
        };
        for block in first..end {
            self.make_room(2)?;
            self.clear_entry(geometry.index(block))?;
            if block.is_multiple_of(geometry.chunk_ratio) {
                self.clear_entry(geometry.bitmap_index(block))?;
            }
            if fixed {
                self.image
                    .set_entry(geometry.index(block), State::FullyPresent, offset)?;
                offset += geometry.block_size;
            }
        }
        Ok(())
    }

    /// Makes an entry that nothing was said of until now say that its block is not present.
    fn clear_entry(&mut self, index: u64) -> Result<(), DiskError> {
        let image = &mut self.image;
        let at = image.geometry.entry_offset(index);
        // In a disk without parent the last bitmap's entry may be behind the table's end.
        if at + 8 <= image.regions.bat.end && image.pages.word(&mut image.file, at)? != 0 {
            image.set_entry(index, State::NotPresent, 0)?;
        }
        Ok(())
    }

    /// What the last block holds behind the disk's end will be seen: zeros, or nothing.
    fn clear_behind_end(&mut self) -> Result<(), DiskError> {
        let geometry = self.image.geometry;
        let block = geometry.blocks() - 1;
        let used = geometry.block_length(block);
        if used == geometry.block_size {
            return Ok(());
        }
        let entry = self.image.payload(block)?;
        match entry.state {
            State::FullyPresent => {
                let range = entry.offset + used..entry.offset + geometry.block_size;
                zero_what_is_not(&mut self.image.file, range)
            }
            State::PartiallyPresent => {
                let base = self.bitmap_of(block)?;
                let first = geometry.bit(block * geometry.block_size);
                let (bits, sector) = (
                    geometry.block_size / geometry.sector_size,
                    geometry.sector_size,
                );
                self.make_room(16)?;
                let image = &mut self.image;
                let behind = first + used / sector..first + bits;
                image.pages.set_bits(&mut image.file, base, behind, false)
            }
            _ => Ok(()),
        }
    }

    fn require_zeros(&mut self, start: u64, end: u64) -> Result<(), DiskError> {
        let mut data = vec![0; MIB as usize];
        let mut at = start;
        while at < end {
            let extent = self.extent(at)?;
            let length = extent.length.min(MIB).min(end - at);
            if extent.place != Place::Zero {
                let part = &mut data[..length as usize];
                self.read(at, part)?;
                if let Some(byte) = part.iter().position(|byte| *byte != 0) {
                    let reason = format!(
                        "the disk holds data at {:#x}; shrink what is on it first",
                        at + byte as u64
                    );
                    return Err(DiskError::Unsupported { reason });
                }
                at += length;
            } else {
                at += extent.length;
            }
        }
        Ok(())
    }

    /// Frees the blocks from the disk's end to block `end`.
    fn free_behind_end(&mut self, end: u64) -> Result<(), DiskError> {
        let geometry = self.image.geometry;
        for block in geometry.blocks()..end {
            self.make_room(2)?;
            let entry = self.image.payload(block)?;
            if entry.is_present() {
                self.free(entry.offset, geometry.block_size);
            }
            self.clear_entry(geometry.index(block))?;
            if geometry.differencing
                && block.is_multiple_of(geometry.chunk_ratio)
                && let Some(offset) = self.image.bitmap(block)?
            {
                self.free(offset, BITMAP_SIZE);
                self.clear_entry(geometry.bitmap_index(block))?;
            }
        }
        self.unflushed = true;
        self.flush()
    }

    /// Copies the table to where it has room for so many entries. Until the region table points to the
    /// copy, the old one counts.
    fn move_table(&mut self, entries: u64) -> Result<(), DiskError> {
        self.commit()?;
        self.end_log()?;
        let old = self.image.regions.bat.clone();
        let length = (entries * 8).next_multiple_of(MIB);
        let room = self.allocate(length, true)?;
        let new = room.offset..room.offset + length;
        let mut data = vec![0; MIB as usize];
        for at in (0..old.end - old.start).step_by(MIB as usize) {
            self.image.file.read(old.start + at, &mut data)?;
            self.image.file.write(new.start + at, &data)?;
        }
        self.image.file.flush()?;
        let regions = self.image.regions.with_bat(new.clone());
        regions.write(&mut self.image.file)?;
        self.image.regions = regions;
        self.image.geometry.bat_offset = new.start;
        Ok(())
    }
}

/// Zeros a range of a file, but leaves alone what is zero already: a hole takes no room.
fn zero_what_is_not<S: Storage>(file: &mut Checked<S>, range: Range<u64>) -> Result<(), DiskError> {
    let there = file.length()?;
    let mut data = vec![0; MIB as usize];
    for at in range.clone().step_by(MIB as usize) {
        let end = range.end.min(at + MIB);
        let part = &mut data[..(end - at) as usize];
        if end <= there {
            file.read(at, part)?;
        }
        if end > there || part.iter().any(|byte| *byte != 0) {
            write_zeros(file, at..end)?;
        }
    }
    Ok(())
}
