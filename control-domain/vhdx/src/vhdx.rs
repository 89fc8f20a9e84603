//! An open disk: what is where, and the guest's requests.

use crate::bat::State;
use crate::image::Image;
use crate::log::Log;
use crate::space::Space;
use crate::{Guid, Info};
use disk::{
    Access, Direct, Disk, DiskError, Extent, Place, Storage, check_range, check_range_u64, invalid,
};

/// An open VHDX: fixed, dynamic or differencing.
pub struct Vhdx<S: Storage> {
    pub(crate) image: Image<S>,
    pub(crate) parent: Option<Box<dyn Disk>>,
    pub(crate) writable: bool,
    pub(crate) log: Log,
    pub(crate) space: Space,
    /// Whether something was written that no flush followed.
    pub(crate) unflushed: bool,
    /// Whether anyone may write past the disk: then it does not know whether there is something to flush.
    pub(crate) direct: bool,
}

/// What holds a stretch of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Zero,
    Parent,
    /// Offset in the file.
    File(u64),
}

impl<S: Storage> Vhdx<S> {
    /// Opens a disk; a differencing one with the disk that it was made on (see
    /// [`ParentLink::verify`](crate::ParentLink::verify), which is the caller's to ask). A log that was
    /// left behind is replayed, in memory only if the disk is not `writable`.
    ///
    /// # Errors
    /// If the file is no VHDX, not whole, or holds what is not known; or if the parent is missing or no match.
    pub fn open(
        storage: S,
        parent: Option<Box<dyn Disk>>,
        writable: bool,
    ) -> Result<Self, DiskError> {
        let image = Image::open(storage, writable)?;
        let unsupported = |reason: String| Err(DiskError::Unsupported { reason });
        match (&image.metadata.parent, &parent) {
            (Some(link), None) => {
                let paths = [link.relative_path(), link.absolute_win32_path()];
                let path = paths.into_iter().flatten().next().unwrap_or("(no path)");
                return unsupported(format!(
                    "a differencing disk needs its parent, {path}; give it"
                ));
            }
            (None, Some(_)) => {
                return unsupported("the disk has no parent, but one was given".into());
            }
            (Some(_), Some(parent))
                if parent.logical_sector_size() != image.metadata.logical_sector =>
            {
                return unsupported(format!(
                    "the parent has sectors of {} bytes, this disk of {}; give the right parent",
                    parent.logical_sector_size(),
                    image.metadata.logical_sector
                ));
            }
            _ => {}
        }
        Ok(Self {
            image,
            parent,
            writable,
            log: Log::new(Guid::random()),
            space: Space::default(),
            unflushed: false,
            direct: false,
        })
    }

    /// Derives the identifiers that the file gets while it is written from this one instead of from chance, so
    /// that the same writes leave the same bytes. For a disk that was just opened. What its data write GUID
    /// will be is [`next_data_write_guid`](crate::next_data_write_guid).
    #[must_use]
    pub fn with_seed(mut self, seed: Guid) -> Self {
        self.log = Log::new(seed);
        self
    }

    /// What the file says of itself, as of now.
    pub fn info(&self) -> Info {
        Info::of(&self.image)
    }

    /// Changes with the content: what children of this disk remember.
    pub fn data_write_guid(&self) -> Guid {
        self.image.headers.current.data_write_guid
    }

    /// What holds the bytes from `offset` on, and for how many of them (at most `limit`) that holds.
    pub(crate) fn locate(&mut self, offset: u64, limit: u64) -> Result<(Source, u64), DiskError> {
        let geometry = self.image.geometry;
        let (block, inside) = (offset / geometry.block_size, offset % geometry.block_size);
        let length = limit.min(geometry.block_length(block) - inside);
        let entry = self.image.payload(block)?;
        let source = match entry.state {
            State::FullyPresent => Source::File(entry.offset + inside),
            State::NotPresent if geometry.differencing => Source::Parent,
            State::PartiallyPresent => {
                let base = self.bitmap_of(block)?;
                let sector = geometry.sector_size;
                let sectors = (offset + length).div_ceil(sector) - offset / sector;
                let (set, run) = self.image.pages.run(
                    &mut self.image.file,
                    base,
                    geometry.bit(offset),
                    sectors,
                )?;
                let length = length.min((offset / sector + run) * sector - offset);
                let source = if set {
                    Source::File(entry.offset + inside)
                } else {
                    Source::Parent
                };
                return Ok((source, length));
            }
            _ => Source::Zero,
        };
        Ok((source, length))
    }

