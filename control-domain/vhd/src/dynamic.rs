//! A dynamic VHD: blocks that are allocated when they are first written.
//!
//! # Order of writes
//!
//! A block consists of a bitmap (a set bit: the sector was written) and its data. New blocks go
//! where the footer is, so the footer moves. At each point in between, a power cut leaves a file
//! with a whole footer at its end, a table that points to whole blocks only, and all data that was
//! flushed:
//!
//! 1. the footer is written behind room for a few blocks, and flushed (the old one is now waste);
//! 2. data is written into the room; bitmaps and the table are changed in memory only;
//! 3. on a flush of the guest: flush, then write bitmaps and the table's entries, then flush again.
//!
//! So a bit is set, and a block is pointed to, only when its data is on the disk: no cut brings
//! back what a sector held before it was written.
//!
//! [`Disk::close`] moves the footer back behind the last block: footer, flush, cut. What a power
//! cut leaves between the last block and the footer is waste, zeroed before it is used again.

use crate::bat::Bat;
use crate::footer::{FOOTER_SIZE, Footer, NO_HEADER};
use crate::header::{HEADER_SIZE, Header};
use disk::{Checked, Disk, DiskError, Extent, Place, SECTOR_SIZE, Storage, check_range, invalid};
use std::collections::{BTreeSet, HashMap};
use zerocopy::IntoBytes;

/// For how many blocks room is made at once.
const ROOM_BLOCKS: u64 = 8;

/// A dynamic VHD.
pub struct Dynamic<S: Storage> {
    storage: Checked<S>,
    footer: Footer,
    bat: Bat,
    bitmaps: HashMap<usize, Vec<u8>>,
    /// Blocks whose bitmap in the file lacks bits.
    pending_bitmaps: BTreeSet<usize>,
    size: u64,
    block_size: u64,
    bitmap_size: u64,
    /// Where the next block goes.
    next_block: u64,
    /// Up to where the file holds bytes that nobody vouches for. Behind it, it is zero.
    stale_end: u64,
    /// Where the footer is: the room ends here. 0 if the file has no whole footer at its end.
    footer_offset: u64,
    writable: bool,
}

impl<S: Storage> Dynamic<S> {
    /// Opens a disk whose footer is known. `footer_offset` is where it lies at the end of the file,
    /// or nothing if only the copy at the start is whole.
    ///
    /// # Errors
    /// What is wrong with the header or the table.
    pub fn open(
        storage: S,
        footer: Footer,
        footer_offset: Option<u64>,
        writable: bool,
    ) -> Result<Self, DiskError> {
        let mut storage = Checked(storage);
        let length = storage.length()?;
        let size = footer.current_size.get();
        let header_offset = footer.data_offset.get();
        if header_offset == NO_HEADER
            || header_offset
                .checked_add(HEADER_SIZE)
                .is_none_or(|end| end > length)
        {
            return Err(invalid(
                header_offset,
                "the dynamic header is not within the file",
            ));
        }
        let mut bytes = [0; HEADER_SIZE as usize];
        storage.read(header_offset, &mut bytes)?;
        let header = Header::parse(&bytes, header_offset, size)?;
        let block_size = u64::from(header.block_size.get());
        let bitmap_size = (block_size / SECTOR_SIZE / 8).next_multiple_of(SECTOR_SIZE);
        let block_bytes = bitmap_size + block_size;
        let end = footer_offset.unwrap_or(length);
        let table_offset = header.table_offset.get();
        let count = header.max_table_entries.get();
        let header_end = header_offset + HEADER_SIZE;
        let bat = Bat::read(
            &mut storage,
            table_offset,
            count,
            block_bytes,
            header_offset,
            end,
        )?;
        let table_end = (table_offset + u64::from(count) * 4).next_multiple_of(SECTOR_SIZE);
        let next_block = bat
            .blocks_end(block_bytes)
            .unwrap_or(0)
            .max(table_end)
            .max(header_end);
        Ok(Self {
            storage,
            footer,
            bat,
            bitmaps: HashMap::new(),
            pending_bitmaps: BTreeSet::new(),
            size,
            block_size,
            bitmap_size,
            next_block: next_block.next_multiple_of(SECTOR_SIZE),
            stale_end: length,
            footer_offset: footer_offset.unwrap_or(0),
            writable,
        })
    }

