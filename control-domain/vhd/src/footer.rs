//! The footer: the last 512 bytes of a VHD, and of a dynamic one the first too (specification 1.0,
//! "Hard Disk Footer Format"). All numbers are big-endian.

use disk::{DiskError, SECTOR_SIZE, invalid};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of a footer in bytes.
pub const FOOTER_SIZE: u64 = 512;
/// Data offset of a disk without a header.
pub const NO_HEADER: u64 = u64::MAX;
/// The largest disk that the format holds: 2040 GiB.
pub const MAX_SIZE: u64 = 2040 << 30;

/// How every footer begins.
pub const COOKIE: [u8; 8] = *b"conectix";

/// Cylinders, heads, sectors per track, as the IDE standard had them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: U16,
    /// Heads.
    pub heads: u8,
    /// Sectors per track.
    pub sectors: u8,
}

impl Geometry {
    /// The geometry that the specification's appendix gives a disk of so many bytes.
    pub fn of_size(size: u64) -> Self {
        let total = (size / SECTOR_SIZE).min(65535 * 16 * 255);
        let (sectors, heads, tracks);
        if total >= 65535 * 16 * 63 {
            (sectors, heads) = (255, 16);
            tracks = total / sectors;
        } else {
            let mut s = 17;
            let mut t = total / s;
            let mut h = t.div_ceil(1024).max(4);
            if t >= h * 1024 || h > 16 {
                (s, h) = (31, 16);
                t = total / s;
            }
            if t >= h * 1024 {
                (s, h) = (63, 16);
                t = total / s;
            }
            (sectors, heads, tracks) = (s, h, t);
        }
        Self {
            cylinders: U16::new((tracks / heads) as u16),
            heads: heads as u8,
            sectors: sectors as u8,
        }
    }
}

/// A footer as it lies in the file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Footer {
    /// "conectix".
    pub cookie: [u8; 8],
    /// Bit 1 is always set; bit 0 marks a temporary disk.
    pub features: U32,
    /// 1.0, as 0x0001_0000.
    pub version: U32,
    /// Where the dynamic header lies, or [`NO_HEADER`].
    pub data_offset: U64,
    /// Seconds since 2000-01-01 UTC.
    pub timestamp: U32,
    /// Who made the disk: "vpc ", "vs  ", "win " …
    pub creator: [u8; 4],
    /// Its version.
    pub creator_version: U32,
    /// The system it ran on.
    pub creator_os: [u8; 4],
    /// Size in bytes when the disk was made.
    pub original_size: U64,
    /// Size in bytes now.
    pub current_size: U64,
    /// Geometry.
    pub geometry: Geometry,
    /// A [`DiskType`].
    pub disk_type: U32,
    /// Ones' complement of the sum of all other bytes.
    pub checksum: U32,
    /// The disk's identity.
    pub unique_id: [u8; 16],
    /// 1 while the machine is saved.
    pub saved_state: u8,
    /// Zero.
    pub reserved: [u8; 427],
}

/// The kinds of VHD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskType {
    /// The data, then the footer.
    Fixed,
    /// Blocks that are allocated when they are written.
    Dynamic,
    /// Like dynamic; what it does not hold is its parent's.
    Differencing,
}

/// Ones' complement of the sum of all bytes but the four of the checksum itself.
pub fn checksum(bytes: &[u8], checksum_offset: usize) -> u32 {
    let sum = bytes
        .iter()
        .enumerate()
        .filter(|(at, _)| !(checksum_offset..checksum_offset + 4).contains(at))
        .fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    !sum
}

const CHECKSUM_OFFSET: usize = 64;

impl Footer {
    /// A footer for a new disk. `data_offset` is [`NO_HEADER`] for a fixed one.
    pub fn new(
        kind: DiskType,
        size: u64,
        data_offset: u64,
        unique_id: [u8; 16],
        timestamp: u32,
    ) -> Self {
        let mut footer = Self {
            cookie: COOKIE,
            features: U32::new(2),
            version: U32::new(0x0001_0000),
            data_offset: U64::new(data_offset),
            timestamp: U32::new(timestamp),
            // Readers that choose between size and geometry by creator take the size for this one.
            creator: *b"win ",
            creator_version: U32::new(0x000a_0000),
            creator_os: *b"Wi2k",
            original_size: U64::new(size),
            current_size: U64::new(size),
            geometry: Geometry::of_size(size),
            disk_type: U32::new(match kind {
                DiskType::Fixed => 2,
                DiskType::Dynamic => 3,
                DiskType::Differencing => 4,
            }),
            checksum: U32::new(0),
            unique_id,
            saved_state: 0,
            reserved: [0; 427],
        };
        footer.seal();
        footer
    }

