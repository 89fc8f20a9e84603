//! New, empty disks. The same arguments give the same bytes.

use crate::bat::UNUSED;
use crate::footer::{DiskType, FOOTER_SIZE, Footer, MAX_SIZE, NO_HEADER};
use crate::header::{HEADER_SIZE, Header};
use crate::parent::ParentLink;
use disk::{Checked, DiskError, SECTOR_SIZE, Storage, invalid};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U32, U64};

/// The block size that everybody uses, in bytes.
pub const DEFAULT_BLOCK_SIZE: u32 = 2 << 20;

/// Writes a fixed disk of zeros into an empty storage: room for the data, then the footer.
/// `timestamp` is in seconds since 2000-01-01 UTC.
///
/// # Errors
/// As [`create_dynamic`].
pub fn create_fixed<S: Storage>(
    storage: S,
    size: u64,
    unique_id: [u8; 16],
    timestamp: u32,
) -> Result<S, DiskError> {
    check_size(size)?;
    let mut storage = Checked(storage);
    let footer = Footer::new(DiskType::Fixed, size, NO_HEADER, unique_id, timestamp);
    storage.write(size, footer.as_bytes())?;
    storage.flush()?;
    Ok(storage.0)
}

/// Writes an empty dynamic disk into an empty storage: footer copy, header, table, footer.
/// `block_size` is in bytes, [`DEFAULT_BLOCK_SIZE`] as a rule; `timestamp` in seconds since 2000-01-01 UTC.
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
    let footer = |kind| Footer::new(kind, size, FOOTER_SIZE, unique_id, timestamp);
    create_sparse(storage, &footer(DiskType::Dynamic), block_size, None)
}

/// Writes an empty differencing disk into an empty storage: footer copy, header, table, the parent's
/// paths, footer. `size` is the parent's; the rest as in [`create_dynamic`].
///
/// # Errors
/// As [`create_dynamic`], or if the parent has more than eight paths.
pub fn create_differencing<S: Storage>(
    storage: S,
    size: u64,
    block_size: u32,
    unique_id: [u8; 16],
    timestamp: u32,
    parent: &ParentLink,
) -> Result<S, DiskError> {
    let kind = DiskType::Differencing;
    let footer = Footer::new(kind, size, FOOTER_SIZE, unique_id, timestamp);
    create_sparse(storage, &footer, block_size, Some(parent))
}

/// The largest size that the format holds, said early: a disk of that size does not fit later either.
pub(crate) fn check_size(size: u64) -> Result<(), DiskError> {
    if size == 0 || !size.is_multiple_of(SECTOR_SIZE) || size > MAX_SIZE {
        return Err(DiskError::Unsupported {
            reason: format!(
                "a VHD can't have {size} bytes: it must be a number of 512-byte sectors and at most 2040 GiB ({MAX_SIZE} bytes); take VHDX for a larger disk"
            ),
        });
    }
    Ok(())
}

fn create_sparse<S: Storage>(
    storage: S,
    footer: &Footer,
    block_size: u32,
    parent: Option<&ParentLink>,
) -> Result<S, DiskError> {
    let size = footer.current_size.get();
    check_size(size)?;
    let mut storage = Checked(storage);
    let blocks = size.div_ceil(u64::from(block_size.max(1)));
    let entries = u32::try_from(blocks).map_err(|_| invalid(0, "too many blocks"))?;
    let table_offset = FOOTER_SIZE + HEADER_SIZE;
    let table_bytes = (blocks * 4).next_multiple_of(SECTOR_SIZE);
    let mut header = Header::new(table_offset, entries, block_size);
    let header_bytes = header
        .as_bytes()
        .try_into()
        .map_err(|_| invalid(0, "header"))?;
    Header::parse(&header_bytes, FOOTER_SIZE, size)?;
    let table = vec![UNUSED.to_be_bytes()[0]; table_bytes as usize];
    let mut end = table_offset + table_bytes;
    if let Some(parent) = parent {
        end = header.enter_parent(&mut storage, parent, end)?;
    }
    storage.write(0, footer.as_bytes())?;
    storage.write(FOOTER_SIZE, header.as_bytes())?;
    storage.write(table_offset, &table)?;
    storage.write(end, footer.as_bytes())?;
    storage.flush()?;
    Ok(storage.0)
}

impl Header {
    /// Enters a parent. Its paths are written from `offset` on, each into sectors of its own. Answers
    /// the end of the last one.
    ///
    /// # Errors
    /// If there are more than eight paths, or the storage can't be written.
    pub fn enter_parent<S: Storage>(
        &mut self,
        storage: &mut Checked<S>,
        parent: &ParentLink,
        offset: u64,
    ) -> Result<u64, DiskError> {
        if parent.paths.len() > self.parent_locators.len() {
            return Err(invalid(
                offset,
                "a VHD has room for eight paths of its parent",
            ));
        }
        self.parent_unique_id = parent.unique_id;
        self.parent_timestamp = U32::new(parent.timestamp);
        self.set_parent_name(&parent.name);
        self.parent_locators.fill(zerocopy::FromZeros::new_zeroed());
        let mut at = offset;
        for (locator, path) in self.parent_locators.iter_mut().zip(&parent.paths) {
            let mut data = path.platform.encode(&path.path);
            let length = data.len() as u32;
            data.resize(data.len().next_multiple_of(SECTOR_SIZE as usize), 0);
            storage.write(at, &data)?;
            locator.code = path.platform.code();
            // Bytes, as Windows writes it; every reader goes by the length.
            locator.data_space = U32::new(data.len() as u32);
            locator.data_length = U32::new(length);
            locator.data_offset = U64::new(at);
            at += data.len() as u64;
        }
        self.seal();
        Ok(at)
    }
}
