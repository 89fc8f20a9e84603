//! Giving back room that a disk does not need: blocks of zeros leave a dynamic disk, its file becomes
//! shorter, and where what is left holds zeros it gets holes.

use crate::Error;
use crate::detect::Format;
use crate::info::Kind;
use crate::layer::{Content, Layer};
use crate::lock::Locks;
use crate::open::{OpenOptions, Opened, open, open_held, storage};
use crate::progress::Progress;
use disk::{Checked, Disk, DiskError, FileStorage, Place, SECTOR_SIZE};
use serde::Serialize;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use vhdx::Vhdx;

/// What compacting brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Length of the file before, in bytes.
    pub before_bytes: u64,
    /// Length of the file now, in bytes.
    pub after_bytes: u64,
    /// The room that the file took on the host before, in bytes.
    pub before_room_bytes: u64,
    /// The room that it takes now, in bytes.
    pub after_room_bytes: u64,
}

/// The smallest hole that is made, and what holes begin at a multiple of.
const HOLE_BYTES: u64 = 64 << 10;

/// Drops blocks that hold only zeros, moves the others together, and makes holes of what zeros are left. The disk reads the same at every point; a
/// power cut leaves it with a part of the work done. The parent, if there is one, is needed for reading.
///
/// # Errors
/// If the disk is of a kind that can't be compacted, or can't be opened or written.
pub fn compact(path: &Path, progress: Progress<'_>) -> Result<Compacted, Error> {
    let _lock = Locks::exclusive(path)?;
    let opened = open_held(path, &OpenOptions::read_only())?;
    let before = std::fs::metadata(path).map_err(Error::file(path, "open"))?;
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
        Content::Raw => {}
        Content::Vmdk(_) => return Err(Error::refused(path, "a VMDK is only read; convert it")),
    }
    make_holes(path, format)?;
    let after = std::fs::metadata(path).map_err(Error::file(path, "open"))?;
    Ok(Compacted {
        before_bytes: before.len(),
        after_bytes: after.len(),
        before_room_bytes: before.blocks() * SECTOR_SIZE,
        after_room_bytes: after.blocks() * SECTOR_SIZE,
    })
}

/// Makes holes where the file holds zeros of the disk. Zeros stay zeros, so a power cut changes nothing. A
/// fixed disk keeps its room, which is what it is for.
fn make_holes(path: &Path, format: Format) -> Result<(), Error> {
    let options = OpenOptions {
        format: Some(format),
        ..OpenOptions::read_only()
    };
    let Opened { mut disk, chain } = open_held(path, &options)?;
    if chain[0].kind == Kind::Fixed && format != Format::Raw {
        return Ok(());
    }
    let (mut file, _) = storage(path, Some(format), true)?;
    let size = disk.size();
    let mut at = 0;
    while at < size {
        let extent = disk.extent(at).map_err(Error::disk(path))?;
        if let Place::File { depth: 0, offset } = extent.place {
            let range = offset..offset + extent.length;
            punch_zeros(&mut file, range).map_err(Error::disk(path))?;
        }
        at += extent.length.max(1);
    }
    file.flush().map_err(Error::disk(path))
}

fn punch_zeros(file: &mut Checked<FileStorage>, range: Range<u64>) -> Result<(), DiskError> {
    let mut data = vec![0; HOLE_BYTES as usize];
    let mut at = range.start.next_multiple_of(HOLE_BYTES);
    while at + HOLE_BYTES <= range.end {
        file.read(at, &mut data)?;
        if data.iter().all(|byte| *byte == 0) && !file.punch(at, HOLE_BYTES) {
            // A file system without holes.
            break;
        }
        at += HOLE_BYTES;
    }
    Ok(())
}
