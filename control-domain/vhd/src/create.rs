//! A new, empty dynamic VHD.

use crate::bat::UNUSED;
use crate::footer::{DiskType, FOOTER_SIZE, Footer, MAX_SIZE};
use crate::header::{HEADER_SIZE, Header};
use disk::{Checked, DiskError, SECTOR_SIZE, Storage, invalid};
use zerocopy::IntoBytes;

/// Writes an empty dynamic disk into an empty storage: footer copy, header, table, footer.
/// `block_size` is in bytes, 2 MiB as a rule; `timestamp` in seconds since 2000-01-01 UTC.
///
/// # Errors
/// If the size is not one that the format holds, or the storage can't be written.
pub fn create_dynamic<S: Storage>(
    storage: S,
    size: u64,
    block_size: u32,
    unique_id: [u8; 16],
    timestamp: u32,
) -> Result<S, DiskError> {
    if size == 0 || !size.is_multiple_of(SECTOR_SIZE) || size > MAX_SIZE {
        return Err(invalid(
            0,
            format!("disk size {size} is not a number of sectors up to 2040 GiB"),
        ));
    }
    let mut storage = Checked(storage);
    let blocks = size.div_ceil(u64::from(block_size.max(1)));
    let entries = u32::try_from(blocks).map_err(|_| invalid(0, "too many blocks"))?;
    let table_offset = FOOTER_SIZE + HEADER_SIZE;
    let header = Header::new(table_offset, entries, block_size);
    let header_bytes = header
        .as_bytes()
        .try_into()
        .map_err(|_| invalid(0, "header"))?;
    Header::parse(&header_bytes, FOOTER_SIZE, size)?;
    let footer = Footer::new(DiskType::Dynamic, size, FOOTER_SIZE, unique_id, timestamp);
    let table_bytes = (blocks * 4).next_multiple_of(SECTOR_SIZE);
    let table = vec![UNUSED.to_be_bytes()[0]; table_bytes as usize];
    storage.write(0, footer.as_bytes())?;
    storage.write(FOOTER_SIZE, header.as_bytes())?;
    storage.write(table_offset, &table)?;
    storage.write(table_offset + table_bytes, footer.as_bytes())?;
    storage.flush()?;
    Ok(storage.0)
}
