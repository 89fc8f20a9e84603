//! The metadata region, section 2.6: a table and the items that it names.

use crate::{Guid, ParentLink};
use disk::{Checked, DiskError, Storage, invalid};
use std::ops::Range;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const TABLE_SIZE: u64 = 64 << 10;
const SIGNATURE: [u8; 8] = *b"metadata";
const MOST_ENTRIES: usize = 2047;
const MOST_ITEM_BYTES: u64 = 1 << 20;
/// The largest disk, section 2.6.2.2.
pub const MAX_SIZE: u64 = 64 << 40;

const FILE_PARAMETERS: Guid = Guid::from_number(0xcaa16737_fa36_4d43_b3b6_33f0aa44e76b);
const DISK_SIZE: Guid = Guid::from_number(0x2fa54224_cd1b_4876_b211_5dbed83bf4b8);
const DISK_ID: Guid = Guid::from_number(0xbeca12ab_b2e6_4523_93ef_c309e000c746);
const LOGICAL_SECTOR: Guid = Guid::from_number(0x8141bf1d_a96f_4709_ba47_f233a8faab5f);
const PHYSICAL_SECTOR: Guid = Guid::from_number(0xcda348c7_445d_4471_9cc9_e9885251c556);
const PARENT_LOCATOR: Guid = Guid::from_number(0xa8d35f2d_b30b_454d_abf7_d3d84834ab0c);

const LEAVE_ALLOCATED: u32 = 1;
const HAS_PARENT: u32 = 2;
const IS_USER: u32 = 1;
const IS_VIRTUAL_DISK: u32 = 2;
const IS_REQUIRED: u32 = 4;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TableHeader {
    signature: [u8; 8],
    reserved: U16,
    entry_count: U16,
    reserved_end: [u8; 20],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    item: Guid,
    offset: U32,
    length: U32,
    flags: U32,
    reserved: U32,
}

/// What the items say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes of a payload block, a power of two.
    pub block_size: u64,
    /// Whether blocks stay allocated: a fixed disk.
    pub leave_allocated: bool,
    /// Size of the disk in bytes.
    pub size: u64,
    /// What the guest sees as the disk's identity (SCSI inquiry page 83h).
    pub disk_id: Guid,
    /// 512 or 4096.
    pub logical_sector: u32,
    /// 512 or 4096.
    pub physical_sector: u32,
    /// Of a differencing disk.
    pub parent: Option<ParentLink>,
    /// Where the disk's size lies, to change it.
    pub size_offset: u64,
}

impl Metadata {
    /// Reads table and items of a region.
    ///
    /// # Errors
    /// What is missing or wrong, and where.
    pub fn read<S: Storage>(
        storage: &mut Checked<S>,
        region: &Range<u64>,
    ) -> Result<Self, DiskError> {
        let mut bytes = vec![0; TABLE_SIZE as usize];
        storage.read(region.start, &mut bytes)?;
        let table = Table::parse(&bytes, region)?;
        let mut word = |item: Guid, name: &str| -> Result<(u64, u64), DiskError> {
            let range = table.find(item, name)?;
            let length = range.end - range.start;
            // A disk's size and a block's parameters are 8 bytes, sector sizes 4.
            let wanted = if item == LOGICAL_SECTOR || item == PHYSICAL_SECTOR {
                4
            } else {
                8
            };
            if length != wanted {
                return Err(invalid(
                    range.start,
                    format!("the {name} has {length} bytes, not {wanted}"),
                ));
            }
            let mut bytes = [0; 8];
            storage.read(range.start, &mut bytes[..wanted as usize])?;
            Ok((u64::from_le_bytes(bytes), range.start))
        };
        let (parameters, parameters_offset) = word(FILE_PARAMETERS, "file parameters item")?;
        let (size, size_offset) = word(DISK_SIZE, "disk size item")?;
        let (logical_sector, _) = word(LOGICAL_SECTOR, "logical sector size item")?;
        let (physical_sector, _) = word(PHYSICAL_SECTOR, "physical sector size item")?;
        let block_size = parameters & 0xffff_ffff;
        let flags = (parameters >> 32) as u32;
        let id = table.find(DISK_ID, "disk identity item")?;
        let mut disk_id = Guid::ZERO;
        if id.end - id.start != 16 {
            return Err(invalid(id.start, "the disk identity item has not 16 bytes"));
        }
        storage.read(id.start, &mut disk_id.0)?;
        let parent = if flags & HAS_PARENT != 0 {
            let range = table.find(PARENT_LOCATOR, "parent locator item")?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            storage.read(range.start, &mut bytes)?;
            Some(ParentLink::parse(&bytes, range.start)?)
        } else {
            None
        };
        let metadata = Self {
            block_size,
            leave_allocated: flags & LEAVE_ALLOCATED != 0,
            size,
            disk_id,
            logical_sector: logical_sector as u32,
            physical_sector: physical_sector as u32,
            parent,
            size_offset,
        };
        metadata.check(parameters_offset)?;
        Ok(metadata)
    }

