//! New disk files. A file that is there is never replaced.

use crate::Error;
use crate::detect::Format;
use crate::fresh::Fresh;
use crate::identity::Identity;
use crate::info::DiskInfo;
use crate::layer::{Content, Layer};
use crate::lock::Locks;
use crate::open::{info, storage};
use crate::parent_link::{vhd_link, vhdx_link};
use disk::{Checked, DiskError, FileStorage};
use std::path::{Path, PathBuf};
use vhd::DEFAULT_BLOCK_SIZE;
use vhdx::Guid;

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
    /// VHDX, all of it there.
    VhdxFixed,
    /// VHDX that grows.
    VhdxDynamic,
    /// VHDX on a parent.
    VhdxDifferencing {
        /// As for a VHD.
        parent: PathBuf,
    },
}

impl NewKind {
    /// The format, where opening the new file needs to be told: its content does not say.
    pub(crate) fn told_format(&self) -> Option<Format> {
        matches!(self, Self::Raw).then_some(Format::Raw)
    }

    /// The parent, for a differencing disk.
    pub(crate) fn parent(&self) -> Option<&Path> {
        match self {
            Self::VhdDifferencing { parent } | Self::VhdxDifferencing { parent } => Some(parent),
            _ => None,
        }
    }
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
    /// Bytes of a sector, as the guest sees it: 512 (nothing means that) or, for VHDX, 4096. A
    /// differencing disk has its parent's.
    pub logical_sector_bytes: Option<u32>,
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
            logical_sector_bytes: None,
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
    let mut locks = Locks::default();
    if let Some(parent) = new.kind.parent() {
        locks.add(parent, false)?;
    }
    write_empty(fresh.path(), new, path)?;
    fresh.finish()?;
    info(path, new.kind.told_format())
}

/// Writes an empty disk into an empty file that is to be known as `path`.
pub(crate) fn write_empty(file: &Path, new: &NewDisk, path: &Path) -> Result<(), Error> {
    let identity = match new.identity {
        Some(identity) => identity,
        None => Identity::random()?,
    };
    let Identity {
        unique_id: id,
        timestamp,
    } = identity;
    let size = new.size_bytes;
    let block_size = new.block_size_bytes.unwrap_or(DEFAULT_BLOCK_SIZE);
    let is_vhd = matches!(
        new.kind,
        NewKind::VhdFixed | NewKind::VhdDynamic | NewKind::VhdDifferencing { .. }
    );
    if is_vhd && new.logical_sector_bytes.is_some_and(|bytes| bytes != 512) {
        return Err(Error::refused(
            path,
            "a VHD has sectors of 512 bytes; take VHDX for others",
        ));
    }
    let storage = FileStorage::open(file, true).map_err(Error::file(path, "create"))?;
    let written = match &new.kind {
        NewKind::Raw => write_raw(storage, size),
        NewKind::VhdFixed => vhd::create_fixed(storage, size, id, timestamp).map(drop),
        NewKind::VhdDynamic => {
            vhd::create_dynamic(storage, size, block_size, id, timestamp).map(drop)
        }
        NewKind::VhdDifferencing { parent } => {
            let (link, size) = vhd_link(path, parent)?;
            vhd::create_differencing(storage, size, block_size, id, timestamp, &link).map(drop)
        }
        NewKind::VhdxFixed | NewKind::VhdxDynamic | NewKind::VhdxDifferencing { .. } => {
            let new = vhdx_values(new, &identity, path)?;
            vhdx::create(storage, &new).map(drop)
        }
    };
    written.map_err(Error::disk(path))
}

/// The values of a new VHDX. Its other identifiers differ from the identity in their last byte.
fn vhdx_values(new: &NewDisk, identity: &Identity, path: &Path) -> Result<vhdx::New, Error> {
    let derived = |number| Guid(identity.unique_id).derived(number);
    let mut values = match &new.kind {
        NewKind::VhdxFixed => vhdx::New::fixed(new.size_bytes),
        _ => vhdx::New::dynamic(new.size_bytes),
    };
    values.disk_id = derived(0);
    values.file_write_guid = derived(1);
    values.data_write_guid = derived(2);
    if let Some(bytes) = new.logical_sector_bytes {
        values.logical_sector = bytes;
    }
    if let Some(parent) = new.kind.parent() {
        let linked = vhdx_link(path, parent)?;
        values.size = linked.size;
        values.logical_sector = linked.logical_sector_bytes;
        values.disk_id = linked.disk_id.unwrap_or(values.disk_id);
        values.parent = Some(linked.link);
        values.block_size = DEFAULT_BLOCK_SIZE.into();
    }
    if let Some(bytes) = new.block_size_bytes {
        values.block_size = bytes.into();
    }
    Ok(values)
}

fn write_raw(storage: FileStorage, size: u64) -> Result<(), DiskError> {
    if size == 0 || !size.is_multiple_of(disk::SECTOR_SIZE) {
        return Err(DiskError::Unsupported {
            reason: format!(
                "a raw disk can't have {size} bytes: it must be a number of 512-byte sectors"
            ),
        });
    }
    let mut storage = Checked(storage);
    storage.set_length(size)?;
    storage.flush()
}

/// Writes an empty child of `parent` into an empty file that is to take the place of `old`: of its
/// format, with its identity, its time stamp and its block size.
pub(crate) fn write_empty_child(file: &Path, old: &Path, parent: &Path) -> Result<(), Error> {
    let (storage, format) = storage(old, None, false)?;
    let layer = Layer::read(old, storage, format)?;
    let parent = parent.into();
    let (kind, identity) = match &layer.content {
        Content::Vhd(located) => (
            NewKind::VhdDifferencing { parent },
            Identity {
                unique_id: located.footer.unique_id,
                timestamp: located.footer.timestamp.get(),
            },
        ),
        // What changes with the content must not be what it was, so all but the disk's identity is new.
        Content::Vhdx(_) => (NewKind::VhdxDifferencing { parent }, Identity::random()?),
        _ => return Err(Error::refused(old, "it has no parent")),
    };
    let new = NewDisk {
        block_size_bytes: layer
            .info
            .block_size_bytes
            .and_then(|bytes| u32::try_from(bytes).ok()),
        identity: Some(identity),
        ..NewDisk::new(kind, 0)
    };
    write_empty(file, &new, old)
}
