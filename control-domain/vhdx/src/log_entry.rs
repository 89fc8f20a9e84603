//! A log entry, section 2.3.1: a header, descriptors, and a sector of data for each page that it changes.

use crate::Guid;
use crate::header::crc_without;
use crate::pages::{PAGE_SIZE, PageBytes};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Everything in the log counts in these.
pub const SECTOR: usize = PAGE_SIZE as usize;
/// "loge".
pub const SIGNATURE: [u8; 4] = *b"loge";
const ZERO: [u8; 4] = *b"zero";
const DATA: [u8; 4] = *b"desc";
const DATA_SECTOR: [u8; 4] = *b"data";
/// Pages in an entry whose descriptors fit beside the header.
pub const MOST_PAGES: usize = (SECTOR - size_of::<EntryHeader>()) / size_of::<Descriptor>();

/// The first 64 bytes of an entry.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EntryHeader {
    /// "loge".
    pub signature: [u8; 4],
    /// CRC-32C of the whole entry, with this field zero.
    pub checksum: U32,
    /// Bytes of the entry.
    pub length: U32,
    /// Where in the log the first entry lies that is needed with this one.
    pub tail: U32,
    /// One more than that of the entry before.
    pub sequence_number: U64,
    /// Number of descriptors.
    pub descriptor_count: U32,
    /// Zero.
    pub reserved: U32,
    /// The header's log GUID.
    pub log_guid: Guid,
    /// The file is at least so long, or it was cut short.
    pub flushed_file_offset: U64,
    /// The file must be made at least so long.
    pub last_file_offset: U64,
}

/// What changes: a page of data, or a range to zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Descriptor {
    signature: [u8; 4],
    trailing: [u8; 4],
    /// The page's first bytes, or the length of the range.
    leading: [u8; 8],
    file_offset: U64,
    sequence_number: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct DataSector {
    signature: [u8; 4],
    sequence_high: U32,
    data: [u8; SECTOR - 12],
    sequence_low: U32,
}

/// What a descriptor says.
pub enum Change {
    /// A page takes this content; the middle of it is in the entry's next data sector.
    Page {
        /// Where.
        offset: u64,
        /// The first 8 bytes.
        leading: [u8; 8],
        /// The last 4.
        trailing: [u8; 4],
    },
    /// A range becomes zero.
    Zero {
        /// Where.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
}

impl EntryHeader {
    /// Sectors that header and descriptors take.
    pub fn descriptor_sectors(&self) -> u64 {
        let bytes = size_of::<Self>() as u64
            + u64::from(self.descriptor_count.get()) * size_of::<Descriptor>() as u64;
        bytes.div_ceil(PAGE_SIZE)
    }

    /// Reads the descriptors that begin in a sector of the entry; `None` if one of them isn't.
    pub fn descriptors(&self, sector: u64, bytes: &[u8]) -> Option<Vec<Change>> {
        let header = size_of::<Self>();
        let size = size_of::<Descriptor>();
        let before = if sector == 0 {
            0
        } else {
            (sector as usize * SECTOR - header) / size
        };
        let here = bytes.get(if sector == 0 { header } else { 0 }..)?;
        let left = (self.descriptor_count.get() as usize).saturating_sub(before);
        let count = left.min(here.len() / size);
        let (descriptors, _) = <[Descriptor]>::ref_from_prefix_with_elems(here, count).ok()?;
        descriptors
            .iter()
            .map(|descriptor| self.change(descriptor))
            .collect()
    }

    fn change(&self, descriptor: &Descriptor) -> Option<Change> {
        let offset = descriptor.file_offset.get();
        let length = u64::from_le_bytes(descriptor.leading);
        if descriptor.sequence_number != self.sequence_number || !offset.is_multiple_of(PAGE_SIZE) {
            return None;
        }
        match descriptor.signature {
            DATA => Some(Change::Page {
                offset,
                leading: descriptor.leading,
                trailing: descriptor.trailing,
            }),
            ZERO if length.is_multiple_of(PAGE_SIZE) => Some(Change::Zero { offset, length }),
            _ => None,
        }
    }

    /// Whether a sector is one of this entry's data.
    pub fn owns_data(&self, sector: &[u8; SECTOR]) -> bool {
        DataSector::ref_from_bytes(sector).is_ok_and(|data| {
            let sequence =
                u64::from(data.sequence_high.get()) << 32 | u64::from(data.sequence_low.get());
            data.signature == DATA_SECTOR && sequence == self.sequence_number.get()
        })
    }
}

/// Puts the page together that a data sector holds the middle of.
pub fn restore(sector: &[u8; SECTOR], leading: [u8; 8], trailing: [u8; 4]) -> PageBytes {
    let mut page = *sector;
    page[..8].copy_from_slice(&leading);
    page[SECTOR - 4..].copy_from_slice(&trailing);
    page
}

/// An entry of pages (at most [`MOST_PAGES`]) that needs no other: its tail is itself, at `position` in the log.
pub fn build(
    pages: &[(u64, &PageBytes)],
    log_guid: Guid,
    sequence_number: u64,
    position: u64,
    file_length: u64,
) -> Vec<u8> {
    let mut header = EntryHeader {
        signature: SIGNATURE,
        checksum: U32::ZERO,
        length: U32::ZERO,
        tail: U32::new(position as u32),
        sequence_number: U64::new(sequence_number),
        descriptor_count: U32::new(pages.len() as u32),
        reserved: U32::ZERO,
        log_guid,
        flushed_file_offset: U64::new(file_length),
        last_file_offset: U64::new(file_length),
    };
    header.length =
        U32::new((header.descriptor_sectors() as usize * SECTOR + pages.len() * SECTOR) as u32);
    let mut entry = header.as_bytes().to_vec();
    for (offset, page) in pages {
        let mut descriptor = Descriptor {
            signature: DATA,
            trailing: [0; 4],
            leading: [0; 8],
            file_offset: U64::new(*offset),
            sequence_number: header.sequence_number,
        };
        descriptor.leading.copy_from_slice(&page[..8]);
        descriptor.trailing.copy_from_slice(&page[SECTOR - 4..]);
        entry.extend(descriptor.as_bytes());
    }
    entry.resize(header.descriptor_sectors() as usize * SECTOR, 0);
    for (_, page) in pages {
        entry.extend(DATA_SECTOR);
        entry.extend(((sequence_number >> 32) as u32).to_le_bytes());
        entry.extend(&page[8..SECTOR - 4]);
        entry.extend((sequence_number as u32).to_le_bytes());
    }
    let sum = crc_without(&entry, 4);
    entry[4..8].copy_from_slice(&sum.to_le_bytes());
    entry
}
