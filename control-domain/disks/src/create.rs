//! New disk files.
//!
//! A file is made under a temporary name beside its place and renamed when it is whole and on the
//! disk, so that a power cut leaves all of it or nothing. A file that is there is never replaced.

use crate::Error;
use crate::identity::Identity;
use crate::info::DiskInfo;
use crate::open::{OpenOptions, info, open};
use crate::parent_path;
use disk::{DiskError, FileStorage};
use std::fs::{File, OpenOptions as FileOptions};
use std::path::{Path, PathBuf};
use vhd::{DEFAULT_BLOCK_SIZE, Located, ParentLink};

/// The kinds of file that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewKind {
    /// The disk's bytes and nothing else.
    Raw,
    /// VHD, all of it there.
    VhdFixed,
    /// VHD that grows.
    VhdDynamic,
    /// VHD on a parent.
    VhdDifferencing {
        /// The parent: it must be there, and is recorded by its relative and its absolute path.
        parent: PathBuf,
    },
}

/// A disk to be made.
#[derive(Clone, Debug)]
pub struct NewDisk {
    /// Of which kind.
    pub kind: NewKind,
    /// Size in bytes; that of the parent for a differencing disk, whatever stands here.
    pub size_bytes: u64,
    /// Bytes of data in a block; nothing: what is usual for the kind.
    pub block_size_bytes: Option<u32>,
    /// Who it is; nothing: random.
    pub identity: Option<Identity>,
}

impl NewDisk {
    /// A disk of this kind and size with the usual block size and a random identity.
    pub fn new(kind: NewKind, size_bytes: u64) -> Self {
        Self {
            kind,
            size_bytes,
            block_size_bytes: None,
            identity: None,
        }
    }
}

/// Makes an empty disk.
///
/// # Errors
/// If the file is there, the format can't hold the size, or it can't be written.
pub fn create(path: &Path, new: &NewDisk) -> Result<DiskInfo, Error> {
    let fresh = Fresh::begin(path)?;
    write_empty(fresh.path(), new, path)?;
    fresh.finish()?;
    info(path, new.kind.format())
}

impl NewKind {
    pub(crate) fn format(&self) -> Option<crate::Format> {
        matches!(self, Self::Raw).then_some(crate::Format::Raw)
    }
}

/// Writes an empty disk into an empty file that is to be known as `path`.
pub(crate) fn write_empty(file: &Path, new: &NewDisk, path: &Path) -> Result<(), Error> {
    let identity = match new.identity {
        Some(identity) => identity,
        None => Identity::random()?,
    };
    let Identity {
        unique_id,
        timestamp,
    } = identity;
    let size = new.size_bytes;
    let block_size = new.block_size_bytes.unwrap_or(DEFAULT_BLOCK_SIZE);
    let storage = FileStorage::open(file, true).map_err(Error::file(path, "create"))?;
    let written = match &new.kind {
        NewKind::Raw => write_raw(storage, size),
        NewKind::VhdFixed => vhd::create_fixed(storage, size, unique_id, timestamp).map(drop),
        NewKind::VhdDynamic => {
            vhd::create_dynamic(storage, size, block_size, unique_id, timestamp).map(drop)
        }
        NewKind::VhdDifferencing { parent } => {
            let (link, size) = link_to(path, parent)?;
            vhd::create_differencing(storage, size, block_size, unique_id, timestamp, &link)
                .map(drop)
        }
    };
    written.map_err(Error::disk(path))
}

fn write_raw(storage: FileStorage, size: u64) -> Result<(), DiskError> {
    if size == 0 || !size.is_multiple_of(disk::SECTOR_SIZE) {
        return Err(DiskError::Unsupported {
            reason: format!(
                "a raw disk can't have {size} bytes: it must be a number of 512-byte sectors"
            ),
        });
    }
    let mut storage = disk::Checked(storage);
    storage.set_length(size)?;
    storage.flush()
}

/// What a child at `child` says of its parent, and the parent's size.
pub(crate) fn link_to(child: &Path, parent: &Path) -> Result<(ParentLink, u64), Error> {
    let size = open(parent, &OpenOptions::read_only())?.disk.size();
    let real = parent.canonicalize().map_err(Error::file(parent, "open"))?;
    let folder = folder_of(child);
    let folder = folder.canonicalize().map_err(Error::file(folder, "open"))?;
    let storage = FileStorage::open(&real, false).map_err(Error::file(parent, "open"))?;
    let located = Located::find(&mut disk::Checked(storage)).map_err(|_| {
        Error::refused(
            parent,
            "a differencing VHD needs a parent that is a VHD; make a differencing VHDX instead",
        )
    })?;
    let relative = parent_path::relative(&folder, &real);
    let absolute = real.to_string_lossy();
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let link = ParentLink::to(&located.footer, &name, Some(&relative), Some(&absolute));
    Ok((link, size))
}

/// Writes an empty child of `parent` into an empty file that is to take the place of `old`: with its
/// identity, its time stamp and its block size.
pub(crate) fn write_empty_child(file: &Path, old: &Path, parent: &Path) -> Result<(), Error> {
    let storage = FileStorage::open(old, false).map_err(Error::file(old, "open"))?;
    let located = Located::find(&mut disk::Checked(storage)).map_err(Error::disk(old))?;
    let new = NewDisk {
        kind: NewKind::VhdDifferencing {
            parent: parent.into(),
        },
        size_bytes: 0,
        block_size_bytes: info(old, None)?
            .block_size_bytes
            .and_then(|bytes| u32::try_from(bytes).ok()),
        identity: Some(Identity {
            unique_id: located.footer.unique_id,
            timestamp: located.footer.timestamp.get(),
        }),
    };
    write_empty(file, &new, old)
}

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
        FileOptions::new()
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
