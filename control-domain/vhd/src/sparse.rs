//! A dynamic or differencing VHD: blocks that are allocated when they are first written. What a
//! dynamic disk does not hold is zero, what a differencing disk does not hold is its parent's.
//!
//! # Order of writes
//!
//! A block consists of a bitmap (a set bit: the sector was written) and its data. New blocks go
//! where the footer is, so the footer moves. At each point in between, a power cut leaves a file
//! with a whole footer at its end or its start, a table that points to whole blocks only, and all
//! data that was flushed:
//!
//! 1. the footer is written behind room for a few blocks, and flushed (the old one is now waste);
//! 2. data is written into the room; bitmaps and the table are changed in memory only;
//! 3. on a flush of the guest: flush, then write bitmaps and the table's entries, then flush again.
//!
//! So a bit is set, and a block is pointed to, only when its data is on the disk: no cut brings
//! back what a sector held before it was written. A block that the guest discards leaves the table
//! by step 3; only then is its place free for another one, zeroed before it is used. Where the file can have
//! holes, it becomes one until then.
//!
//! [`Disk::close`] moves the footer back behind the last block: footer, flush, cut. What a power
//! cut leaves between the last block and the footer is waste, zeroed before it is used again.
//!
//! Memory: the table (4 bytes a block) and the bounded cache of `bitmaps`.
//!
//! Which sectors a block holds is in its bitmap, wherever that lies. [`Disk::presumed`] has the host fetch one, and
//! presumes that a dynamic disk's block holds them all, as blocks in use nearly always do: so data and bitmap are
//! fetched at the same time, and the bitmap still decides what counts.

mod compact;
mod resize;
mod write;

use crate::bat::Bat;
use crate::bitmaps::{Bitmap, Bitmaps};
use crate::footer::{FOOTER_SIZE, Footer};
use crate::header::{HEADER_SIZE, Header};
use disk::{
    Access, Checked, Direct, Disk, DiskError, Extent, Place, SECTOR_SIZE, Storage, check_range,
    check_range_u64, invalid,
};
use std::ops::Range;

/// A dynamic VHD, or a differencing one with its parent.
pub struct Sparse<S: Storage> {
    storage: Checked<S>,
    footer: Footer,
    bat: Bat,
    bitmaps: Bitmaps,
    /// The block of which something was last presumed.
    last_presumed: Option<usize>,
    parent: Option<Box<dyn Disk>>,
    size: u64,
    block_size: u64,
    bitmap_size: u64,
    /// Where the next block goes.
    next_block: u64,
    /// Places of blocks that are no more, for new ones.
    free: Vec<u64>,
    /// The same, but the table in the file may still point there.
    freed: Vec<u64>,
    /// Up to where the file holds bytes that nobody vouches for. Behind it, it is zero.
    stale_end: u64,
    /// Where the footer is: the room ends here. 0 if the file has no whole footer at its end.
    footer_offset: u64,
    writable: bool,
}

impl<S: Storage> Sparse<S> {
    /// Opens a disk whose footer is known. `footer_offset` is where it lies at the end of the file,
    /// or nothing if only the copy at the start is whole. A differencing disk needs its `parent`,
    /// whose identity the caller has checked (see [`crate::ParentLink`]).
    ///
    /// # Errors
    /// What is wrong with the header or the table.
    pub fn open(
        storage: S,
        footer: Footer,
        footer_offset: Option<u64>,
        parent: Option<Box<dyn Disk>>,
        writable: bool,
    ) -> Result<Self, DiskError> {
        let mut storage = Checked(storage);
        let length = storage.length()?;
        let header = Header::read(&mut storage, &footer)?;
        let block_size = u64::from(header.block_size.get());
        let bitmap_size = bitmap_size(block_size);
        let reserved = reserved(&footer, &header);
        let end = footer_offset.unwrap_or(length);
        let past = |range: &&Range<u64>| range.end > end.next_multiple_of(SECTOR_SIZE);
        if writable && let Some(range) = reserved.iter().find(past) {
            return Err(invalid(
                range.start,
                format!(
                    "a parent locator says that it goes on to {:#x}, behind the file; it can be read, and written when it names its parent again: entente disk chain repair --parent",
                    range.end
                ),
            ));
        }
        let bat = Bat::read(
            &mut storage,
            &header,
            bitmap_size + block_size,
            &reserved,
            end,
        )?;
        let fixed = reserved.iter().filter(|range| !past(range));
        let fixed_end = fixed.map(|range| range.end).max().unwrap_or(0);
        let next_block = bat.blocks_end(bitmap_size + block_size).max(fixed_end);
        Ok(Self {
            storage,
            size: footer.current_size.get(),
            footer,
            last_presumed: None,
            free: bat.holes(bitmap_size + block_size, &reserved),
            bat,
            bitmaps: Bitmaps::new(bitmap_size),
            parent,
            block_size,
            bitmap_size,
            next_block: next_block.next_multiple_of(SECTOR_SIZE),
            freed: Vec::new(),
            stale_end: length,
            footer_offset: footer_offset.unwrap_or(0),
            writable,
        })
    }

