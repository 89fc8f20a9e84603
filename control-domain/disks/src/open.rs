//! Opening a disk file and its chain.
//!
//! Parents are opened for reading only, whatever the child is opened for. A chain holds at most
//! [`MOST_FILES`] files, none of them twice.

use crate::Error;
use crate::detect::{Format, detect};
use crate::folder::children_near;
use crate::info::DiskInfo;
use crate::layer;
use crate::lock::lock;
use disk::{Checked, Disk, FileStorage};
use std::path::{Path, PathBuf};

/// The most files in a chain. Hyper-V stops at about 50 checkpoints a machine.
pub const MOST_FILES: usize = 256;

/// How to open a disk.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The format of the file itself; nothing: by its content. Parents are always found by content.
    pub format: Option<Format>,
    /// Whether the disk is to be written. Its parents never are.
    pub writable: bool,
    /// Take a parent that is not, or no longer, the one that the child was made on. Somebody has to
    /// know that it holds the same data.
    pub accept_parent: bool,
    /// Write to a file although other disks stand on it: they are of no use afterwards, and a VHD does not
    /// even notice. Files that stand on it are looked for in its own folder.
    pub spoil_children: bool,
    /// The parent of the file itself, instead of where it says that it is.
    pub parent: Option<PathBuf>,
    /// What the identifiers are derived from that a VHDX gets while it is written; nothing: chance.
    pub seed: Option<[u8; 16]>,
}

impl OpenOptions {
    /// For reading.
    pub fn read_only() -> Self {
        Self::default()
    }

    /// For reading and writing.
    pub fn writable() -> Self {
        Self {
            writable: true,
            ..Self::default()
        }
    }
}

/// An open disk.
pub struct Opened {
    /// The disk.
    pub disk: Box<dyn Disk>,
    /// Its files: what was asked for, its parent, and so on to the base.
    pub chain: Vec<DiskInfo>,
}

impl Opened {
    /// The file that was asked for.
    pub fn info(&self) -> &DiskInfo {
        &self.chain[0]
    }

    /// What is wrong with the files but does no harm, with their names.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.chain.iter().flat_map(|info| {
            let path = info.path.display();
            info.warnings
                .iter()
                .map(move |warning| format!("{path}: {warning}"))
        })
    }
}

/// Opens a disk file and all its parents. As long as it is open, nobody else can write to any of them, and if
/// it is opened for writing, nobody else can open it.
///
/// # Errors
/// Why one of the files can't be used, is missing, is not the right one, or is in use.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, Error> {
    if options.writable && !options.spoil_children {
        refuse_children(path)?;
    }
    open_above(path, options, Locking::Take, &mut Vec::new())
}

/// [`open`] for those who hold the locks already, and know about the children.
pub(crate) fn open_held(path: &Path, options: &OpenOptions) -> Result<Opened, Error> {
    open_above(path, options, Locking::Held, &mut Vec::new())
}

/// Whether the files are to be locked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locking {
    /// The disk as it is opened for, its parents for reading, for as long as the disk is open.
    Take,
    /// The caller holds the locks.
    Held,
}

/// Who writes below a child makes it useless.
fn refuse_children(path: &Path) -> Result<(), Error> {
    // A folder that can't be read has none that could be used.
    let children = children_near(path, path).unwrap_or_default();
    match children.first() {
        None => Ok(()),
        Some(child) => Err(Error::refused(
            path,
            format!(
                "{} stands on it and would be of no use if it were written; use that one, or merge it first",
                child.display()
            ),
        )),
    }
}

/// Describes a disk file. Its parent need not be there.
///
/// # Errors
/// Why the file can't be read or understood.
pub fn info(path: &Path, format: Option<Format>) -> Result<DiskInfo, Error> {
    let (storage, format) = storage(path, format, false)?;
    let layer = layer::Layer::read(path, storage, format)?;
    let mut info = layer.info;
    if let Some(link) = &layer.link {
        info.parent = link.find(path).ok().or(info.parent);
    }
    Ok(info)
}

/// A file, and its format if that is not given.
pub(crate) fn storage(
    path: &Path,
    format: Option<Format>,
    writable: bool,
) -> Result<(Checked<FileStorage>, Format), Error> {
    let storage = FileStorage::open(path, writable).map_err(Error::file(path, "open"))?;
    let mut storage = Checked(storage);
    let format = match format {
        Some(format) => format,
        None => detect(&mut storage, path).map_err(Error::disk(path))?,
    };
    Ok((storage, format))
}

/// Opens a file whose children, from the top of the chain on, are `above`.
fn open_above(
    path: &Path,
    options: &OpenOptions,
    locking: Locking,
    above: &mut Vec<PathBuf>,
) -> Result<Opened, Error> {
    let real = path.canonicalize().map_err(Error::file(path, "open"))?;
    if above.contains(&real) {
        return Err(Error::refused(
            path,
            "the chain comes back to this file: one of its children is also its parent; repair the chain with the right parent's path",
        ));
    }
    if above.len() >= MOST_FILES {
        return Err(Error::refused(
            path,
            format!("the chain is longer than {MOST_FILES} files; merge some of them"),
        ));
    }
    above.push(real);
    let (storage, format) = storage(path, options.format, options.writable)?;
    if locking == Locking::Take {
        lock(path, &storage.0, options.writable)?;
    }
    let mut layer = layer::Layer::read(path, storage, format)?;
    if locking == Locking::Take {
        layer.lock_extents()?;
    }
    let Some(link) = layer.link.take() else {
        let info = layer.info.clone();
        let disk = layer.open(None, options)?;
        return Ok(Opened {
            disk,
            chain: vec![info],
        });
    };
    let parent_path = match &options.parent {
        Some(parent) => parent.clone(),
        None => link.find(path)?,
    };
    let below = OpenOptions {
        accept_parent: options.accept_parent,
        ..OpenOptions::default()
    };
    let parent = open_above(&parent_path, &below, locking, above)?;
    if let Err(reason) = link.check(&parent_path) {
        if !options.accept_parent {
            return Err(Error::ParentMismatch {
                child: path.into(),
                parent: parent_path,
                reason,
            });
        }
        layer
            .info
            .warnings
            .push(format!("the parent was accepted although {reason}"));
    }
    layer.info.parent = Some(parent_path);
    let mut chain = vec![layer.info.clone()];
    chain.extend(parent.chain);
    let disk = layer.open(Some(parent.disk), options)?;
    Ok(Opened { disk, chain })
}
