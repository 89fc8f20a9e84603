//! What a virtual disk is: [`Disk`] above, [`Storage`] below; the formats' crates lie between.
//!
//! - A [`Disk`] is bytes from 0 to its size. It says of each stretch where its bytes lie
//!   ([`Disk::extent`]), and lets whoever moves much data go to the file past it ([`Disk::direct`]).
//! - A [`Storage`] is a file, or something that behaves like one: tests put storages below that
//!   forget unflushed writes, fail, or count.
//!
//! What is absent: any format (but [`Raw`], which is none), unsafe code, and a panic on what a file says.
#![forbid(unsafe_code)]

mod direct;
mod error;
mod extent;
mod raw;
mod storage;

pub use direct::{Access, Direct, DirectFile};
pub use error::{DiskError, invalid};
pub use extent::{Extent, Place};
pub use raw::Raw;
pub use storage::{Checked, FileStorage, Storage};

/// The smallest sector in bytes; offsets and lengths in the formats count in it.
pub const SECTOR_SIZE: u64 = 512;

/// An open disk. Offsets and lengths are in bytes and may be anything within [`Disk::size`].
pub trait Disk: Send {
    /// Size in bytes, as the guest sees it; a multiple of [`Disk::logical_sector_size`].
    fn size(&self) -> u64;

    /// Bytes of the sector that the guest addresses: 512 or 4096.
    fn logical_sector_size(&self) -> u32 {
        SECTOR_SIZE as u32
    }

    /// Fills `data` from `offset` on.
    ///
    /// # Errors
    /// If the range ends behind the disk, or the file can't be read.
    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError>;

    /// Stores `data` from `offset` on. It is safe from a power cut after the next [`Disk::flush`].
    ///
    /// # Errors
    /// If the range ends behind the disk, the disk is read-only, or the file can't be written. After
    /// an error of which [`DiskError::is_out_of_space`] is true nothing is lost, and the same write
    /// works when there is room.
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything written so far would survive a power cut.
    ///
    /// # Errors
    /// If the file can't be written; what was written since the last flush may then be lost.
    fn flush(&mut self) -> Result<(), DiskError>;

    /// The guest has no more use for a range (TRIM, UNMAP). A disk may give space back; what reads
    /// afterwards is either the old bytes or zeros, and stays the same until it is written. Whether
    /// anything is given back is the format's business, so doing nothing is right too.
    ///
    /// # Errors
    /// As [`Disk::write`].
    fn discard(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        check_range_u64(self.size(), offset, length)
    }

    /// Where the bytes from `offset` on lie, and for how many of them that holds.
    ///
    /// # Errors
    /// If `offset` is not within the disk, or the file can't be read.
    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError>;

    /// Whether the bytes from `offset` on may be read or stored past the disk, and where: an answer for the
    /// first of `length` bytes. Bytes may be stored so where that changes nothing but them; the flushes
    /// that follow make safe what had been stored when they began.
    ///
    /// An answer holds until the range is discarded or the disk is closed. Whoever acts on it sees to it that
    /// nothing of the range is written or discarded by the disk meanwhile.
    ///
    /// # Errors
    /// If the range ends behind the disk, or the file can't be read, or not be written.
    fn direct(&mut self, offset: u64, length: u64, access: Access) -> Result<Direct, DiskError> {
        let _ = access;
        check_range_u64(self.size(), offset, length)?;
        Ok(Direct::by_the_disk(length))
    }

    /// Where the bytes from `offset` on presumably are, for reading, if [`Disk::direct`] would have to wait for the
    /// file to say so; what it waits for has been begun. None if `direct` knows, or nothing can be presumed.
    ///
    /// Whoever reads there asks `direct` afterwards, and throws away what was read unless that says the same.
    ///
    /// # Errors
    /// If the range ends behind the disk.
    fn presumed(&mut self, offset: u64, length: u64) -> Result<Option<Direct>, DiskError> {
        check_range_u64(self.size(), offset, length)?;
        Ok(None)
    }

    /// Flushes and gives back what the disk holds in reserve. The disk stays usable.
    ///
    /// # Errors
    /// As [`Disk::flush`].
    fn close(&mut self) -> Result<(), DiskError> {
        self.flush()
    }
}

/// Checks that a range lies within a disk.
///
/// # Errors
/// [`DiskError::OutOfRange`] if not.
pub fn check_range(size: u64, offset: u64, length: usize) -> Result<(), DiskError> {
    check_range_u64(size, offset, length as u64)
}

/// As [`check_range`], for a length that is not one of a slice.
///
/// # Errors
/// [`DiskError::OutOfRange`] if not.
pub fn check_range_u64(size: u64, offset: u64, length: u64) -> Result<(), DiskError> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(DiskError::OutOfRange {
            offset,
            length,
            size,
        }),
    }
}
