//! Another size for a disk.

use crate::Error;
use crate::detect::Format;
use crate::folder::children_near;
use crate::info::DiskInfo;
use crate::layer::{Content, Layer};
use crate::lock::Locks;
use crate::open::{OpenOptions, info, open_held, storage};
use crate::progress::Progress;
use disk::{Disk, DiskError, FileStorage, Place};
use std::path::Path;
use vhdx::Vhdx;

/// How much is read at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// How to resize.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResizeOptions {
    /// The file's format; nothing: by its content.
    pub format: Option<Format>,
    /// Shrink although there is data behind the new end. It is lost.
    pub drop_data: bool,
}

/// Gives a disk a new size in bytes. Its partitions are the guest's business.
///
/// # Errors
/// If the disk has a parent or children, data would be lost, or the file can't be written.
pub fn resize(
    path: &Path,
    size_bytes: u64,
    options: &ResizeOptions,
    progress: Progress<'_>,
) -> Result<DiskInfo, Error> {
    let open_options = OpenOptions {
        format: options.format,
        ..OpenOptions::read_only()
    };
    let _lock = Locks::exclusive(path)?;
    let mut opened = open_held(path, &open_options)?;
    if let Some(child) = children_near(path, path)?.first() {
        return Err(Error::refused(
            path,
            format!(
                "{} stands on it and would not fit any more; merge that one first",
                child.display()
            ),
        ));
    }
    let old_size = opened.disk.size();
    if size_bytes < old_size && !options.drop_data {
        let data = first_data(opened.disk.as_mut(), size_bytes, progress);
        if let Some(offset) = data.map_err(Error::disk(path))? {
            return Err(Error::refused(
                path,
                format!(
                    "there is data at {offset:#x}, behind the new end {size_bytes:#x}; shrink the file system in the guest first, or say that the data may be lost"
                ),
            ));
        }
    }
    drop(opened);
    let (file, format) = storage(path, options.format, true)?;
    let (mut file, content) = Layer::read(path, file, format)?.into_parts();
    match content {
        Content::Vhd(located) => located.resize(file.0, size_bytes),
        Content::Raw if size_bytes == 0 || !size_bytes.is_multiple_of(disk::SECTOR_SIZE) => {
            return Err(Error::refused(
                path,
                "a raw disk must be a whole number of 512-byte sectors",
            ));
        }
        Content::Raw => file.set_length(size_bytes).and_then(|()| file.flush()),
        Content::Vhdx(_) => resize_vhdx(file.0, size_bytes, progress),
        Content::Vmdk(_) => return Err(Error::refused(path, "a VMDK is only read; convert it")),
    }
    .map_err(Error::disk(path))?;
    progress(size_bytes, size_bytes);
    info(path, options.format)
}

/// A VHDX is cut only where it is zero, so what is to go is zeroed first.
fn resize_vhdx(
    file: FileStorage,
    size_bytes: u64,
    progress: Progress<'_>,
) -> Result<(), DiskError> {
    let mut disk = Vhdx::open(file, None, true)?;
    let mut at = size_bytes;
    while let Some(offset) = first_data(&mut disk, at, progress)? {
        let length = CHUNK_BYTES.min(disk.size() - offset);
        disk.write(offset, &vec![0; length as usize])?;
        at = offset + length;
    }
    disk.resize(size_bytes)?;
    disk.close()
}

/// The first byte from `start` on that is not zero.
fn first_data(
    disk: &mut dyn Disk,
    start: u64,
    progress: Progress<'_>,
) -> Result<Option<u64>, DiskError> {
    let mut data = vec![0; CHUNK_BYTES as usize];
    let size = disk.size();
    let mut at = start;
    while at < size {
        let extent = disk.extent(at)?;
        let mut length = extent.length.max(1);
        if extent.place != Place::Zero {
            length = length.min(CHUNK_BYTES);
            let data = &mut data[..length as usize];
            disk.read(at, data)?;
            if let Some(found) = data.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + found as u64));
            }
        }
        at += length;
        progress(at, size);
    }
    Ok(None)
}
