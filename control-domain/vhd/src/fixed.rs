//! A fixed VHD: the data, then the footer. Nothing but data is ever written while it is open, so it
//! is a raw disk with something behind it.

use crate::create::check_size;
use crate::footer::{FOOTER_SIZE, Footer, Geometry};
use disk::{Checked, DiskError, Raw, Storage, invalid};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U64;

/// Opens a disk whose footer was read at `footer_offset`.
///
/// # Errors
/// If the data before the footer is shorter than the footer says.
pub fn open<S: Storage>(
    storage: S,
    footer: &Footer,
    footer_offset: u64,
    writable: bool,
) -> Result<Raw<S>, DiskError> {
    let size = data_size(footer, footer_offset)?;
    Ok(Raw::of_size(storage, size, writable))
}

fn data_size(footer: &Footer, footer_offset: u64) -> Result<u64, DiskError> {
    let size = footer.current_size.get();
    if size > footer_offset {
        return Err(invalid(
            footer_offset,
            format!(
                "the footer speaks of {size} bytes, the file has {footer_offset} before it; it was cut short"
            ),
        ));
    }
    Ok(size)
}

/// Gives the disk a new size in bytes. What lies behind it is lost.
///
/// Growing: the new footer is written behind the new end and flushed, then the old one is zeroed.
/// Shrinking: the new footer is written at the new end and flushed, then the file is cut. A power
/// cut in between leaves the new size with the old footer's 512 bytes in what was added, or the old
/// size with the new footer's in what was to go; nothing before either end changes.
///
/// # Errors
/// If the format can't hold the size, or the file can't be written.
pub fn resize<S: Storage>(
    storage: S,
    footer: &mut Footer,
    footer_offset: u64,
    size: u64,
) -> Result<(), DiskError> {
    data_size(footer, footer_offset)?;
    check_size(size)?;
    footer.current_size = U64::new(size);
    footer.geometry = Geometry::of_size(size);
    footer.seal();
    let mut storage = Checked(storage);
    storage.write(size, footer.as_bytes())?;
    storage.flush()?;
    if size > footer_offset {
        let zeros = [0; FOOTER_SIZE as usize];
        let length = FOOTER_SIZE.min(size - footer_offset);
        storage.write(footer_offset, &zeros[..length as usize])?;
    } else {
        storage.set_length(size + FOOTER_SIZE)?;
    }
    storage.flush()
}
