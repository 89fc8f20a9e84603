//! A raw disk: the file is the disk.

use crate::error::invalid;
use crate::storage::{Checked, Storage};
use crate::{
    Access, Direct, Disk, DiskError, Extent, Place, SECTOR_SIZE, check_range, check_range_u64,
};

/// A raw disk.
pub struct Raw<S> {
    storage: Checked<S>,
    size: u64,
    writable: bool,
    /// Whether what the guest discards goes back to the host.
    gives_room_back: bool,
}

impl<S: Storage> Raw<S> {
    /// Opens a file whose length is the disk's size.
    ///
    /// # Errors
    /// If the length is not a whole number of sectors.
    pub fn open(storage: S, writable: bool) -> Result<Self, DiskError> {
        let mut storage = Checked(storage);
        let size = storage.length()?;
        if size == 0 || !size.is_multiple_of(SECTOR_SIZE) {
            return Err(invalid(
                size,
                "a raw disk must be a whole number of 512-byte sectors",
            ));
        }
        Ok(Self {
            gives_room_back: true,
            ..Self::of_size(storage.0, size, writable)
        })
    }

    /// The first `size` bytes of a storage, all of whose room stays taken whatever is discarded; what lies
    /// behind them is not the disk's.
    pub fn of_size(storage: S, size: u64, writable: bool) -> Self {
        Self {
            storage: Checked(storage),
            size,
            writable,
            gives_room_back: false,
        }
    }
}

impl<S: Storage> Disk for Raw<S> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, data.len())?;
        self.storage.read(offset, data)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, data.len())?;
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        self.storage.write(offset, data)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        if self.writable {
            self.storage.flush()
        } else {
            Ok(())
        }
    }

    fn discard(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        check_range_u64(self.size, offset, length)?;
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        if self.gives_room_back {
            self.storage.punch(offset, length);
        }
        Ok(())
    }

    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        check_range(self.size, offset, 1)?;
        Ok(Extent {
            length: self.size - offset,
            place: Place::File { depth: 0, offset },
        })
    }

    fn direct(&mut self, offset: u64, length: u64, access: Access) -> Result<Direct, DiskError> {
        check_range_u64(self.size, offset, length)?;
        if access == Access::Write && !self.writable {
            return Err(DiskError::ReadOnly);
        }
        let place = self.storage.0.direct().map(|file| (file, offset));
        Ok(Direct { length, place })
    }
}
