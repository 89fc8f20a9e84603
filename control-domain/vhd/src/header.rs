//! The dynamic disk header (specification 1.0, "Dynamic Disk Header Format"), big-endian.

use crate::footer::checksum;
use crate::locator::{Locator, text_of_units};
use disk::{DiskError, invalid};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of a header in bytes.
pub const HEADER_SIZE: u64 = 1024;

const COOKIE: [u8; 8] = *b"cxsparse";
const CHECKSUM_OFFSET: usize = 36;
/// The table is kept in memory: 64 MiB at most. The largest disk has 1,044,480 blocks of the usual 2 MiB.
const MOST_ENTRIES: u32 = 16 << 20;

/// A dynamic header as it lies in the file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// "cxsparse".
    pub cookie: [u8; 8],
    /// Unused, all ones.
    pub data_offset: U64,
    /// Where the block allocation table lies.
    pub table_offset: U64,
    /// 1.0, as 0x0001_0000.
    pub version: U32,
    /// Number of entries of the table.
    pub max_table_entries: U32,
    /// Bytes of data per block, a power of two.
    pub block_size: U32,
    /// Ones' complement of the sum of all other bytes.
    pub checksum: U32,
    /// Identity of the parent of a differencing disk.
    pub parent_unique_id: [u8; 16],
    /// When the parent was last changed.
    pub parent_timestamp: U32,
    /// Zero.
    pub reserved: U32,
    /// Name of the parent, UTF-16BE.
    pub parent_name: [u8; 512],
    /// Eight locators of the parent, 24 bytes each.
    pub parent_locators: [Locator; 8],
    /// Zero.
    pub reserved_end: [u8; 256],
}

impl Header {
    /// A header for a new disk.
    pub fn new(table_offset: u64, max_table_entries: u32, block_size: u32) -> Self {
        let mut header = Self {
            cookie: COOKIE,
            data_offset: U64::new(u64::MAX),
            table_offset: U64::new(table_offset),
            version: U32::new(0x0001_0000),
            max_table_entries: U32::new(max_table_entries),
            block_size: U32::new(block_size),
            checksum: U32::new(0),
            parent_unique_id: [0; 16],
            parent_timestamp: U32::new(0),
            reserved: U32::new(0),
            parent_name: [0; 512],
            parent_locators: [Locator::new_zeroed(); 8],
            reserved_end: [0; 256],
        };
        header.seal();
        header
    }

    /// Computes the checksum anew after a change.
    pub fn seal(&mut self) {
        self.checksum = U32::new(checksum(self.as_bytes(), CHECKSUM_OFFSET));
    }

    /// The parent's locators, used and unused ones.
    pub fn locators(&self) -> &[Locator; 8] {
        &self.parent_locators
    }

    /// The parent's name, as people read it.
    pub fn parent_name(&self) -> String {
        text_of_units(
            self.parent_name
                .as_chunks()
                .0
                .iter()
                .map(|unit| u16::from_be_bytes(*unit)),
        )
    }

    /// Enters the parent's name; what is longer than 255 UTF-16 units loses its end.
    pub fn set_parent_name(&mut self, name: &str) {
        self.parent_name = [0; 512];
        let (room, _) = self.parent_name[..510].as_chunks_mut();
        for (slot, unit) in room.iter_mut().zip(name.encode_utf16()) {
            *slot = unit.to_be_bytes();
        }
    }

    /// Checks a header that was read at `offset`, for a disk of `size` bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(
        bytes: &[u8; HEADER_SIZE as usize],
        offset: u64,
        size: u64,
    ) -> Result<Self, DiskError> {
        let header =
            Self::read_from_bytes(bytes).map_err(|_| invalid(offset, "header cut short"))?;
        if header.cookie != COOKIE {
            return Err(invalid(
                offset,
                "no dynamic VHD header (\"cxsparse\" is missing)",
            ));
        }
        let sum = checksum(bytes, CHECKSUM_OFFSET);
        if header.checksum.get() != sum {
            return Err(invalid(
                offset,
                format!(
                    "the dynamic header's checksum is {:#010x}, its bytes give {sum:#010x}; restore the file from a copy",
                    header.checksum.get()
                ),
            ));
        }
        if header.version.get() >> 16 != 1 {
            return Err(invalid(
                offset,
                format!("header version {:#010x} is unknown", header.version.get()),
            ));
        }
        let block_size = header.block_size.get();
        // 4 KiB is the smallest whose bitmap fills a byte; larger than 256 MiB nobody makes.
        if !block_size.is_power_of_two() || !(4096..=256 << 20).contains(&block_size) {
            return Err(invalid(
                offset,
                format!("block size {block_size} is not a power of two from 4 KiB to 256 MiB"),
            ));
        }
        if header.max_table_entries.get() > MOST_ENTRIES {
            return Err(invalid(
                offset,
                format!(
                    "a table of {} blocks is more than the {MOST_ENTRIES} that are kept in memory; convert the disk to larger blocks where it was made",
                    header.max_table_entries.get()
                ),
            ));
        }
        let blocks = size.div_ceil(block_size.into());
        if u64::from(header.max_table_entries.get()) < blocks {
            return Err(invalid(
                offset,
                format!(
                    "the table of {} entries is too short for {blocks} blocks",
                    header.max_table_entries.get()
                ),
            ));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_1024_bytes_and_what_does_not_fit_is_refused() {
        let header = Header::new(1536, 10, 2 << 20);
        let bytes: [u8; 1024] = header.as_bytes().try_into().unwrap();
        assert_eq!(Header::parse(&bytes, 0, 20 << 20).unwrap(), header);
        assert!(Header::parse(&bytes, 0, (20 << 20) + 512).is_err());
        for bad in [0, 3 << 20, 2048, 512 << 20] {
            let bytes: [u8; 1024] = Header::new(1536, u32::MAX, bad)
                .as_bytes()
                .try_into()
                .unwrap();
            assert!(Header::parse(&bytes, 0, 512).is_err(), "block size {bad}");
        }
    }
}
