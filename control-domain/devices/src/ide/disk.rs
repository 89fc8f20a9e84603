//! What an ATA disk remembers beyond its task file.

use crate::block::{BlockBackend, BlockError};

/// Bytes in a sector.
pub const SECTOR_BYTES: usize = 512;
/// Most sectors that READ and WRITE MULTIPLE move per interrupt.
pub const MAX_MULTIPLE: u8 = 16;
/// Largest address of a 28-bit command, plus one.
pub const LBA28_SECTORS: u64 = 1 << 28;

/// The shape that CHS addresses are translated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of cylinders.
    pub cylinders: u16,
    /// Number of heads.
    pub heads: u8,
    /// Sectors per track.
    pub sectors: u8,
}

impl Geometry {
    /// The default translation for a disk of this size (ATA-5 annex C).
    pub fn default_for(size_sectors: u64) -> Self {
        let cylinders = (size_sectors / (16 * 63)).min(16_383) as u16;
        Geometry {
            cylinders,
            heads: 16,
            sectors: 63,
        }
    }
}

/// A disk.
pub struct Disk {
    /// Its medium.
    pub backend: Box<dyn BlockBackend>,
    /// Size in sectors.
    pub size_sectors: u64,
    /// Serial number, 20 characters.
    pub serial: String,
    /// As set by INITIALIZE DEVICE PARAMETERS.
    pub geometry: Geometry,
    /// Sectors per interrupt of the MULTIPLE commands; 0 turns them off.
    pub multiple: u8,
    /// Transfer mode as set by SET FEATURES: type in bits 7:3, number in bits 2:0.
    pub transfer_mode: u8,
    /// Writes are complete before they are safe.
    pub write_cache: bool,
}

impl Disk {
    /// A disk at power-on.
    pub fn new(backend: Box<dyn BlockBackend>, serial: String) -> Self {
        let size_sectors = backend.size_sectors().min(1 << 48);
        Disk {
            backend,
            size_sectors,
            serial,
            geometry: Geometry::default_for(size_sectors),
            multiple: MAX_MULTIPLE,
            transfer_mode: 0x42,
            write_cache: true,
        }
    }

    /// Whether all of `count` sectors from `lba` on exist.
    pub fn contains(&self, lba: u64, count: u64) -> bool {
        lba.checked_add(count)
            .is_some_and(|end| end <= self.size_sectors)
    }

    /// Writes, and makes it safe where the write cache is off.
    pub fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        self.backend.write(lba, data)?;
        if self.write_cache {
            Ok(())
        } else {
            self.backend.flush()
        }
    }
}
