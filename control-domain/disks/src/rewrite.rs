//! Writing a file anew beside itself and putting it in its place in one step: for what a format can't
//! change in place. It takes the room of a second file for as long as it lasts, and a power cut
//! leaves the old file or the new one.

use crate::Error;
use crate::convert::{CopyError, copy};
use crate::create::{NewDisk, write_empty, write_empty_child};
use crate::fresh::Fresh;
use crate::merge::merge_data;
use crate::open::{OpenOptions, open};
use crate::progress::Progress;
use std::path::Path;

/// Writes a disk without a parent anew as `new` says, as far as its size goes.
pub(crate) fn rewrite(path: &Path, new: &NewDisk, progress: Progress<'_>) -> Result<(), Error> {
    let mut from = open(path, &OpenOptions::read_only())?.disk;
    let fresh = Fresh::instead_of(path)?;
    write_empty(fresh.path(), new, path)?;
    let mut to = open(fresh.path(), &OpenOptions::writable())?.disk;
    let end = from.size().min(to.size());
    copy(from.as_mut(), to.as_mut(), end, progress).map_err(|failed| failed.on(path, path))?;
    to.close().map_err(Error::disk(path))?;
    drop((from, to));
    fresh.replace()
}

/// Writes a child anew with `parent` below it. It holds what it held; what it does not hold it takes
/// from `parent`, even if that is another disk than before.
pub(crate) fn rewrite_child(
    path: &Path,
    parent: &Path,
    progress: Progress<'_>,
) -> Result<(), Error> {
    let accepting = OpenOptions {
        accept_parent: true,
        parent: Some(parent.into()),
        ..OpenOptions::read_only()
    };
    let mut from = open(path, &accepting)?.disk;
    let mut below = open(parent, &OpenOptions::read_only())?.disk;
    let fresh = Fresh::instead_of(path)?;
    write_empty_child(fresh.path(), path, parent)?;
    let mut to = open(fresh.path(), &OpenOptions::writable())?.disk;
    merge_data(from.as_mut(), 1, below.as_mut(), to.as_mut(), progress)
        .map_err(|failed| failed.on(path, path))?;
    to.close().map_err(Error::disk(path))?;
    drop((from, below, to));
    fresh.replace()
}

impl CopyError {
    /// The error with the name of the file that it is about.
    pub(crate) fn on(self, source: &Path, target: &Path) -> Error {
        match self {
            Self::Read(error) => Error::disk(source)(error),
            Self::Write(error) => Error::disk(target)(error),
        }
    }
}
