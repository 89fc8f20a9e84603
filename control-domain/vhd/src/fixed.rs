//! A fixed VHD: the data, then the footer. Nothing but data is ever written.

use crate::footer::Footer;
use disk::{Checked, Disk, DiskError, Extent, Place, Storage, check_range, invalid};

/// A fixed VHD.
pub struct Fixed<S> {
    storage: Checked<S>,
    size: u64,
    writable: bool,
}

impl<S: Storage> Fixed<S> {
    /// Opens a disk whose footer was read at `footer_offset`.
    ///
    /// # Errors
    /// If the data before the footer is shorter than the footer says.
    pub fn open(
        storage: S,
        footer: &Footer,
        footer_offset: u64,
        writable: bool,
    ) -> Result<Self, DiskError> {
        let size = footer.current_size.get();
        if size > footer_offset {
            return Err(invalid(
                footer_offset,
                format!(
                    "the footer speaks of {size} bytes, the file has {footer_offset} before it; it was cut short"
                ),
            ));
        }
        Ok(Self {
            storage: Checked(storage),
            size,
            writable,
        })
    }
}

impl<S: Storage> Disk for Fixed<S> {
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
    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        check_range(self.size, offset, 1)?;
        Ok(Extent {
            length: self.size - offset,
            place: Place::File { depth: 0, offset },
        })
    }
}
