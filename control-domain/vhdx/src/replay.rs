//! What a log that was left behind says, section 2.3.3.

use crate::header::Header;
use crate::log_entry::{Change, EntryHeader, SECTOR, SIGNATURE, restore};
use crate::pages::{PAGE_SIZE, PageBytes};
use disk::{Checked, DiskError, Storage, invalid};
use std::collections::BTreeMap;
use std::ops::Range;
use zerocopy::FromBytes;

/// By how much a log may make a file longer; what is written grows by some blocks of 256 MiB at most.
const MOST_GROWTH: u64 = 4 << 30;

/// What to do to the file.
pub enum Step {
    /// Make a page so.
    Page(u64, Box<PageBytes>),
    /// Make a range zero.
    Zero(Range<u64>),
}

/// The entries of a log that count, oldest first.
pub struct Replay {
    log: Range<u64>,
    entries: Vec<(u64, EntryHeader)>,
    /// The file must be at least so long.
    pub file_length: u64,
}

impl Replay {
    /// Finds the active sequence of a log; `None` if the header says that nothing is in it.
    ///
    /// # Errors
    /// If there should be one and there is none, or the file is shorter than the log knew it.
    pub fn find<S: Storage>(
        file: &mut Checked<S>,
        header: &Header,
        file_length: u64,
    ) -> Result<Option<Self>, DiskError> {
        if header.log_guid.is_zero() {
            return Ok(None);
        }
        let start = header.log_offset.get();
        let mut replay = Self {
            log: start..start + u64::from(header.log_length.get()),
            entries: Vec::new(),
            file_length,
        };
        let valid = replay.valid_entries(file, header)?;
        let mut heads: Vec<_> = valid.iter().collect();
        heads.sort_by_key(|(_, entry)| core::cmp::Reverse(entry.sequence_number.get()));
        let found = heads
            .into_iter()
            .find_map(|(&at, _)| replay.sequence(&valid, at));
        let Some(entries) = found else {
            let reason = "the log should be replayed, but no whole entry is in it; restore the file from a copy";
            return Err(invalid(start, reason));
        };
        for (at, entry) in &entries {
            let (flushed, last) = (
                entry.flushed_file_offset.get(),
                entry.last_file_offset.get(),
            );
            if flushed > file_length {
                let reason = format!(
                    "the log knows the file as {flushed} bytes long, it has {file_length}; it was cut short"
                );
                return Err(invalid(start + at, reason));
            }
            if last > file_length + MOST_GROWTH {
                return Err(invalid(
                    start + at,
                    format!("the log wants a file of {last} bytes"),
                ));
            }
            replay.file_length = replay.file_length.max(last);
        }
        replay.entries = entries;
        Ok(Some(replay))
    }

    fn read<S: Storage>(&self, file: &mut Checked<S>, at: u64) -> Result<PageBytes, DiskError> {
        let mut sector = [0; SECTOR];
        let inside = at % (self.log.end - self.log.start);
        file.read(self.log.start + inside, &mut sector)?;
        Ok(sector)
    }

    /// All entries that are whole. Takes time in proportion to the log: the sectors of an entry are
    /// checked not to begin another one before its checksum is computed.
    fn valid_entries<S: Storage>(
        &self,
        file: &mut Checked<S>,
        header: &Header,
    ) -> Result<BTreeMap<u64, EntryHeader>, DiskError> {
        let mut valid = BTreeMap::new();
        let length = self.log.end - self.log.start;
        for at in (0..length).step_by(SECTOR) {
            let sector = self.read(file, at)?;
            let Ok((entry, _)) = EntryHeader::ref_from_prefix(&sector) else {
                continue;
            };
            let bytes = u64::from(entry.length.get());
            if entry.signature == SIGNATURE
                && entry.log_guid == header.log_guid
                && entry.sequence_number.get() > 0
                && bytes.is_multiple_of(PAGE_SIZE)
                && (PAGE_SIZE..=length).contains(&bytes)
                && u64::from(entry.tail.get()).is_multiple_of(PAGE_SIZE)
                && self.is_whole(file, at, entry)?
            {
                valid.insert(at, entry.clone());
            }
        }
        Ok(valid)
    }