    /// Checks the values, section 2.6.2.1 to 2.6.2.5; `offset` is where the parameters lie.
    ///
    /// # Errors
    /// Which value is none that the format has.
    pub fn check(&self, offset: u64) -> Result<(), DiskError> {
        for (value, name) in [
            (self.logical_sector, "logical"),
            (self.physical_sector, "physical"),
        ] {
            if value != 512 && value != 4096 {
                let reason = format!("{name} sectors of {value} bytes; there are 512 and 4096");
                return Err(invalid(offset, reason));
            }
        }
        let block_size = self.block_size;
        if !block_size.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block_size) {
            let reason =
                format!("block size {block_size} is not a power of two from 1 MiB to 256 MiB");
            return Err(invalid(offset, reason));
        }
        let (size, sector) = (self.size, self.logical_sector);
        if size == 0 || !size.is_multiple_of(sector.into()) || size > MAX_SIZE {
            let reason =
                format!("disk size {size} is not a number of {sector}-byte sectors up to 64 TiB");
            return Err(invalid(self.size_offset, reason));
        }
        Ok(())
    }

    /// What to write where, so that the parent locator becomes this one.
    ///
    /// # Errors
    /// If it does not fit into the region, or the table can't be read.
    pub fn relocate_parent<S: Storage>(
        &self,
        storage: &mut Checked<S>,
        region: &Range<u64>,
        link: &ParentLink,
    ) -> Result<[(u64, Vec<u8>); 2], DiskError> {
        let mut bytes = vec![0; TABLE_SIZE as usize];
        storage.read(region.start, &mut bytes)?;
        let (header, rest) =
            TableHeader::ref_from_prefix(&bytes).map_err(|_| cut_short(region.start))?;
        let count = header.entry_count.get().into();
        let (entries, _) = <[Entry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| cut_short(region.start))?;
        let index = entries
            .iter()
            .position(|entry| entry.item == PARENT_LOCATOR);
        let index =
            index.ok_or_else(|| invalid(region.start, "the parent locator item is missing"))?;
        let value = link.bytes();
        // Where it was, if it is not longer; else behind everything.
        let end = |entry: &Entry| u64::from(entry.offset.get()) + u64::from(entry.length.get());
        let start = if value.len() as u64 <= u64::from(entries[index].length.get()) {
            u64::from(entries[index].offset.get())
        } else {
            let last = entries.iter().map(end).max().unwrap_or(TABLE_SIZE);
            last.max(TABLE_SIZE).next_multiple_of(8)
        };
        // All of it goes into one log entry.
        if value.len() > 256 << 10 || region.start + start + value.len() as u64 > region.end {
            return Err(invalid(region.start, "the new parent's paths are too long"));
        }
        let mut place = U32::new(start as u32).as_bytes().to_vec();
        place.extend(U32::new(value.len() as u32).as_bytes());
        let entry = size_of::<TableHeader>() + index * size_of::<Entry>() + size_of::<Guid>();
        Ok([
            (region.start + entry as u64, place),
            (region.start + start, value),
        ])
    }

    /// Table and items for a new file.
    pub fn bytes(&self) -> Vec<u8> {
        let flags = if self.leave_allocated {
            LEAVE_ALLOCATED
        } else {
            0
        } | if self.parent.is_some() { HAS_PARENT } else { 0 };
        let parameters = self.block_size | u64::from(flags) << 32;
        let disk = IS_VIRTUAL_DISK | IS_REQUIRED;
        let mut items = vec![
            (
                FILE_PARAMETERS,
                IS_REQUIRED,
                parameters.to_le_bytes().to_vec(),
            ),
            (DISK_SIZE, disk, self.size.to_le_bytes().to_vec()),
            (DISK_ID, disk, self.disk_id.0.to_vec()),
            (
                LOGICAL_SECTOR,
                disk,
                self.logical_sector.to_le_bytes().to_vec(),
            ),
            (
                PHYSICAL_SECTOR,
                disk,
                self.physical_sector.to_le_bytes().to_vec(),
            ),
        ];
        if let Some(parent) = &self.parent {
            items.push((PARENT_LOCATOR, IS_REQUIRED, parent.bytes()));
        }
        let header = TableHeader {
            signature: SIGNATURE,
            reserved: U16::ZERO,
            entry_count: U16::new(items.len() as u16),
            reserved_end: [0; 20],
        };
        let mut table = header.as_bytes().to_vec();
        let mut values = Vec::new();
        for (item, flags, value) in items {
            let entry = Entry {
                item,
                offset: U32::new(TABLE_SIZE as u32 + values.len() as u32),
                length: U32::new(value.len() as u32),
                flags: U32::new(flags),
                reserved: U32::ZERO,
            };
            table.extend(entry.as_bytes());
            values.extend(value);
            values.resize(values.len().next_multiple_of(8), 0);
        }
        table.resize(TABLE_SIZE as usize, 0);
        table.extend(values);
        table
    }
}

