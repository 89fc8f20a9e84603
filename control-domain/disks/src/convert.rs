//! Converting: a whole chain flat into a new file of any kind.

use crate::Error;
use crate::create::{NewDisk, NewKind, write_empty};
use crate::fresh::Fresh;
use crate::identity::Identity;
use crate::info::DiskInfo;
use crate::open::{OpenOptions, info, open};
use crate::progress::Progress;
use disk::{Disk, DiskError, Place};
use std::path::Path;

/// How much is copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Writes what `source` reads as, parents and all, into a new file. `new.size_bytes` is of no
/// account: the disk gets the source's size. With an identity given, the same source gives the same bytes. Zeros take no room where the kind allows that.
///
/// # Errors
/// If either can't be used, or the target is there already; the target is then not made.
pub fn convert(
    source: &Path,
    options: &OpenOptions,
    target: &Path,
    new: &NewDisk,
    progress: Progress<'_>,
) -> Result<DiskInfo, Error> {
    if new.kind.parent().is_some() {
        return Err(Error::refused(
            target,
            "a conversion is flat and needs no parent; create a differencing disk and write into it instead",
        ));
    }
    let mut from = open(source, options)?.disk;
    let identity = match new.identity {
        Some(identity) => identity,
        None => Identity::random()?,
    };
    let new = NewDisk {
        identity: Some(identity),
        size_bytes: from.size(),
        logical_sector_bytes: new.logical_sector_bytes.or(match new.kind {
            NewKind::VhdxFixed | NewKind::VhdxDynamic => Some(from.logical_sector_size()),
            _ => None,
        }),
        ..new.clone()
    };
    let fresh = Fresh::begin(target)?;
    write_empty(fresh.path(), &new, target)?;
    let target_options = OpenOptions {
        format: new.kind.told_format(),
        seed: Some(identity.unique_id),
        ..OpenOptions::writable()
    };
    let mut to = open(fresh.path(), &target_options)?.disk;
    let size = from.size();
    copy(from.as_mut(), to.as_mut(), size, progress).map_err(|failed| failed.on(source, target))?;
    to.close().map_err(Error::disk(target))?;
    drop(to);
    fresh.finish()?;
    info(target, new.kind.told_format())
}

/// Which side of a copy failed.
#[derive(Debug)]
pub enum CopyError {
    /// The disk that is read.
    Read(DiskError),
    /// The disk that is written.
    Write(DiskError),
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

/// Copies all that is not zero, up to `size`, into a disk that is all zeros.
pub(crate) fn copy(
    from: &mut dyn Disk,
    to: &mut dyn Disk,
    size: u64,
    progress: Progress<'_>,
) -> Result<(), CopyError> {
    let mut data = vec![0; CHUNK_BYTES as usize];
    let mut at = 0;
    while at < size {
        let extent = from.extent(at).map_err(CopyError::Read)?;
        let mut length = extent.length.min(size - at);
        if extent.place != Place::Zero {
            length = length.min(CHUNK_BYTES);
            let data = &mut data[..length as usize];
            from.read(at, data).map_err(CopyError::Read)?;
            if data.iter().any(|byte| *byte != 0) {
                to.write(at, data).map_err(CopyError::Write)?;
            }
        }
        at += length.max(1);
        progress(at, size);
    }
    Ok(())
}
