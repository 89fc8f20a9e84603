//! Undo disks: commit what they hold into their parent, or discard it. To keep it is to do nothing.

use crate::Error;
use crate::create::write_empty_child;
use crate::folder::children_near;
use crate::fresh::{Fresh, folder_of, sync_folder};
use crate::lock::Locks;
use crate::merge::{Leftover, MergeOptions, MergePlan, merge};
use crate::open::info;
use crate::progress::Progress;
use std::path::Path;

/// Writes what a differencing disk holds into its parent: [`merge`] by one file.
///
/// # Errors
/// As [`merge`].
pub fn commit(path: &Path, leftover: Leftover, progress: Progress<'_>) -> Result<MergePlan, Error> {
    let options = MergeOptions {
        leftover,
        ..MergeOptions::default()
    };
    merge(path, &options, progress)
}

/// Throws away what a differencing disk holds: it reads as its parent afterwards, or is gone. The
/// parent is not touched. An empty file replaces it in one step.
///
/// # Errors
/// If it has no parent, other disks stand on it, or a file can't be written.
pub fn discard(path: &Path, leftover: Leftover) -> Result<(), Error> {
    let _lock = Locks::exclusive(path)?;
    let before = info(path, None)?;
    let Some(parent) = &before.parent else {
        return Err(Error::refused(
            path,
            "it has no parent: to discard what it holds is to delete it",
        ));
    };
    if let Some(child) = children_near(path, path)?.first() {
        return Err(Error::refused(
            path,
            format!("{} stands on it; discard that one first", child.display()),
        ));
    }
    match leftover {
        Leftover::Empty => {
            let fresh = Fresh::instead_of(path)?;
            write_empty_child(fresh.path(), path, parent)?;
            fresh.replace()
        }
        Leftover::Delete => {
            std::fs::remove_file(path).map_err(Error::file(path, "delete"))?;
            sync_folder(folder_of(path))
        }
    }
}
