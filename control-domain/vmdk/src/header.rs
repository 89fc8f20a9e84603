//! The header of a sparse extent: its first 512 bytes, and its footer where the directory was
//! written last ("Hosted Sparse Extents"). All numbers are little-endian.

use disk::{DiskError, SECTOR_SIZE, invalid};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of a header in bytes.
pub const HEADER_SIZE: u64 = 512;
/// Directory offset of a file whose footer has the true one.
pub const DIRECTORY_AT_END: u64 = u64::MAX;

const MAGIC: [u8; 4] = *b"KDMV";
const NEWLINES_VALID: u32 = 1;
const ZERO_ENTRIES: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
/// The only compression there is: RFC 1950 (zlib).
const DEFLATE: u16 = 1;

/// The largest grain: 1 MiB. VMware writes 64 KiB.
const MOST_GRAIN_SECTORS: u64 = 2048;
/// The largest table; VMware writes 512 entries.
const MOST_TABLE_ENTRIES: u32 = 4096;
/// The largest extent: 64 TiB.
const MOST_SECTORS: u64 = (64 << 40) / SECTOR_SIZE;

/// A header as it lies in the file.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// "KDMV".
    pub magic: [u8; 4],
    /// 1, 2 or 3.
    pub version: U32,
    /// What is valid and how data lies.
    pub flags: U32,
    /// Size of the extent in sectors.
    pub capacity: U64,
    /// Sectors of a grain, a power of two.
    pub grain_size: U64,
    /// First sector of the descriptor, 0 if there is none.
    pub descriptor_offset: U64,
    /// Its size in sectors.
    pub descriptor_size: U64,
    /// Entries of a grain table.
    pub table_entries: U32,
    /// First sector of the second grain directory.
    pub redundant_directory_offset: U64,
    /// First sector of the grain directory.
    pub directory_offset: U64,
    /// Sectors in front of the first grain.
    pub overhead: U64,
    /// 1 while somebody writes.
    pub unclean_shutdown: u8,
    /// Line feed, space, carriage return, line feed: a copy that took the file for text changes them.
    pub newlines: [u8; 4],
    /// How grains are compressed.
    pub compression: U16,
    /// Zero.
    pub padding: [u8; 433],
}

/// Whether a file begins as a sparse extent does.
pub fn is_sparse(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

impl Header {
    /// Checks a header that was read at `offset`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8; HEADER_SIZE as usize], offset: u64) -> Result<Self, DiskError> {
        let header =
            Self::read_from_bytes(bytes).map_err(|_| invalid(offset, "header cut short"))?;
        header
            .check()
            .map_err(|(field, reason)| invalid(offset + field, reason))?;
        Ok(header)
    }

    /// What is wrong, and where in the header.
    fn check(&self) -> Result<(), (u64, String)> {
        let refuse = |field, reason: String| Err((field, reason));
        if self.magic != MAGIC {
            return refuse(0, "no VMDK header (\"KDMV\" is missing)".into());
        }
        let version = self.version.get();
        if !(1..=3).contains(&version) {
            return refuse(
                4,
                format!("VMDK version {version} is unknown, 1 to 3 are known"),
            );
        }
        if self.has(NEWLINES_VALID) && self.newlines != *b"\n \r\n" {
            return refuse(
                73,
                format!(
                    "the line ends are {:?}, not \"\\n \\r\\n\": the file was copied as text; copy it again in binary mode",
                    self.newlines.escape_ascii().to_string()
                ),
            );
        }
        let compression = (
            self.has(COMPRESSED),
            self.has(MARKERS),
            self.compression.get(),
        );
        if !matches!(compression, (false, _, _) | (true, true, DEFLATE)) {
            return refuse(
                8,
                format!(
                    "flags {:#x} with compression {} are not those of a stream-optimized disk",
                    self.flags.get(),
                    self.compression.get()
                ),
            );
        }
        let (capacity, grain) = (self.capacity.get(), self.grain_size.get());
        if capacity == 0 || capacity > MOST_SECTORS {
            return refuse(
                12,
                format!("{capacity} sectors are not a size up to 64 TiB"),
            );
        }
        if !grain.is_power_of_two() || grain > MOST_GRAIN_SECTORS {
            return refuse(
                20,
                format!(
                    "grains of {grain} sectors are not a power of two up to {MOST_GRAIN_SECTORS}"
                ),
            );
        }
        let entries = self.table_entries.get();
        if entries == 0 || entries > MOST_TABLE_ENTRIES {
            return refuse(
                44,
                format!(
                    "grain tables of {entries} entries are not within 1 to {MOST_TABLE_ENTRIES}"
                ),
            );
        }
        Ok(())
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.get() & flag != 0
    }

    /// Whether grains are compressed, each behind its marker.
    pub fn is_compressed(&self) -> bool {
        self.has(COMPRESSED)
    }

    /// Whether entry 1 of a table means a grain of zeros.
    pub fn has_zero_entries(&self) -> bool {
        self.has(ZERO_ENTRIES)
    }

    /// Bytes of a grain.
    pub fn grain_bytes(&self) -> u64 {
        self.grain_size.get() * SECTOR_SIZE
    }

    /// Bytes of the extent.
    pub fn bytes(&self) -> u64 {
        self.capacity.get() * SECTOR_SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(change: impl Fn(&mut Header)) -> [u8; 512] {
        let mut header = Header {
            magic: MAGIC,
            version: U32::new(1),
            flags: U32::new(3),
            capacity: U64::new(8192),
            grain_size: U64::new(128),
            descriptor_offset: U64::new(1),
            descriptor_size: U64::new(20),
            table_entries: U32::new(512),
            redundant_directory_offset: U64::new(21),
            directory_offset: U64::new(26),
            overhead: U64::new(128),
            unclean_shutdown: 0,
            newlines: *b"\n \r\n",
            compression: U16::new(0),
            padding: [0; 433],
        };
        change(&mut header);
        header.as_bytes().try_into().unwrap()
    }

    #[test]
    fn the_layout_is_that_of_real_files() {
        let bytes = bytes(|_| ());
        assert_eq!(bytes[44..48], [0, 2, 0, 0]);
        assert_eq!(bytes[56..64], [26, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[72..77], *b"\0\n \r\n");
        assert_eq!(Header::parse(&bytes, 0).unwrap().grain_bytes(), 65536);
    }

    #[test]
    fn each_field_that_does_not_fit_is_named_by_its_offset() {
        type Change = fn(&mut Header);
        let changes: [(Change, u64); 9] = [
            (|h| h.magic[0] = 0, 0),
            (|h| h.version = U32::new(4), 4),
            (|h| h.flags = U32::new(COMPRESSED), 8),
            (|h| h.flags = U32::new(COMPRESSED | MARKERS), 8),
            (|h| h.capacity = U64::new(u64::MAX), 12),
            (|h| h.grain_size = U64::new(3), 20),
            (|h| h.grain_size = U64::new(1 << 20), 20),
            (|h| h.table_entries = U32::new(0), 44),
            (|h| h.newlines = *b"\r\n \n", 73),
        ];
        for (change, offset) in changes {
            match Header::parse(&bytes(change), 0x1000) {
                Err(DiskError::Invalid { offset: at, .. }) => assert_eq!(at, 0x1000 + offset),
                other => panic!("field at {offset}: {other:?}"),
            }
        }
    }
}
