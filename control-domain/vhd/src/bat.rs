//! The block allocation table: for each block the sector at which its bitmap begins.

use crate::header::Header;
use disk::{Checked, DiskError, SECTOR_SIZE, Storage, invalid};
use std::collections::BTreeSet;
use std::ops::Range;

/// Entry of a block that was never written.
pub const UNUSED: u32 = u32::MAX;

/// So much of a table is read at once.
const CHUNK_BYTES: u64 = 64 << 10;
const OVERLAP: &str = "overlaps what lies before it; copy what can be read into a new disk";

/// The table of an open disk, and which entries the file does not have yet.
#[derive(Debug)]
pub struct Bat {
    offset: u64,
    entries: Vec<u32>,
    pending: BTreeSet<u32>,
}

impl Bat {
    /// Reads and checks the table. `block_bytes` is bitmap and data of a block; blocks must lie apart
    /// from each other and from what is `reserved`, and before `end`.
    ///
    /// # Errors
    /// If the table or a block is not within the file, or two blocks overlap.
    pub fn read<S: Storage>(
        storage: &mut Checked<S>,
        header: &Header,
        block_bytes: u64,
        reserved: &[Range<u64>],
        end: u64,
    ) -> Result<Self, DiskError> {
        let offset = header.table_offset.get();
        let count = header.max_table_entries.get();
        let length = u64::from(count) * 4;
        if offset
            .checked_add(length)
            .is_none_or(|table_end| table_end > end)
        {
            return Err(invalid(
                offset,
                format!(
                    "the block table of {count} entries is not within the file; it was cut short"
                ),
            ));
        }
        let wrong = |block: usize, start: u64, what: &str| {
            let at = offset + block as u64 * 4;
            Err(invalid(at, format!("block {block} at {start:#x} {what}")))
        };
        // Each entry is judged when it is read: a table of nonsense is not worth its size in memory.
        let mut entries = Vec::new();
        let mut used = 0_u64;
        let mut bytes = vec![0; length.min(CHUNK_BYTES) as usize];
        while (entries.len() as u64) < count.into() {
            let at = entries.len() as u64 * 4;
            let chunk = &mut bytes[..(length - at).min(CHUNK_BYTES) as usize];
            storage.read(offset + at, chunk)?;
            for entry in chunk.as_chunks().0 {
                let (block, entry) = (entries.len(), u32::from_be_bytes(*entry));
                entries.push(entry);
                if entry == UNUSED {
                    continue;
                }
                let start = u64::from(entry) * SECTOR_SIZE;
                let over =
                    |range: &Range<u64>| start < range.end && start + block_bytes > range.start;
                if reserved.iter().any(over) {
                    return wrong(block, start, OVERLAP);
                }
                if start + block_bytes > end {
                    return wrong(block, start, "ends behind the file; it was cut short");
                }
                used += 1;
            }
            if used.saturating_mul(block_bytes) > end {
                return Err(invalid(
                    offset,
                    format!(
                        "the table speaks of {used} blocks of {block_bytes} bytes and more, and the file has no room for them; it is damaged or was cut short"
                    ),
                ));
            }
        }
        let bat = Self {
            offset,
            entries,
            pending: BTreeSet::new(),
        };
        let mut free = 0;
        for (start, block) in bat.places() {
            if start < free {
                return wrong(block, start, OVERLAP);
            }
            free = start + block_bytes;
        }
        Ok(bat)
    }