    fn is_whole<S: Storage>(
        &self,
        file: &mut Checked<S>,
        at: u64,
        entry: &EntryHeader,
    ) -> Result<bool, DiskError> {
        let sectors = u64::from(entry.length.get()) / PAGE_SIZE;
        let descriptor_sectors = entry.descriptor_sectors();
        let (mut sum, mut data) = (0, 0);
        for number in 0..sectors {
            let mut sector = self.read(file, at + number * PAGE_SIZE)?;
            if number < descriptor_sectors {
                let Some(changes) = entry.descriptors(number, &sector) else {
                    return Ok(false);
                };
                let pages = changes
                    .iter()
                    .filter(|change| matches!(change, Change::Page { .. }));
                data += pages.count() as u64;
            } else if !entry.owns_data(&sector) {
                return Ok(false);
            }
            if number == 0 {
                sector[4..8].fill(0);
            }
            sum = crc32c::crc32c_append(sum, &sector);
        }
        Ok(sectors == descriptor_sectors + data && sum == entry.checksum.get())
    }

    /// The entries from a head's tail to the head, if all are there and follow each other.
    fn sequence(
        &self,
        valid: &BTreeMap<u64, EntryHeader>,
        head: u64,
    ) -> Option<Vec<(u64, EntryHeader)>> {
        let length = self.log.end - self.log.start;
        let mut at = u64::from(valid.get(&head)?.tail.get());
        let mut entries: Vec<(u64, EntryHeader)> = Vec::new();
        loop {
            let entry = valid.get(&at)?;
            if let Some((_, last)) = entries.last()
                && last.sequence_number.get().checked_add(1)? != entry.sequence_number.get()
            {
                return None;
            }
            entries.push((at, entry.clone()));
            if at == head {
                return Some(entries);
            }
            at = (at + u64::from(entry.length.get())) % length;
        }
    }

    /// Calls `take` for each change, in order.
    ///
    /// # Errors
    /// If a change is not to metadata, the file can't be read, or `take` fails.
    pub fn each<S: Storage>(
        &self,
        file: &mut Checked<S>,
        mut take: impl FnMut(&mut Checked<S>, Step) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        for (at, entry) in &self.entries {
            let descriptor_sectors = entry.descriptor_sectors();
            let mut data = at + descriptor_sectors * PAGE_SIZE;
            for number in 0..descriptor_sectors {
                let sector = self.read(file, at + number * PAGE_SIZE)?;
                for change in entry.descriptors(number, &sector).unwrap_or_default() {
                    match change {
                        Change::Page {
                            offset,
                            leading,
                            trailing,
                        } => {
                            self.check(at, offset, PAGE_SIZE)?;
                            let page = restore(&self.read(file, data)?, leading, trailing);
                            data += PAGE_SIZE;
                            take(file, Step::Page(offset, Box::new(page)))?;
                        }
                        Change::Zero { offset, length } => {
                            self.check(at, offset, length)?;
                            take(file, Step::Zero(offset..offset + length))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A log changes neither headers nor itself, and nothing behind the file.
    fn check(&self, at: &u64, offset: u64, length: u64) -> Result<(), DiskError> {
        let headers_end = crate::region::OFFSETS[0];
        match offset.checked_add(length) {
            Some(end)
                if end <= self.file_length
                    && offset >= headers_end
                    && (end <= self.log.start || offset >= self.log.end) =>
            {
                Ok(())
            }
            _ => Err(invalid(
                self.log.start + at,
                format!("the log changes {length} bytes at {offset:#x}, which is no metadata"),
            )),
        }
    }
}
