//! What can be plugged into a position of a cable.

use super::disk::Disk;
use super::dvd::DvdDrive;
use crate::block::BlockBackend;

/// What lies in a DVD drive: blocks of four sectors.
pub type Disc = Box<dyn BlockBackend>;

/// A drive, as a machine is put together.
pub enum Drive {
    /// A disk.
    Disk(Box<dyn BlockBackend>),
    /// A DVD drive and what lies in it.
    Dvd(Option<Disc>),
}

/// A drive in its place.
pub enum Device {
    /// An ATA disk.
    Disk(Disk),
    /// An ATAPI drive.
    Dvd(DvdDrive),
}
