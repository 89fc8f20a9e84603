//! An open file: its tables, and its block table entry by entry.

use crate::bat::{BITMAP_SIZE, Entry, Geometry, State};
use crate::header::Headers;
use crate::metadata::Metadata;
use crate::occupancy::Occupancy;
use crate::overlay::Overlay;
use crate::pages::Pages;
use crate::region::Regions;
use crate::replay::{Replay, Step};
use crate::{Guid, MIB, file_type};
use disk::{Checked, DiskError, Storage, invalid};
use std::ops::Range;

/// An open file.
pub struct Image<S> {
    pub file: Checked<Overlay<S>>,
    /// Bytes of the file.
    pub length: u64,
    pub creator: String,
    pub headers: Headers,
    pub regions: Regions,
    pub metadata: Metadata,
    pub geometry: Geometry,
    pub pages: Pages,
    /// Whether a log was left behind and replayed.
    pub replayed: bool,
}

impl<S: Storage> Image<S> {
    /// Opens a file. A log that was left behind is replayed: in the file if it may be written, else in memory.
    ///
    /// # Errors
    /// If this is no VHDX, one that must not be opened, or not whole.
    pub fn open(storage: S, writable: bool) -> Result<Self, DiskError> {
        let mut file = Checked(Overlay::new(storage));
        let creator = file_type::read(&mut file)?;
        let length = file.length()?;
        if length < MIB {
            return Err(invalid(
                length,
                "the file ends within its headers; it was cut short",
            ));
        }
        let mut headers = Headers::read(&mut file, length)?;
        let replay = Replay::find(&mut file, &headers.current, length)?;
        if let Some(replay) = &replay {
            if writable {
                replay_into_file(&mut file, &mut headers, replay, length)?;
            } else {
                let mut steps = Vec::new();
                replay.each(&mut file, |_, step| {
                    steps.push(step);
                    Ok(())
                })?;
                file.0.extend(replay.file_length);
                steps.into_iter().for_each(|step| file.0.change(step));
            }
        }
        let length = file.length()?;
        let regions = Regions::read(&mut file, length)?;
        let log = log_range(&headers);
        if regions.overlapping(&log).is_some() {
            return Err(invalid(
                log.start,
                "the log overlaps a region; restore the file from a copy",
            ));
        }
        let metadata = Metadata::read(&mut file, &regions.metadata)?;
        let geometry = Geometry::new(&metadata, &regions.bat)?;
        Ok(Self {
            file,
            length,
            creator,
            headers,
            regions,
            metadata,
            geometry,
            pages: Pages::default(),
            replayed: replay.is_some(),
        })
    }

    /// The log's place.
    pub fn log(&self) -> Range<u64> {
        log_range(&self.headers)
    }

    /// The MiB that headers, log and regions take.
    pub fn structures(&self) -> Occupancy {
        let mut occupancy = Occupancy::default();
        occupancy.take(0..MIB);
        occupancy.take(self.log());
        for region in &self.regions.all {
            occupancy.take(region.range.clone());
        }
        occupancy
    }

    /// A payload block's entry, checked.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn payload(&mut self, block: u64) -> Result<Entry, DiskError> {
        let index = self.geometry.index(block);
        let (entry, at) = self.entry(index)?;
        if entry.state == State::PartiallyPresent && !self.geometry.differencing {
            let reason = format!("block {block} is in part the parent's, but the disk has none");
            return Err(invalid(at, reason));
        }
        if entry.is_present() {
            self.check_place(entry.offset, self.geometry.block_size, at)?;
        }
        Ok(entry)
    }

    /// Where the sector bitmap for a payload block is, if there is one.
    ///
    /// # Errors
    /// If its entry makes no sense.
    pub fn bitmap(&mut self, block: u64) -> Result<Option<u64>, DiskError> {
        let (entry, at) = self.entry(self.geometry.bitmap_index(block))?;
        match entry.state {
            State::NotPresent => Ok(None),
            State::FullyPresent => {
                self.check_place(entry.offset, BITMAP_SIZE, at)?;
                Ok(Some(entry.offset))
            }
            state => Err(invalid(
                at,
                format!("a sector bitmap can't be in the state {state:?}"),
            )),
        }
    }

    fn entry(&mut self, index: u64) -> Result<(Entry, u64), DiskError> {
        let at = self.geometry.entry_offset(index);
        let value = self.pages.word(&mut self.file, at)?;
        let entry = Entry::decode(value).ok_or_else(|| {
            invalid(
                at,
                format!("the block table's entry {value:#x} has an unknown state"),
            )
        })?;
        Ok((entry, at))
    }

    /// Where an entry points to, whatever its state; 0 for nowhere.
    ///
    /// # Errors
    /// If its page can't be read.
    pub fn entry_place(&mut self, index: u64) -> Result<u64, DiskError> {
        let at = self.geometry.entry_offset(index);
        let value = self.pages.word(&mut self.file, at)?;
        Ok(value / MIB * MIB)
    }

    /// Changes an entry in memory.
    ///
    /// # Errors
    /// If its page can't be read.
    pub fn set_entry(&mut self, index: u64, state: State, offset: u64) -> Result<(), DiskError> {
        let value = Entry { state, offset }.encode();
        let at = self.geometry.entry_offset(index);
        self.pages.set_word(&mut self.file, at, value)
    }

    /// Blocks lie behind the headers, within the file, and apart from log and regions.
    pub fn check_place(&self, offset: u64, length: u64, at: u64) -> Result<(), DiskError> {
        let range = offset..offset.saturating_add(length);
        let log = self.log();
        let reason = if range.end > self.length {
            "ends behind the file; it was cut short"
        } else if offset < MIB
            || log.start < range.end && offset < log.end
            || self.regions.overlapping(&range).is_some()
        {
            "overlaps the file's own structures; restore the file from a copy"
        } else {
            return Ok(());
        };
        Err(invalid(at, format!("the block at {offset:#x} {reason}")))
    }
}

fn log_range(headers: &Headers) -> Range<u64> {
    let start = headers.current.log_offset.get();
    start..start + u64::from(headers.current.log_length.get())
}

/// A cut while this goes on leaves the log as it is, so it is done again.
fn replay_into_file<S: Storage>(
    file: &mut Checked<S>,
    headers: &mut Headers,
    replay: &Replay,
    length: u64,
) -> Result<(), DiskError> {
    if replay.file_length > length {
        file.set_length(replay.file_length)?;
    }
    replay.each(file, |file, step| match step {
        Step::Page(offset, page) => file.write(offset, &page[..]),
        Step::Zero(range) => write_zeros(file, range),
    })?;
    file.flush()?;
    headers.update(file, |header| {
        header.log_guid = Guid::ZERO;
        header.file_write_guid = Guid::random();
    })
}

/// Zeros a range of a file.
///
/// # Errors
/// If the file can't be written.
pub fn write_zeros<S: Storage>(file: &mut Checked<S>, range: Range<u64>) -> Result<(), DiskError> {
    let zeros = vec![0; MIB.min(range.end - range.start) as usize];
    let mut at = range.start;
    while at < range.end {
        let length = MIB.min(range.end - at);
        file.write(at, &zeros[..length as usize])?;
        at += length;
    }
    Ok(())
}