    /// The sector bitmap of a block that is partially present.
    pub(crate) fn bitmap_of(&mut self, block: u64) -> Result<u64, DiskError> {
        let bitmap = self.image.bitmap(block)?;
        let geometry = &self.image.geometry;
        bitmap.ok_or_else(|| {
            let at = geometry.entry_offset(geometry.bitmap_index(block));
            invalid(
                at,
                format!("block {block} is in part the parent's, but its sector bitmap is missing"),
            )
        })
    }

    fn read_parent(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let Some(parent) = &mut self.parent else {
            data.fill(0);
            return Ok(());
        };
        // A child may have been made larger.
        let there = parent.size().saturating_sub(offset).min(data.len() as u64) as usize;
        data[there..].fill(0);
        if there == 0 {
            return Ok(());
        }
        parent.read(offset, &mut data[..there])
    }
}

impl<S: Storage> Disk for Vhdx<S> {
    fn size(&self) -> u64 {
        self.image.geometry.size
    }

    fn logical_sector_size(&self) -> u32 {
        self.image.metadata.logical_sector
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size(), offset, data.len())?;
        let mut at = 0;
        while at < data.len() {
            let (source, length) = self.locate(offset + at as u64, (data.len() - at) as u64)?;
            let part = &mut data[at..at + length as usize];
            match source {
                Source::Zero => part.fill(0),
                Source::Parent => self.read_parent(offset + at as u64, part)?,
                Source::File(place) => self.image.file.read(place, part)?,
            }
            at += length as usize;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        check_range(self.size(), offset, data.len())?;
        self.write_range(offset, data)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        if self.unflushed {
            self.commit()
        } else if self.direct {
            self.image.file.flush()
        } else {
            Ok(())
        }
    }

    fn discard(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size());
        let Some(end) = end else {
            return Err(DiskError::OutOfRange {
                offset,
                length,
                size: self.size(),
            });
        };
        self.discard_range(offset..end)
    }

    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        check_range(self.size(), offset, 1)?;
        let (source, length) = self.locate(offset, u64::MAX - offset)?;
        let zero = |length| Extent {
            length,
            place: Place::Zero,
        };
        Ok(match (source, &mut self.parent) {
            (Source::File(offset), _) => Extent {
                length,
                place: Place::File { depth: 0, offset },
            },
            (Source::Parent, Some(parent)) if offset < parent.size() => {
                let extent = parent.extent(offset)?;
                Extent {
                    length: extent.length.min(length),
                    place: extent.place.of_parent(),
                }
            }
            _ => zero(length),
        })
    }

    fn direct(&mut self, offset: u64, length: u64, access: Access) -> Result<Direct, DiskError> {
        check_range_u64(self.size(), offset, length)?;
        let (source, length) = self.locate(offset, length)?;
        match (source, &mut self.parent) {
            (Source::File(at), _) => {
                if access == Access::Write {
                    self.mark(true)?;
                    self.direct = true;
                }
                let place = self.image.file.0.direct().map(|file| (file, at));
                Ok(Direct { length, place })
            }
            (Source::Parent, Some(parent)) if access == Access::Read && offset < parent.size() => {
                parent.direct(offset, length.min(parent.size() - offset), access)
            }
            _ => Ok(Direct::by_the_disk(length)),
        }
    }

    fn close(&mut self) -> Result<(), DiskError> {
        self.flush()?;
        self.end_log()
    }
}
