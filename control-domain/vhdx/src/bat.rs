//! The block allocation table, section 2.5: where each block is, and in which state.

use crate::MIB;
use crate::metadata::Metadata;
use disk::{DiskError, invalid};

const OFFSET_SHIFT: u32 = 20;
const STATE_MASK: u64 = 7;
/// Sectors whose bits fill a sector bitmap block.
const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// States of a payload block, section 2.5.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Never written: the parent's, or zeros.
    NotPresent = 0,
    /// What it holds is not defined: zeros here.
    Undefined = 1,
    /// Zeros.
    Zero = 2,
    /// Discarded by the guest: zeros here.
    Unmapped = 3,
    /// In the file.
    FullyPresent = 6,
    /// Of a differencing disk: the sectors whose bit is set are in the file.
    PartiallyPresent = 7,
}

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The block's state.
    pub state: State,
    /// Where it is in the file; means something in the two last states only.
    pub offset: u64,
}

impl Entry {
    /// Reads a value; `None` for the states 4 and 5, which are not there.
    pub fn decode(value: u64) -> Option<Self> {
        let state = match value & STATE_MASK {
            0 => State::NotPresent,
            1 => State::Undefined,
            2 => State::Zero,
            3 => State::Unmapped,
            6 => State::FullyPresent,
            7 => State::PartiallyPresent,
            _ => return None,
        };
        Some(Self {
            state,
            offset: value >> OFFSET_SHIFT << OFFSET_SHIFT,
        })
    }

    /// The value for the file.
    pub fn encode(self) -> u64 {
        self.offset | self.state as u64
    }

    /// Whether the block is in the file.
    pub fn is_present(self) -> bool {
        matches!(self.state, State::FullyPresent | State::PartiallyPresent)
    }
}

/// Sizes and counts that follow from the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of the disk in bytes.
    pub size: u64,
    /// Bytes of a payload block.
    pub block_size: u64,
    /// Bytes of a logical sector.
    pub sector_size: u64,
    /// Payload blocks that share a sector bitmap block.
    pub chunk_ratio: u64,
    /// Whether there are sector bitmaps.
    pub differencing: bool,
    /// Where the table begins.
    pub bat_offset: u64,
}

impl Geometry {
    /// Of a file whose table lies at `bat`.
    ///
    /// # Errors
    /// If the table is too short for the disk.
    pub fn new(metadata: &Metadata, bat: &core::ops::Range<u64>) -> Result<Self, DiskError> {
        let sector_size = u64::from(metadata.logical_sector);
        let geometry = Self {
            size: metadata.size,
            block_size: metadata.block_size,
            sector_size,
            chunk_ratio: SECTORS_PER_BITMAP * sector_size / metadata.block_size,
            differencing: metadata.parent.is_some(),
            bat_offset: bat.start,
        };
        let wanted = geometry.entries(metadata.size) * 8;
        if wanted > bat.end - bat.start {
            let reason = format!(
                "the block table of {} bytes is too short for the disk, which needs {wanted}",
                bat.end - bat.start
            );
            return Err(invalid(bat.start, reason));
        }
        Ok(geometry)
    }

    /// Number of payload blocks.
    pub fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block_size)
    }

    /// Number of table entries for a disk of `size` bytes.
    pub fn entries(&self, size: u64) -> u64 {
        let blocks = size.div_ceil(self.block_size);
        if self.differencing {
            blocks.div_ceil(self.chunk_ratio) * (self.chunk_ratio + 1)
        } else {
            blocks + (blocks.max(1) - 1) / self.chunk_ratio
        }
    }

    /// Index of a payload block's entry.
    pub fn index(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio
    }

    /// Index of the entry of the sector bitmap that covers a payload block.
    pub fn bitmap_index(&self, block: u64) -> u64 {
        (block / self.chunk_ratio + 1) * (self.chunk_ratio + 1) - 1
    }

    /// Whether an entry is one of a sector bitmap.
    pub fn is_bitmap(&self, index: u64) -> bool {
        index % (self.chunk_ratio + 1) == self.chunk_ratio
    }

    /// Offset of an entry in the file.
    pub fn entry_offset(&self, index: u64) -> u64 {
        self.bat_offset + index * 8
    }

    /// Bytes of a block that belong to the disk; the last one may reach over its end.
    pub fn block_length(&self, block: u64) -> u64 {
        self.block_size.min(self.size - block * self.block_size)
    }

    /// Number of the bit of a byte of the disk in its sector bitmap block.
    pub fn bit(&self, offset: u64) -> u64 {
        offset / self.sector_size % SECTORS_PER_BITMAP
    }
}

/// Bytes of a sector bitmap block.
pub const BITMAP_SIZE: u64 = MIB;