    /// Computes the checksum anew after a change.
    pub fn seal(&mut self) {
        self.checksum = U32::new(checksum(self.as_bytes(), CHECKSUM_OFFSET));
    }

    /// Checks a footer that was read at `offset`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8; FOOTER_SIZE as usize], offset: u64) -> Result<Self, DiskError> {
        let footer =
            Self::read_from_bytes(bytes).map_err(|_| invalid(offset, "footer cut short"))?;
        if footer.cookie != COOKIE {
            return Err(invalid(offset, "no VHD footer (\"conectix\" is missing)"));
        }
        let sum = checksum(bytes, CHECKSUM_OFFSET);
        if footer.checksum.get() != sum {
            return Err(invalid(
                offset,
                format!(
                    "the VHD footer's checksum is {:#010x}, its bytes give {sum:#010x}; restore the file from a copy",
                    footer.checksum.get()
                ),
            ));
        }
        if footer.version.get() >> 16 != 1 {
            return Err(invalid(
                offset,
                format!(
                    "VHD format version {:#010x} is unknown",
                    footer.version.get()
                ),
            ));
        }
        let size = footer.current_size.get();
        if size == 0 || !size.is_multiple_of(SECTOR_SIZE) || size > MAX_SIZE {
            return Err(invalid(
                offset,
                format!("disk size {size} is not a number of sectors up to 2040 GiB"),
            ));
        }
        footer.kind(offset)?;
        Ok(footer)
    }

    /// The kind of disk.
    ///
    /// # Errors
    /// If the number is none of the specification's.
    pub fn kind(&self, offset: u64) -> Result<DiskType, DiskError> {
        match self.disk_type.get() {
            2 => Ok(DiskType::Fixed),
            3 => Ok(DiskType::Dynamic),
            4 => Ok(DiskType::Differencing),
            other => Err(invalid(offset, format!("VHD disk type {other} is unknown"))),
        }
    }
}

impl Footer {
    /// Size in bytes as the geometry has it: what Virtual PC's BIOS showed. The disk's is `current_size`.
    pub fn geometry_size(&self) -> u64 {
        let tracks = u64::from(self.geometry.cylinders.get()) * u64::from(self.geometry.heads);
        tracks * u64::from(self.geometry.sectors) * SECTOR_SIZE
    }

    /// Who made the disk, as text: "win 10.0" and the like.
    pub fn creator_name(&self) -> String {
        let name: String = self
            .creator
            .iter()
            .map(|b| char::from(*b))
            .filter(|c| c.is_ascii_graphic())
            .collect();
        let version = self.creator_version.get();
        format!("{name} {}.{}", version >> 16, version & 0xffff)
    }

    /// Whether the disk needs a parent.
    pub fn is_differencing(&self) -> bool {
        self.disk_type.get() == 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_512_bytes_and_round_trips() {
        let footer = Footer::new(DiskType::Dynamic, 20 << 20, 512, [7; 16], 1);
        let bytes: [u8; 512] = footer.as_bytes().try_into().unwrap();
        assert_eq!(&bytes[..8], b"conectix");
        assert_eq!(bytes[60..64], [0, 0, 0, 3]);
        assert_eq!(Footer::parse(&bytes, 0).unwrap(), footer);
        for at in [3, 50, 70, 500] {
            let mut bad = bytes;
            bad[at] ^= 1;
            assert!(Footer::parse(&bad, 0).is_err(), "byte {at}");
        }
    }

    #[test]
    fn geometries_are_those_of_real_disks() {
        let of = |size| {
            let g = Geometry::of_size(size);
            (g.cylinders.get(), g.heads, g.sectors)
        };
        // Virtual PC's 256 MiB disk and its 127 GiB disk.
        assert_eq!(of(268_435_456), (520, 16, 63));
        assert_eq!(of(136_365_211_648), (65278, 16, 255));
        assert_eq!(of(u64::MAX), (65535, 16, 255));
        assert_eq!(of(512), (0, 4, 17));
    }
}
