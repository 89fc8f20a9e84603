//! Where the bytes of a disk lie, file by file.

use crate::Error;
use crate::open::{OpenOptions, open};
use disk::{Disk, DiskError, Place};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A stretch of a disk that lies in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// Offset in the disk in bytes.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
    /// Whether nothing holds it, so that it reads as zeros.
    pub zero: bool,
    /// 0 is the file that was asked for, 1 its parent, and so on; nothing for zeros.
    pub depth: Option<u32>,
    /// Offset in that file in bytes; nothing for zeros and for what is compressed or in pieces.
    pub file_offset: Option<u64>,
}

/// The stretches of a disk file and its chain, and the files that they speak of, by depth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Map {
    /// The files: the child first.
    pub files: Vec<PathBuf>,
    /// Without gaps, from 0 to the disk's size.
    pub stretches: Vec<Stretch>,
}

/// Maps a disk file.
///
/// # Errors
/// Why it can't be opened or read.
pub fn map(path: &Path, options: &OpenOptions) -> Result<Map, Error> {
    let mut opened = open(path, options)?;
    Ok(Map {
        files: opened.chain.iter().map(|info| info.path.clone()).collect(),
        stretches: stretches(opened.disk.as_mut()).map_err(Error::disk(path))?,
    })
}

/// The stretches of an open disk; neighbours that go on in the same file are one.
///
/// # Errors
/// If the file can't be read.
pub fn stretches(disk: &mut dyn Disk) -> Result<Vec<Stretch>, DiskError> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut start = 0;
    while start < disk.size() {
        let extent = disk.extent(start)?;
        let (depth, file_offset) = match extent.place {
            Place::Zero => (None, None),
            Place::File { depth, offset } => (Some(depth), Some(offset)),
            Place::Packed { depth } => (Some(depth), None),
        };
        let next = Stretch {
            start,
            length: extent.length.max(1),
            zero: depth.is_none(),
            depth,
            file_offset,
        };
        start += next.length;
        match found.last_mut() {
            Some(last) if goes_on(last, &next) => last.length += next.length,
            _ => found.push(next),
        }
    }
    Ok(found)
}

fn goes_on(last: &Stretch, next: &Stretch) -> bool {
    last.depth == next.depth && last.file_offset.map(|at| at + last.length) == next.file_offset
}
