//! The region table and its copy, section 2.2.3: where block table and metadata lie.

use crate::header::crc_without;
use crate::{Guid, MIB};
use disk::{Checked, DiskError, Storage, invalid};
use std::ops::Range;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where table and copy lie.
pub const OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
const SIZE: usize = 64 << 10;
const SIGNATURE: [u8; 4] = *b"regi";
const MOST_ENTRIES: usize = 2047;

const BAT: Guid = Guid::from_number(0x2dc27766_f623_4200_9d64_115e9bfd4a08);
const METADATA: Guid = Guid::from_number(0x8b7ca206_4790_4b9a_b8fe_575f050f886e);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TableHeader {
    signature: [u8; 4],
    checksum: U32,
    entry_count: U32,
    reserved: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    guid: Guid,
    file_offset: U64,
    length: U32,
    required: U32,
}

/// A region: whole MiB behind the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// What it holds.
    pub guid: Guid,
    /// Where it lies.
    pub range: Range<u64>,
    /// Whether who does not know it must not open the file.
    pub required: bool,
}

/// All regions of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// In the order of the table.
    pub all: Vec<Region>,
    /// The block allocation table.
    pub bat: Range<u64>,
    /// Metadata table and items.
    pub metadata: Range<u64>,
}

impl Regions {
    /// The regions of a new file.
    pub fn new(bat: Range<u64>, metadata: Range<u64>) -> Self {
        let region = |guid, range: &Range<u64>| Region {
            guid,
            range: range.clone(),
            required: true,
        };
        Self {
            all: vec![region(BAT, &bat), region(METADATA, &metadata)],
            bat,
            metadata,
        }
    }

    /// Reads the table, or its copy if the table is not whole.
    ///
    /// # Errors
    /// If none is valid, or a region is unknown and required.
    pub fn read<S: Storage>(storage: &mut Checked<S>, file_length: u64) -> Result<Self, DiskError> {
        let first = match Self::read_at(storage, OFFSETS[0]) {
            Ok(regions) => regions,
            Err(first) => Self::read_at(storage, OFFSETS[1]).map_err(|_| first)?,
        };
        for region in &first.all {
            if region.range.end > file_length {
                let reason = "a region ends behind the file; the file was cut short";
                return Err(invalid(region.range.start, reason));
            }
        }
        Ok(first)
    }

    /// Reads one of the two.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_at<S: Storage>(storage: &mut Checked<S>, offset: u64) -> Result<Self, DiskError> {
        let mut bytes = vec![0; SIZE];
        storage.read(offset, &mut bytes)?;
        Self::parse(&bytes, offset)
    }

    fn parse(bytes: &[u8], offset: u64) -> Result<Self, DiskError> {
        let (header, rest) = TableHeader::ref_from_prefix(bytes)
            .map_err(|_| invalid(offset, "region table cut short"))?;
        if header.signature != SIGNATURE {
            return Err(invalid(offset, "no region table (\"regi\" is missing)"));
        }
        if header.checksum.get() != crc_without(bytes, 4) {
            return Err(invalid(offset, "the region table's checksum is wrong"));
        }
        let count = header.entry_count.get() as usize;
        if count > MOST_ENTRIES {
            let reason = format!("a region table of {count} entries; there may be {MOST_ENTRIES}");
            return Err(invalid(offset, reason));
        }
        let (entries, _) = <[Entry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| invalid(offset, "region table cut short"))?;
        let mut all = Vec::with_capacity(count);
        for entry in entries {
            let (start, length) = (entry.file_offset.get(), u64::from(entry.length.get()));
            let end = start.checked_add(length);
            let whole = start.is_multiple_of(MIB) && length.is_multiple_of(MIB);
            let (Some(end), true, true) = (end, start >= MIB && length > 0, whole) else {
                let reason = format!(
                    "the region {} of {length} bytes at {start:#x} is not whole MiB",
                    entry.guid
                );
                return Err(invalid(offset, reason));
            };
            let required = entry.required.get() & 1 == 1;
            if required && entry.guid != BAT && entry.guid != METADATA {
                let reason = format!(
                    "the region {} is required but unknown; open the file with what made it",
                    entry.guid
                );
                return Err(invalid(offset, reason));
            }
            all.push(Region {
                guid: entry.guid,
                range: start..end,
                required,
            });
        }
        let mut ranges: Vec<_> = all.iter().map(|region| region.range.clone()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        if ranges.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err(invalid(
                offset,
                "regions overlap; restore the file from a copy",
            ));
        }
        let only = |guid: Guid, name: &str| {
            let mut found = all.iter().filter(|region| region.guid == guid);
            match (found.next(), found.next()) {
                (Some(region), None) => Ok(region.range.clone()),
                _ => Err(invalid(
                    offset,
                    format!("there is not exactly one {name} region"),
                )),
            }
        };
        let (bat, metadata) = (only(BAT, "block table")?, only(METADATA, "metadata")?);
        Ok(Self { all, bat, metadata })
    }

    /// The table as it lies in the file.
    pub fn bytes(&self) -> Vec<u8> {
        let header = TableHeader {
            signature: SIGNATURE,
            checksum: U32::ZERO,
            entry_count: U32::new(self.all.len() as u32),
            reserved: U32::ZERO,
        };
        let mut bytes = header.as_bytes().to_vec();
        for region in &self.all {
            let entry = Entry {
                guid: region.guid,
                file_offset: U64::new(region.range.start),
                length: U32::new((region.range.end - region.range.start) as u32),
                required: U32::new(region.required.into()),
            };
            bytes.extend(entry.as_bytes());
        }
        bytes.resize(SIZE, 0);
        let sum = crc_without(&bytes, 4);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The same regions with the block table elsewhere.
    pub fn with_bat(&self, bat: Range<u64>) -> Self {
        let mut regions = self.clone();
        for region in &mut regions.all {
            if region.guid == BAT {
                region.range = bat.clone();
            }
        }
        regions.bat = bat;
        regions
    }

    /// Writes table and copy where they say something else, one after the other: one is always whole.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write<S: Storage>(&self, storage: &mut Checked<S>) -> Result<(), DiskError> {
        for offset in OFFSETS {
            if Self::read_at(storage, offset).ok().as_ref() != Some(self) {
                storage.write(offset, &self.bytes())?;
                storage.flush()?;
            }
        }
        Ok(())
    }

    /// The region that overlaps a range, if one does.
    pub fn overlapping(&self, range: &Range<u64>) -> Option<&Region> {
        let over =
            |region: &&Region| region.range.start < range.end && range.start < region.range.end;
        self.all.iter().find(over)
    }
}
