//! Files that are there whole or not at all.
//!
//! A file is made under a temporary name beside its place and gets its name when it is whole and on the
//! disk, so that a power cut leaves all of it or nothing.

use crate::Error;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// The folder that a path lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A file that is being made; gone if it is dropped before it is finished.
pub(crate) struct Fresh {
    temporary: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Fresh {
    pub fn begin(target: &Path) -> Result<Self, Error> {
        if target.exists() {
            return Err(Error::refused(
                target,
                "there is a file of this name already; choose another name, or delete it first",
            ));
        }
        Self::instead_of(target)
    }

    /// The same, but for a file that is there: [`Fresh::replace`] is to follow.
    pub fn instead_of(target: &Path) -> Result<Self, Error> {
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.part", std::process::id()));
        let temporary = target.with_file_name(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(Error::file(&temporary, "create"))?;
        Ok(Self {
            temporary,
            target: target.into(),
            finished: false,
        })
    }

    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its name. It is whole, and on the disk.
    pub fn finish(mut self) -> Result<(), Error> {
        // A link does not replace what somebody else made meanwhile, as a rename would.
        std::fs::hard_link(&self.temporary, &self.target)
            .or_else(|error| match error.kind() {
                // File systems without links, as on a stick.
                std::io::ErrorKind::Unsupported | std::io::ErrorKind::PermissionDenied => {
                    std::fs::rename(&self.temporary, &self.target)
                }
                _ => Err(error),
            })
            .map_err(Error::file(&self.target, "create"))?;
        let _ = std::fs::remove_file(&self.temporary);
        self.finished = true;
        sync_folder(folder_of(&self.target))
    }
}

impl Fresh {
    /// Takes the place of the file that is there, in one step.
    pub fn replace(mut self) -> Result<(), Error> {
        std::fs::rename(&self.temporary, &self.target)
            .map_err(Error::file(&self.target, "replace"))?;
        self.finished = true;
        sync_folder(folder_of(&self.target))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Makes names that were added to or taken from a folder survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file(folder, "flush"))
}
