//! Giving back room that a disk does not need.

use crate::Error;
use crate::create::like_vhdx;
use crate::folder::children_near;
use crate::layer::{Content, Layer};
use crate::open::{OpenOptions, open, storage};
use crate::progress::Progress;
use crate::rewrite::{rewrite, rewrite_child};
use serde::Serialize;
use std::path::Path;

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
    let opened = open(path, &OpenOptions::read_only())?;
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
        Content::Vhdx(found) => {
            drop((file, parent));
            compact_vhdx(path, &found, progress)?;
        }
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

/// A VHDX is written anew: see `rewrite`. Its data write GUID changes, so it must have no children.
fn compact_vhdx(path: &Path, found: &vhdx::Info, progress: Progress<'_>) -> Result<(), Error> {
    if let Some(child) = children_near(path, path)?.first() {
        return Err(Error::refused(
            path,
            format!(
                "{} stands on it and would not know it any more; merge that one first",
                child.display()
            ),
        ));
    }
    match (
        found.kind,
        open(path, &OpenOptions::read_only())?.info().parent.clone(),
    ) {
        (vhdx::Kind::Fixed, _) => Err(Error::refused(
            path,
            "a fixed disk always has its full size; convert it to a dynamic one instead",
        )),
        (_, Some(parent)) => rewrite_child(path, &parent, progress),
        (_, None) => rewrite(path, &like_vhdx(path, found)?, progress),
    }
}
