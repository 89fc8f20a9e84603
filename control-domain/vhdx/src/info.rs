//! What a file says of itself, without opening the disk: no parent is needed.

use crate::image::Image;
use crate::{Guid, ParentLink};
use disk::{DiskError, Storage};
use std::io;

/// The kind of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All blocks are in the file from the start.
    Fixed,
    /// Blocks are allocated when they are written.
    Dynamic,
    /// Sectors that were not written are the parent's.
    Differencing,
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its kind.
    pub kind: Kind,
    /// Who made the file.
    pub creator: String,
    /// Size of the disk in bytes.
    pub size: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Bytes of the sector that the guest addresses.
    pub logical_sector: u32,
    /// Bytes of the sector that the guest had best write whole.
    pub physical_sector: u32,
    /// What the guest sees as the disk's identity (SCSI inquiry page 83h).
    pub disk_id: Guid,
    /// Changes with every opening that writes to the file.
    pub file_write_guid: Guid,
    /// Changes with every opening that changes the content: what children remember.
    pub data_write_guid: Guid,
    /// Whether a log was left behind that is to be replayed.
    pub log_left: bool,
    /// Of a differencing disk.
    pub parent: Option<ParentLink>,
}

impl Info {
    /// Reads it and leaves the file as it is.
    ///
    /// # Errors
    /// If the file is no VHDX, not whole, or holds what is not known.
    pub fn read<S: Storage>(storage: &mut S) -> Result<Self, DiskError> {
        Image::open(Borrowed(storage), false).map(|image| Self::of(&image))
    }

    pub(crate) fn of<S: Storage>(image: &Image<S>) -> Self {
        let (metadata, header) = (&image.metadata, &image.headers.current);
        Self {
            kind: match (&metadata.parent, metadata.leave_allocated) {
                (Some(_), _) => Kind::Differencing,
                (None, true) => Kind::Fixed,
                (None, false) => Kind::Dynamic,
            },
            creator: image.creator.clone(),
            size: metadata.size,
            block_size: metadata.block_size,
            logical_sector: metadata.logical_sector,
            physical_sector: metadata.physical_sector,
            disk_id: metadata.disk_id,
            file_write_guid: header.file_write_guid,
            data_write_guid: header.data_write_guid,
            log_left: image.replayed,
            parent: metadata.parent.clone(),
        }
    }
}

impl ParentLink {
    /// Reads the link of a differencing disk, before its parent is at hand; `None` for other kinds.
    ///
    /// # Errors
    /// As [`Info::read`].
    pub fn read<S: Storage>(storage: &mut S) -> Result<Option<Self>, DiskError> {
        Info::read(storage).map(|info| info.parent)
    }
}

/// A storage that someone else owns.
pub(crate) struct Borrowed<'a, S>(pub &'a mut S);

impl<S: Storage> Storage for Borrowed<'_, S> {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, data)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
    fn length(&mut self) -> io::Result<u64> {
        self.0.length()
    }
    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }
    fn punch(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        self.0.punch(offset, length)
    }
}
