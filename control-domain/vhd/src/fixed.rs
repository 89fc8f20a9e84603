//! A fixed VHD: the data, then the footer. Nothing but data is ever written.

use crate::create::check_size;
use crate::footer::{FOOTER_SIZE, Footer, Geometry};
use disk::{Checked, Disk, DiskError, Extent, Place, Storage, check_range, invalid};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U64;

/// A fixed VHD.
pub struct Fixed<S> {
    storage: Checked<S>,
    size: u64,
    footer_offset: u64,
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
            footer_offset,
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

impl<S: Storage> Fixed<S> {
    /// Gives the disk a new size in bytes. What lies behind it is lost.
    ///
    /// Growing: the new footer is written behind the new end and flushed, then the old one is zeroed.
    /// Shrinking: the new footer is written at the new end and flushed, then the file is cut. A power
    /// cut in between leaves the new size with the old footer's 512 bytes in what was added, or the old
    /// size with the new footer's in what was to go; nothing before either end changes.
    ///
    /// # Errors
    /// If the format can't hold the size, or the file can't be written.
    pub fn resize(&mut self, footer: &mut Footer, size: u64) -> Result<(), DiskError> {
        check_size(size)?;
        if !self.writable {
            return Err(DiskError::ReadOnly);
        }
        let old_footer = self.footer_offset;
        footer.current_size = U64::new(size);
        footer.geometry = Geometry::of_size(size);
        footer.seal();
        self.storage.write(size, footer.as_bytes())?;
        self.storage.flush()?;
        if size > old_footer {
            let zeros = [0; FOOTER_SIZE as usize];
            let length = FOOTER_SIZE.min(size - old_footer);
            self.storage.write(old_footer, &zeros[..length as usize])?;
        } else {
            self.storage.set_length(size + FOOTER_SIZE)?;
        }
        self.storage.flush()?;
        (self.size, self.footer_offset) = (size, size);
        Ok(())
    }
}