    /// Number of blocks that the file holds.
    pub fn allocated_blocks(&self) -> usize {
        self.bat.used()
    }

    /// Bytes of data in a block.
    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    fn block_bytes(&self) -> u64 {
        self.bitmap_size + self.block_size
    }

    /// The pieces of a range, each within one block: block, offset in it, place in the range.
    fn pieces(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Iterator<Item = (usize, u64, Range<usize>)> + use<S> {
        let block_size = self.block_size;
        let mut at = 0;
        core::iter::from_fn(move || {
            let position = offset + at as u64;
            let inside = position % block_size;
            let start = at;
            at += (block_size - inside).min((length - at) as u64) as usize;
            (at > start).then(|| ((position / block_size) as usize, inside, start..at))
        })
    }

    fn bitmap(&mut self, block: usize, place: u64) -> Result<&Bitmap, DiskError> {
        if self.bitmaps.get(block).is_none() {
            let mut bytes = vec![0; self.bitmap_size as usize];
            self.storage.read(place, &mut bytes)?;
            self.bitmaps.remember(block, Bitmap::new(bytes));
        }
        self.bitmaps
            .get(block)
            .ok_or_else(|| disk::invalid(place, "the bitmap was not kept"))
    }

    /// Has the host fetch the bitmap of a block, once.
    fn announce_bitmap(&mut self, block: usize, place: u64) {
        let last = self.last_presumed.replace(block);
        // One block after the other: then they lie in the way of the host's own reading ahead, and pages of ours there
        // would only break that up.
        let in_turn = last.is_none_or(|last| block == last || block == last + 1);
        if !in_turn {
            self.storage.0.will_need(place, self.bitmap_size);
        }
    }

    /// Where the file holds the bytes from `offset` on, if it does, and for how many of them (at most
    /// `limit`) that holds.
    fn locate(&mut self, offset: u64, limit: u64) -> Result<(Option<u64>, u64), DiskError> {
        let block = (offset / self.block_size) as usize;
        let inside = offset % self.block_size;
        let limit = limit.min(self.block_size - inside);
        let Some(place) = self.bat.find(block) else {
            return Ok((None, limit));
        };
        let bitmap = self.bitmap(block, place)?;
        let first = inside / SECTOR_SIZE;
        let held = bitmap.is_set(first);
        let sectors = (inside + limit).div_ceil(SECTOR_SIZE);
        let end = (first + 1..sectors)
            .find(|sector| bitmap.is_set(*sector) != held)
            .unwrap_or(sectors);
        let length = (end * SECTOR_SIZE - inside).min(limit);
        Ok((held.then_some(place + self.bitmap_size + inside), length))
    }

    /// What lies below this file: the parent, or zeros.
    fn read_below(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let Some(parent) = &mut self.parent else {
            data.fill(0);
            return Ok(());
        };
        let there = parent.size().saturating_sub(offset).min(data.len() as u64);
        let (held, behind) = data.split_at_mut(there as usize);
        behind.fill(0);
        parent.read(offset, held)
    }

    /// Where a range that this file does not hold lies; of it, at most `length` bytes.
    fn extent_below(&mut self, offset: u64, length: u64) -> Result<Extent, DiskError> {
        if let Some(parent) = &mut self.parent
            && offset < parent.size()
        {
            let below = parent.extent(offset)?;
            return Ok(Extent {
                length: below.length.min(length),
                place: below.place.of_parent(),
            });
        }
        Ok(Extent {
            length,
            place: Place::Zero,
        })
    }

    fn read_piece(&mut self, block: usize, inside: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let block_start = block as u64 * self.block_size;
        let Some(place) = self.bat.find(block) else {
            return self.read_below(block_start + inside, data);
        };
        let data_start = place + self.bitmap_size;
        let end = inside + data.len() as u64;
        let runs = self.bitmap(block, place)?.runs(touched(inside, data.len()));
        for (held, first, last) in runs {
            let from = (first * SECTOR_SIZE).max(inside);
            let to = (last * SECTOR_SIZE).min(end);
            let part = &mut data[(from - inside) as usize..(to - inside) as usize];
            if held {
                self.storage.read(data_start + from, part)?;
            } else {
                self.read_below(block_start + from, part)?;
            }
        }
        Ok(())
    }
}

/// Bytes of the bitmap of a block: one bit a sector, whole sectors.
pub fn bitmap_size(block_size: u64) -> u64 {
    (block_size / SECTOR_SIZE / 8).next_multiple_of(SECTOR_SIZE)
}

/// What lies in the file besides blocks and the last footer: the footer's copy, the header, the table, the parent's paths.
pub fn reserved(footer: &Footer, header: &Header) -> Vec<Range<u64>> {
    let header_offset = footer.data_offset.get();
    let table_offset = header.table_offset.get();
    let table_bytes = u64::from(header.max_table_entries.get()) * 4;
    let mut ranges = vec![
        0..FOOTER_SIZE,
        header_offset..header_offset + HEADER_SIZE,
        table_offset..table_offset.saturating_add(table_bytes.next_multiple_of(SECTOR_SIZE)),
    ];
    if footer.is_differencing() {
        let paths = header.locators().iter().filter(|l| l.code != [0; 4]);
        ranges.extend(paths.map(|locator| {
            let offset = locator.data_offset.get();
            let end = offset.saturating_add(locator.data_length.get().into());
            // Blocks and the footer begin at sectors.
            offset..end.checked_next_multiple_of(SECTOR_SIZE).unwrap_or(end)
        }));
    }
    ranges
}

/// The sectors of a block that a range touches.
fn touched(inside: u64, length: usize) -> Range<u64> {
    inside / SECTOR_SIZE..(inside + length as u64).div_ceil(SECTOR_SIZE)
}

impl<S: Storage> Disk for Sparse<S> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, data.len())?;
        for (block, inside, range) in self.pieces(offset, data.len()) {
            self.read_piece(block, inside, &mut data[range])?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, data.len())?;
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        for (block, inside, range) in self.pieces(offset, data.len()) {
            self.write_piece(block, inside, &data[range])?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        if !self.writable {
            return Ok(());
        }
        self.storage.flush()?;
        if self.bitmaps.has_changed() || self.bat.has_pending() {
            self.write_metadata()?;
        }
        Ok(())
    }

    fn discard(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        check_range_u64(self.size, offset, length)?;
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        for (block, inside, range) in self.pieces(offset, length as usize) {
            self.discard_piece(block, inside, range.len() as u64)?;
        }
        Ok(())
    }

    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        check_range(self.size, offset, 1)?;
        let (held, length) = self.locate(offset, self.size - offset)?;
        match held {
            None => self.extent_below(offset, length),
            Some(offset) => Ok(Extent {
                length,
                place: Place::File { depth: 0, offset },
            }),
        }
    }

    fn direct(&mut self, offset: u64, length: u64, access: Access) -> Result<Direct, DiskError> {
        check_range_u64(self.size, offset, length)?;
        if access == Access::Write && !self.writable {
            return Err(DiskError::ReadOnly);
        }
        let (held, length) = self.locate(offset, length)?;
        match (held, &mut self.parent) {
            (Some(at), _) => {
                let place = self.storage.0.direct().map(|file| (file, at));
                Ok(Direct { length, place })
            }
            (None, Some(parent)) if access == Access::Read && offset < parent.size() => {
                parent.direct(offset, length.min(parent.size() - offset), access)
            }
            _ => Ok(Direct::by_the_disk(length)),
        }
    }

    fn presumed(&mut self, offset: u64, length: u64) -> Result<Option<Direct>, DiskError> {
        check_range_u64(self.size, offset, length)?;
        let block = (offset / self.block_size) as usize;
        let inside = offset % self.block_size;
        // What a child holds of a block is any part of it.
        if self.parent.is_some() || self.bitmaps.get(block).is_some() {
            return Ok(None);
        }
        let (Some(place), Some(file)) = (self.bat.find(block), self.storage.0.direct()) else {
            return Ok(None);
        };
        self.announce_bitmap(block, place);
        Ok(Some(Direct {
            length: length.min(self.block_size - inside),
            place: Some((file, place + self.bitmap_size + inside)),
        }))
    }

    fn close(&mut self) -> Result<(), DiskError> {
        self.flush()?;
        // Only what this run made room for is given back; a file that was not extended stays.
        if self.footer_offset > self.next_block && self.stale_end < self.footer_offset {
            self.cut_behind_blocks()?;
        }
        Ok(())
    }
}

impl<S: Storage> Drop for Sparse<S> {
    fn drop(&mut self) {
        // Whoever needs to know whether it worked calls `close`.
        let _ = self.close();
    }
}
