//! Looks at a whole file for what is wrong with it.

use crate::bat::{BITMAP_SIZE, Entry, State};
use crate::header::{self, Headers};
use crate::image::Image;
use crate::info::Borrowed;
use crate::region::{self, Regions};
use crate::{MIB, file_type};
use disk::{Checked, DiskError, Storage};

/// Bytes of the block table that are read at once.
const TABLE_PART: u64 = 64 << 10;

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// What, and what to do.
    pub what: String,
    /// Whether [`repair`] mends it without loss.
    pub repairable: bool,
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the file's structures.
    pub problems: Vec<Problem>,
    /// Whether a log was left behind: nothing wrong, it is replayed when the disk is next opened.
    pub log_left: bool,
    /// Bytes of the file that nothing points to; compacting gives them back.
    pub unused_bytes: u64,
}

impl Report {
    fn add(&mut self, offset: u64, what: impl Into<String>, repairable: bool) {
        self.problems.push(Problem {
            offset,
            what: what.into(),
            repairable,
        });
    }

    /// Takes note of an error that ends what it belongs to; passes on what is not the file's fault.
    fn note(&mut self, error: DiskError, repairable: bool) -> Result<(), DiskError> {
        match error {
            DiskError::Invalid { offset, reason } => self.add(offset, reason, repairable),
            DiskError::Unsupported { reason } => self.add(0, reason, false),
            error => return Err(error),
        }
        Ok(())
    }
}

/// Lists all that is wrong with a file, which stays as it is. No parent is needed.
///
/// # Errors
/// If the file can't be read.
pub fn check<S: Storage>(storage: &mut S) -> Result<Report, DiskError> {
    let mut report = Report::default();
    let mut file = Checked(Borrowed(storage));
    if let Err(error) = file_type::read(&mut file) {
        report.note(error, false)?;
        return Ok(report);
    }
    if file.length()? >= MIB {
        check_copies(&mut file, &mut report)?;
    }
    let mut image = match Image::open(file.0, false) {
        Ok(image) => image,
        Err(error) => {
            report.note(error, false)?;
            return Ok(report);
        }
    };
    report.log_left = image.replayed;
    check_blocks(&mut image, &mut report)?;
    Ok(report)
}

/// Headers and region tables are there twice: one whole one is enough to make the other one anew.
fn check_copies<S: Storage>(file: &mut Checked<S>, report: &mut Report) -> Result<(), DiskError> {
    let headers = Headers::read_both(file);
    let repairable = headers.iter().any(Result::is_ok);
    for header in headers {
        if let Err(error) = header {
            report.note(error, repairable)?;
        }
    }
    let tables = region::OFFSETS.map(|offset| Regions::read_at(file, offset));
    if let [Ok(first), Ok(second)] = &tables
        && first != second
    {
        let what = "the copy of the region table differs from the table";
        report.add(region::OFFSETS[1], what, true);
    }
    let repairable = tables.iter().any(Result::is_ok);
    for table in tables {
        if let Err(error) = table {
            report.note(error, repairable)?;
        }
    }
    Ok(())
}

fn check_blocks<S: Storage>(image: &mut Image<S>, report: &mut Report) -> Result<(), DiskError> {
    let geometry = image.geometry;
    let mut occupancy = image.structures();
    let entries = geometry.entries(geometry.size);
    let mut table = vec![0; TABLE_PART as usize];
    for index in 0..entries {
        let at = geometry.entry_offset(index);
        let inside = index * 8 % TABLE_PART;
        if inside == 0 {
            let left = (entries - index) * 8;
            image
                .file
                .read(at, &mut table[..left.min(TABLE_PART) as usize])?;
        }
        let value = u64::from_le_bytes(table.as_chunks().0[(inside / 8) as usize]);
        if value == 0 {
            continue;
        }
        let block = index - index / (geometry.chunk_ratio + 1);
        let bitmap = geometry.is_bitmap(index);
        // A bitmap's entry stands behind those of its blocks.
        let (checked, length) = if bitmap {
            (image.bitmap(block - 1).map(|_| ()), BITMAP_SIZE)
        } else {
            (image.payload(block).map(|_| ()), geometry.block_size)
        };
        if let Err(error) = checked {
            report.note(error, false)?;
            continue;
        }
        let Some(entry) = Entry::decode(value) else {
            continue;
        };
        if value & !(entry.offset | 7) != 0 {
            report.add(
                at,
                format!("reserved bits of the entry {value:#x} are set"),
                false,
            );
        }
        if bitmap && !geometry.differencing && entry.is_present() {
            report.add(at, "a sector bitmap, but the disk has no parent", false);
        }
        if !bitmap && entry.state == State::PartiallyPresent && image.bitmap(block)?.is_none() {
            let what =
                format!("block {block} is in part the parent's, but its sector bitmap is missing");
            report.add(at, what, false);
        }
        if entry.is_present() && !occupancy.take(entry.offset..entry.offset + length) {
            let what = format!(
                "the block at {:#x} overlaps another one; copy what can be read",
                entry.offset
            );
            report.add(at, what, false);
        }
    }
    report.unused_bytes = image.length.saturating_sub(occupancy.used);
    Ok(())
}

/// Mends what can be mended without loss: replays the log, and makes bad copies of header and region
/// table anew. What is left is in the answer.
///
/// # Errors
/// If the file can't be opened, read or written; then nothing was changed but by a replay.
pub fn repair<S: Storage>(storage: &mut S) -> Result<Report, DiskError> {
    let mut image = Image::open(Borrowed(&mut *storage), true)?;
    image.regions.write(&mut image.file)?;
    if Headers::read_both(&mut image.file)
        .iter()
        .any(Result::is_err)
    {
        // The bad one is not the valid one, so it is what an update overwrites.
        image
            .headers
            .update(&mut image.file, |header: &mut header::Header| {
                header.file_write_guid = crate::Guid::random();
            })?;
    }
    check(storage)
}
