//! The files beside a disk: who else stands on it.

use crate::Error;
use crate::fresh::folder_of;
use crate::layer::Layer;
use crate::open::storage;
use std::path::{Path, PathBuf};

/// Extensions of files that may have a parent.
const CHILD_EXTENSIONS: [&str; 5] = ["vhd", "avhd", "vud", "vhdx", "avhdx"];

/// The files in these folders whose parent is `parent`, in order. A file that can't be understood
/// counts as none.
///
/// # Errors
/// If a folder can't be read.
pub(crate) fn children(parent: &Path, folders: &[&Path]) -> Result<Vec<PathBuf>, Error> {
    let parent = parent.canonicalize().map_err(Error::file(parent, "open"))?;
    let mut found = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).map_err(Error::file(folder, "read"))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if is_child(&path, &parent) && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The children of a disk in its own folder and in that of one of them.
pub(crate) fn children_near(parent: &Path, child: &Path) -> Result<Vec<PathBuf>, Error> {
    let (own, other) = (folder_of(parent), folder_of(child));
    let same = own.canonicalize().ok() == other.canonicalize().ok();
    match same {
        true => children(parent, &[other]),
        false => children(parent, &[own, other]),
    }
}

fn is_child(path: &Path, parent: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if !extension.is_some_and(|e| CHILD_EXTENSIONS.contains(&e.as_str())) || !path.is_file() {
        return false;
    }
    let link = storage(path, None, false)
        .and_then(|(storage, format)| Layer::read(path, storage, format))
        .map(|layer| layer.link);
    let Ok(Some(link)) = link else { return false };
    link.find(path)
        .is_ok_and(|found| found.canonicalize().is_ok_and(|found| found == parent))
}

/// Whether two paths are one file.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