fn cut_short(offset: u64) -> DiskError {
    invalid(offset, "metadata table cut short")
}

/// The items' places in the file.
struct Table {
    offset: u64,
    items: Vec<(Guid, Range<u64>)>,
}

impl Table {
    fn parse(bytes: &[u8], region: &Range<u64>) -> Result<Self, DiskError> {
        let offset = region.start;
        let (header, rest) = TableHeader::ref_from_prefix(bytes).map_err(|_| cut_short(offset))?;
        if header.signature != SIGNATURE {
            return Err(invalid(
                offset,
                "no metadata table (\"metadata\" is missing)",
            ));
        }
        let count = usize::from(header.entry_count.get());
        if count > MOST_ENTRIES {
            let reason =
                format!("a metadata table of {count} entries; there may be {MOST_ENTRIES}");
            return Err(invalid(offset, reason));
        }
        let (entries, _) =
            <[Entry]>::ref_from_prefix_with_elems(rest, count).map_err(|_| cut_short(offset))?;
        let mut items = Vec::new();
        for entry in entries {
            let (start, length) = (u64::from(entry.offset.get()), u64::from(entry.length.get()));
            let user = entry.flags.get() & IS_USER != 0;
            let known = [
                FILE_PARAMETERS,
                DISK_SIZE,
                DISK_ID,
                LOGICAL_SECTOR,
                PHYSICAL_SECTOR,
                PARENT_LOCATOR,
            ]
            .contains(&entry.item);
            if entry.flags.get() & IS_REQUIRED != 0 && (user || !known) {
                let reason = format!(
                    "the metadata item {} is required but unknown; open the file with what made it",
                    entry.item
                );
                return Err(invalid(offset, reason));
            }
            if user || !known {
                continue;
            }
            let end = region.start + start + length;
            if start < TABLE_SIZE || length == 0 || length > MOST_ITEM_BYTES || end > region.end {
                let reason = format!(
                    "the metadata item {} of {length} bytes at {start:#x} does not fit",
                    entry.item
                );
                return Err(invalid(offset, reason));
            }
            if items.iter().any(|(item, _)| *item == entry.item) {
                return Err(invalid(
                    offset,
                    format!("the metadata item {} is there twice", entry.item),
                ));
            }
            items.push((entry.item, region.start + start..end));
        }
        Ok(Self { offset, items })
    }

    fn find(&self, item: Guid, name: &str) -> Result<Range<u64>, DiskError> {
        let found = self.items.iter().find(|(found, _)| *found == item);
        found
            .map(|(_, range)| range.clone())
            .ok_or_else(|| invalid(self.offset, format!("the {name} is missing")))
    }
}
