//! Giving back room that a disk does not need.

use crate::Error;
use crate::layer::{Content, Layer};
use crate::lock::Locks;
use crate::open::{OpenOptions, open, open_held, storage};
use crate::progress::Progress;
use disk::Disk;
use serde::Serialize;
use std::path::Path;
use vhdx::Vhdx;

/// What compacting brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Length of the file before, in bytes.
    pub before_bytes: u64,
    /// Length of the file now, in bytes.
    pub after_bytes: u64,
}

/// Drops blocks that hold only zeros and holes in the file. The disk reads the same at every point; a
/// power cut leaves it with a part of the work done. The parent, if there is one, is needed for reading.
///
/// # Errors
/// If the disk is of a kind that can't be compacted, or can't be opened or written.
pub fn compact(path: &Path, progress: Progress<'_>) -> Result<Compacted, Error> {
    let _lock = Locks::exclusive(path)?;
    let opened = open_held(path, &OpenOptions::read_only())?;
    let before_bytes = opened.info().file_size_bytes;
    let parent = match &opened.info().parent {
        Some(parent) => Some(open(parent, &OpenOptions::read_only())?.disk),
        None => None,
    };
    drop(opened);
    let (file, format) = storage(path, None, true)?;
    let (file, content) = Layer::read(path, file, format)?.into_parts();
    match content {
        Content::Vhd(located) => located
            .compact(file.0, parent, progress)
            .map_err(Error::disk(path))?,
        Content::Vhdx(_) => Vhdx::open(file.0, parent, true)
            .and_then(|mut disk| {
                disk.compact(progress)?;
                disk.close()
            })
            .map_err(Error::disk(path))?,
        Content::Raw => {
            return Err(Error::refused(
                path,
                "a raw disk always has its full size; convert it to a dynamic one instead",
            ));
        }
        Content::Vmdk(_) => return Err(Error::refused(path, "a VMDK is only read; convert it")),
    }
    let after = std::fs::metadata(path).map_err(Error::file(path, "open"))?;
    Ok(Compacted {
        before_bytes,
        after_bytes: after.len(),
    })
}