    /// The blocks in the order in which they lie in the file: place, block.
    pub fn places(&self) -> Vec<(u64, usize)> {
        let mut places: Vec<(u64, usize)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| **entry != UNUSED)
            .map(|(block, entry)| (u64::from(*entry) * SECTOR_SIZE, block))
            .collect();
        places.sort_unstable();
        places
    }

    /// The last blocks, each with the hole before it into which it may move: block, from, to. At most
    /// `most`. Holes begin at `first`, in front of which others keep things that are not known here.
    pub fn moves(
        &self,
        first: u64,
        block_bytes: u64,
        reserved: &[Range<u64>],
        most: usize,
    ) -> Vec<(usize, u64, u64)> {
        let places = self.places();
        let before_first = places.first().map(|(place, _)| first..*place);
        let gaps = before_first.into_iter().chain(gaps(&places, block_bytes));
        let last = places.iter().rev();
        holes(gaps, block_bytes, reserved)
            .zip(last)
            .take_while(|(hole, (from, _))| hole < from)
            .map(|(hole, (from, block))| (*block, *from, hole))
            .take(most)
            .collect()
    }

    /// Where between blocks, but not over what is `reserved`, there is room for one.
    pub fn holes(&self, block_bytes: u64, reserved: &[Range<u64>]) -> Vec<u64> {
        let places = self.places();
        let mut holes: Vec<u64> =
            holes(gaps(&places, block_bytes), block_bytes, reserved).collect();
        holes.reverse();
        holes
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
        self.pending.insert(block as u32);
        Ok(())
    }

    /// Whether entries wait for [`Bat::write_pending`].
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes a block out of the table, in memory for now.
    pub fn leave(&mut self, block: usize) {
        if let Some(entry) = self.entries.get_mut(block) {
            *entry = UNUSED;
            self.pending.insert(block as u32);
        }
    }

    /// Writes the entries that the file does not have yet. The blocks must be safe on the disk.
    /// [`Bat::written`] is to follow a flush.
    ///
    /// # Errors
    /// If the file can't be written; the entries stay pending.
    pub fn write_pending<S: Storage>(&self, storage: &mut Checked<S>) -> Result<(), DiskError> {
        let mut pending = self.pending.iter().copied().peekable();
        while let Some(first) = pending.next() {
            let mut end = first + 1;
            while pending.next_if_eq(&end).is_some() {
                end += 1;
            }
            let bytes: Vec<u8> = self.entries[first as usize..end as usize]
                .iter()
                .flat_map(|entry| entry.to_be_bytes())
                .collect();
            storage.write(self.offset + u64::from(first) * 4, &bytes)?;
        }
        Ok(())
    }

    /// The file has all entries.
    pub fn written(&mut self) {
        self.pending.clear();
    }

    /// The first offset behind all blocks; 0 if there are none.
    pub fn blocks_end(&self, block_bytes: u64) -> u64 {
        self.places()
            .last()
            .map_or(0, |(start, _)| start + block_bytes)
    }

    /// Number of entries, used or not.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The table as it lies in the file, with what is pending.
    pub fn bytes(&self) -> Vec<u8> {
        self.entries
            .iter()
            .flat_map(|entry| entry.to_be_bytes())
            .collect()
    }

    /// The table now lies elsewhere and has more entries.
    pub fn moved(&mut self, offset: u64, entries: u32) {
        self.offset = offset;
        self.entries.resize(entries as usize, UNUSED);
    }

    /// Number of blocks that are allocated.
    pub fn used(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| **entry != UNUSED)
            .count()
    }
}

/// What lies between neighbours.
fn gaps(places: &[(u64, usize)], block_bytes: u64) -> impl Iterator<Item = Range<u64>> {
    places
        .windows(2)
        .map(move |pair| pair[0].0 + block_bytes..pair[1].0)
}

/// The holes in gaps, in order, each as long as a block and apart from what is `reserved`.
fn holes(
    gaps: impl Iterator<Item = Range<u64>>,
    block_bytes: u64,
    reserved: &[Range<u64>],
) -> impl Iterator<Item = u64> {
    gaps.flat_map(move |gap| {
        let mut at = gap.start;
        core::iter::from_fn(move || {
            while at + block_bytes <= gap.end {
                let over = reserved
                    .iter()
                    .find(|range| at < range.end && at + block_bytes > range.start);
                match over {
                    Some(range) => at = range.end.next_multiple_of(SECTOR_SIZE),
                    None => {
                        at += block_bytes;
                        return Some(at - block_bytes);
                    }
                }
            }
            None
        })
    })
}
