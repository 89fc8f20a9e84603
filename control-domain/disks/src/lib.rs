//! Disks as files in Microsoft's formats, read and written in place.
//!
//! [`open`] looks at a file and answers a [`Disk`]; a machine's bytes lie in that file and nowhere
//! else. Three layers: `footer`, `header`, `bat` are the layouts of the VHD specification 1.0;
//! `dynamic`, `fixed`, `raw` are the logic over any [`Storage`]; `storage` is the file.
//!
//! What is absent:
//! - no unsafe code, no panic on what a file says: sizes and offsets are claims until checked;
//! - no conversion and no repair behind the person's back: what is not fully understood is
//!   refused, with the reason, the offset and the way out;
//! - no moment at which a power cut leaves a file that does not open, or loses what was flushed.
//!
//! *The size of a disk* is the footer's current size, whoever made it. For disks of Virtual PC
//! some readers take the smaller product of its geometry; its own guests saw the geometry through
//! the BIOS but the current size in IDENTIFY DEVICE, and Hyper-V takes the current size.
#![forbid(unsafe_code)]

mod bat;
mod create;
mod dynamic;
mod error;
mod fixed;
mod footer;
mod header;
mod open;
mod raw;
mod storage;

pub use create::create_dynamic;
pub use dynamic::Dynamic;
pub use error::DiskError;
pub use fixed::Fixed;
pub use footer::{DiskType, Footer, Geometry};
pub use open::{Format, Opened, open, open_storage};
pub use raw::Raw;
pub use storage::{FileStorage, Storage};

/// Size of a sector in bytes. VHD knows no other.
pub const SECTOR_SIZE: u64 = 512;

/// An open disk. Offsets and lengths are in bytes and may be anything within [`Disk::size`].
pub trait Disk: Send {
    /// Size in bytes, as the guest sees it; a multiple of [`SECTOR_SIZE`].
    fn size(&self) -> u64;

    /// Fills `data` from `offset` on.
    ///
    /// # Errors
    /// If the range ends behind the disk, or the file can't be read.
    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError>;

    /// Stores `data` from `offset` on. It is safe from a power cut after the next [`Disk::flush`].
    ///
    /// # Errors
    /// If the range ends behind the disk, the disk is read-only, or the file can't be written.
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything written so far would survive a power cut.
    ///
    /// # Errors
    /// If the file can't be written; what was written since the last flush may then be lost.
    fn flush(&mut self) -> Result<(), DiskError>;

    /// Flushes and gives back what the disk holds in reserve. The disk stays usable.
    ///
    /// # Errors
    /// As [`Disk::flush`].
    fn close(&mut self) -> Result<(), DiskError> {
        self.flush()
    }
}

/// Checks that a range lies within a disk.
fn check_range(size: u64, offset: u64, length: usize) -> Result<(), DiskError> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(DiskError::OutOfRange {
            offset,
            length,
            size,
        }),
    }
}