    /// Number of blocks that the file holds.
    pub fn allocated_blocks(&self) -> usize {
        self.bat.used()
    }

    fn block_bytes(&self) -> u64 {
        self.bitmap_size + self.block_size
    }

    /// Calls `f` for each piece of a range that lies in one block: block, offset in it, piece.
    fn pieces(&self, offset: u64, length: usize) -> Vec<(usize, u64, std::ops::Range<usize>)> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < length {
            let position = offset + at as u64;
            let inside = position % self.block_size;
            let piece = (self.block_size - inside).min((length - at) as u64) as usize;
            pieces.push((
                (position / self.block_size) as usize,
                inside,
                at..at + piece,
            ));
            at += piece;
        }
        pieces
    }

    fn bitmap(&mut self, block: usize, place: u64) -> Result<&mut Vec<u8>, DiskError> {
        use std::collections::hash_map::Entry;
        match self.bitmaps.entry(block) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let mut bits = vec![0; self.bitmap_size as usize];
                self.storage.read(place, &mut bits)?;
                Ok(entry.insert(bits))
            }
        }
    }

    fn read_piece(&mut self, block: usize, inside: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let Some(place) = self.bat.find(block) else {
            data.fill(0);
            return Ok(());
        };
        let data_start = place + self.bitmap_size;
        let bits = self.bitmap(block, place)?;
        let sectors = touched(inside, data.len());
        if sectors.clone().all(|sector| is_set(bits, sector)) {
            return self.storage.read(data_start + inside, data);
        }
        let written: Vec<bool> = sectors.clone().map(|sector| is_set(bits, sector)).collect();
        self.storage.read(data_start + inside, data)?;
        for (sector, written) in sectors.zip(written) {
            if !written {
                let start = (sector * SECTOR_SIZE).max(inside) - inside;
                let end = ((sector + 1) * SECTOR_SIZE - inside).min(data.len() as u64);
                data[start as usize..end as usize].fill(0);
            }
        }
        Ok(())
    }

    fn write_piece(&mut self, block: usize, inside: u64, data: &[u8]) -> Result<(), DiskError> {
        let place = match self.bat.find(block) {
            Some(place) => place,
            // What was never written reads as zero.
            None if data.iter().all(|byte| *byte == 0) => return Ok(()),
            None => self.allocate(block)?,
        };
        self.clear_partial_sectors(block, place, inside, data.len())?;
        self.storage
            .write(place + self.bitmap_size + inside, data)?;
        let sectors = touched(inside, data.len());
        let bits = self.bitmap(block, place)?;
        let mut changed = false;
        for sector in sectors {
            changed |= !is_set(bits, sector);
            bits[(sector / 8) as usize] |= 0x80 >> (sector % 8);
        }
        if changed {
            self.pending_bitmaps.insert(block);
        }
        Ok(())
    }

    /// A sector that was never written and is now written in part: the rest of it must be zero.
    fn clear_partial_sectors(
        &mut self,
        block: usize,
        place: u64,
        inside: u64,
        length: usize,
    ) -> Result<(), DiskError> {
        let end = inside + length as u64;
        let data_start = place + self.bitmap_size;
        for sector in [inside / SECTOR_SIZE, (end - 1) / SECTOR_SIZE] {
            let start = sector * SECTOR_SIZE;
            let partial = start < inside || start + SECTOR_SIZE > end;
            if partial && !is_set(self.bitmap(block, place)?, sector) {
                self.storage
                    .write(data_start + start, &[0; SECTOR_SIZE as usize])?;
            }
        }
        Ok(())
    }

    /// Gives a block its place: steps 1 and 2 of the order of writes, without the data.
    fn allocate(&mut self, block: usize) -> Result<u64, DiskError> {
        let place = self.next_block;
        let end = place + self.block_bytes();
        if end > self.footer_offset {
            let blocks = self.size.div_ceil(self.block_size);
            let left = blocks
                .saturating_sub(self.bat.used() as u64)
                .clamp(1, ROOM_BLOCKS);
            let room_end = place + left * self.block_bytes();
            let footer_offset = room_end.max(self.stale_end.next_multiple_of(SECTOR_SIZE));
            self.storage.write(footer_offset, self.footer.as_bytes())?;
            self.storage.flush()?;
            // The old footer is waste from now on.
            if self.footer_offset > 0 {
                self.stale_end = self.stale_end.max(self.footer_offset + FOOTER_SIZE);
            }
            self.footer_offset = footer_offset;
        }
        if place < self.stale_end {
            let zeros = vec![0; (self.stale_end.min(end) - place) as usize];
            self.storage.write(place, &zeros)?;
        }
        self.bat.enter(block, place)?;
        self.bitmaps
            .insert(block, vec![0; self.bitmap_size as usize]);
        self.next_block = end;
        Ok(place)
    }
}

/// The sectors of a block that a range touches.
fn touched(inside: u64, length: usize) -> std::ops::Range<u64> {
    inside / SECTOR_SIZE..(inside + length as u64).div_ceil(SECTOR_SIZE)
}

fn is_set(bits: &[u8], sector: u64) -> bool {
    bits.get((sector / 8) as usize)
        .is_some_and(|byte| byte & 0x80 >> (sector % 8) != 0)
}

impl<S: Storage> Disk for Dynamic<S> {
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
        if self.pending_bitmaps.is_empty() && !self.bat.has_pending() {
            return Ok(());
        }
        while let Some(block) = self.pending_bitmaps.first().copied() {
            if let (Some(place), Some(bits)) = (self.bat.find(block), self.bitmaps.get(&block)) {
                self.storage.write(place, bits)?;
            }
            self.pending_bitmaps.remove(&block);
        }
        self.bat.write_pending(&mut self.storage)?;
        self.storage.flush()
    }

    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        check_range(self.size, offset, 1)?;
        let (block, inside) = (
            (offset / self.block_size) as usize,
            offset % self.block_size,
        );
        let block_left = (self.block_size - inside).min(self.size - offset);
        let Some(place) = self.bat.find(block) else {
            return Ok(Extent {
                length: block_left,
                place: Place::Zero,
            });
        };
        let data_start = place + self.bitmap_size;
        let bits = self.bitmap(block, place)?;
        let first = inside / SECTOR_SIZE;
        let written = is_set(bits, first);
        let mut end = first + 1;
        while end * SECTOR_SIZE < inside + block_left && is_set(bits, end) == written {
            end += 1;
        }
        let length = (end * SECTOR_SIZE - inside).min(block_left);
        let place = match written {
            true => Place::File {
                depth: 0,
                offset: data_start + inside,
            },
            false => Place::Zero,
        };
        Ok(Extent { length, place })
    }

    fn close(&mut self) -> Result<(), DiskError> {
        self.flush()?;
        // Only what this run made room for is given back; a file that was not extended stays.
        if self.footer_offset > self.next_block && self.stale_end < self.footer_offset {
            self.storage
                .write(self.next_block, self.footer.as_bytes())?;
            self.storage.flush()?;
            self.storage.set_length(self.next_block + FOOTER_SIZE)?;
            self.storage.flush()?;
            self.footer_offset = self.next_block;
            self.stale_end = self.next_block + FOOTER_SIZE;
        }
        Ok(())
    }
}

impl<S: Storage> Drop for Dynamic<S> {
    fn drop(&mut self) {
        // Whoever needs to know whether it worked calls `close`.
        let _ = self.close();
    }
}
