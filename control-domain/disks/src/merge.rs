//! Merging: what some files of a chain hold goes into one below them.
//!
//! # Order of writes
//!
//! 0. a lower file that is a VHDX changes its identity by being written: its child is told the new one
//!    beside the old, the file takes it, and the child forgets the old one;
//! 1. the data is written into the lower file, and flushed. The files above it hold the same data and
//!    hide it, so the chain reads the same at every point, and the merge can be run again;
//! 2. children of the merged file are told that their parent is the lower one;
//! 3. the merged files go, or the uppermost becomes an empty child of the lower one.
//!
//! A power cut, or a lack of room, in between loses nothing; the same call goes on.

use crate::Error;
use crate::chain::{chain, expect_change, relink_held};
use crate::convert::CopyError;
use crate::create::write_empty_child;
use crate::detect::Format;
use crate::folder::{children_near, is_same};
use crate::fresh::{Fresh, folder_of, sync_folder};
use crate::identity::Identity;
use crate::lock::lock_chain;
use crate::open::{OpenOptions, Opened, open_held};
use crate::progress::Progress;
use disk::{Disk, DiskError, Place};
use serde::Serialize;
use std::path::{Path, PathBuf};
use vhdx::{Guid, next_data_write_guid};

/// How much is copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// What becomes of the file that was merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leftover {
    /// It becomes an empty child, so that the machine that names it goes on.
    #[default]
    Empty,
    /// It is deleted, and its children, if there are any, get the lower file as their parent.
    Delete,
}

/// How to merge.
#[derive(Clone, Debug, Default)]
pub struct MergeOptions {
    /// Into which file of the chain; nothing: into the parent.
    pub into: Option<PathBuf>,
    /// What becomes of the file.
    pub leftover: Leftover,
    /// As in [`OpenOptions::accept_parent`].
    pub accept_parent: bool,
    /// Write although other disks stand on the lower file: they are of no use afterwards.
    pub spoil_siblings: bool,
}

/// What a merge does, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MergePlan {
    /// The file that is written.
    pub into: PathBuf,
    /// The files whose data goes there, the uppermost first.
    pub merged: Vec<PathBuf>,
    /// How much data that is, in bytes.
    pub bytes_to_write: u64,
    /// In how many pieces.
    pub pieces: u64,
    /// Children of the uppermost file, which get a new parent if that file is deleted.
    pub relinked: Vec<PathBuf>,
    /// Other disks that stand on a file that changes or goes: they forbid the merge.
    pub siblings: Vec<PathBuf>,
}

/// Says what [`merge`] would do. Nothing is written.
///
/// # Errors
/// If the chain can't be opened, or the file to merge into is not in it.
pub fn plan_merge(path: &Path, options: &MergeOptions) -> Result<MergePlan, Error> {
    let links = chain(path)?;
    let paths: Vec<_> = links.into_iter().map(|link| link.info.path).collect();
    let _locks = lock_chain(&paths, 0)?;
    let mut opened = open_chain(path, options)?;
    plan(path, options, &mut opened)
}

/// The chain, whose locks are held.
fn open_chain(path: &Path, options: &MergeOptions) -> Result<Opened, Error> {
    let open_options = OpenOptions {
        accept_parent: options.accept_parent,
        ..OpenOptions::read_only()
    };
    let opened = open_held(path, &open_options)?;
    if opened.chain.len() < 2 {
        return Err(Error::refused(
            path,
            "it has no parent that it could be merged into",
        ));
    }
    Ok(opened)
}

fn plan(path: &Path, options: &MergeOptions, opened: &mut Opened) -> Result<MergePlan, Error> {
    let chain = &opened.chain;
    let depth = depth_of_target(chain.iter().map(|info| &info.path), options)?;
    let into = chain[depth].path.clone();
    let merged: Vec<PathBuf> = chain[..depth].iter().map(|i| i.path.clone()).collect();
    let mut siblings = Vec::new();
    for below in &chain[1..=depth] {
        let others = children_near(&below.path, path)?;
        siblings.extend(
            others
                .into_iter()
                .filter(|other| !merged.iter().any(|merged| is_same(merged, other))),
        );
    }
    let relinked = match options.leftover {
        Leftover::Delete => children_near(path, path)?,
        Leftover::Empty => Vec::new(),
    };
    let (mut bytes_to_write, mut pieces) = (0, 0);
    let mut below = open_below(&into, options)?;
    let top = opened.disk.as_mut();
    each_held(top, depth as u32, below.as_mut(), &mut |_, length| {
        bytes_to_write += length;
        pieces += 1;
        Ok(())
    })
    .map_err(Error::disk(path))?;
    Ok(MergePlan {
        into,
        merged,
        bytes_to_write,
        pieces,
        relinked,
        siblings,
    })
}

/// How far down the file to merge into is.
fn depth_of_target<'a>(
    mut chain: impl Iterator<Item = &'a PathBuf>,
    options: &MergeOptions,
) -> Result<usize, Error> {
    let Some(into) = &options.into else {
        return Ok(1);
    };
    chain
        .position(|path| is_same(path, into))
        .filter(|depth| *depth > 0)
        .ok_or_else(|| Error::refused(into, "it is not below the file that is to be merged"))
}

/// Merges a file, and those between, into a lower file of its chain. Answers what was done.
///
/// # Errors
/// If the chain can't be opened, other disks stand on what would change, or a file can't be written.
pub fn merge(
    path: &Path,
    options: &MergeOptions,
    progress: Progress<'_>,
) -> Result<MergePlan, Error> {
    let links = chain(path)?;
    let paths: Vec<_> = links.into_iter().map(|link| link.info.path).collect();
    let mut locks = lock_chain(&paths, depth_of_target(paths.iter(), options)? + 1)?;
    let mut opened = open_chain(path, options)?;
    let plan = plan(path, options, &mut opened)?;
    for child in &plan.relinked {
        locks.add(child, true)?;
    }
    if let Some(sibling) = plan.siblings.first()
        && !options.spoil_siblings
    {
        return Err(Error::refused(
            &plan.into,
            format!(
                "{} stands on it too and would be of no use afterwards; merge or convert that one first",
                sibling.display()
            ),
        ));
    }
    let depth = plan.merged.len() as u32;
    let seed = Identity::random()?.unique_id;
    let into_options = OpenOptions {
        accept_parent: options.accept_parent,
        seed: Some(seed),
        ..OpenOptions::writable()
    };
    let mut into = open_held(&plan.into, &into_options)?.disk;
    if into.size() < opened.disk.size() {
        return Err(Error::refused(
            &plan.into,
            format!(
                "it has {} bytes and the disk above it {}; resize it first",
                into.size(),
                opened.disk.size()
            ),
        ));
    }
    if opened.chain[plan.merged.len()].format == Format::Vhdx {
        let child = &opened.chain[plan.merged.len() - 1].path;
        change_identity(into.as_mut(), &plan.into, child, Guid(seed))?;
    }
    let mut below = open_below(&plan.into, options)?;
    let top = opened.disk.as_mut();
    merge_data(top, depth, below.as_mut(), into.as_mut(), progress)
        .map_err(|failed| failed.on(path, &plan.into))?;
    into.close().map_err(Error::disk(&plan.into))?;
    drop((into, below, opened));
    leave(&plan, options.leftover)?;
    Ok(plan)
}

/// Step 0: a VHDX gets a new identity with the first write. So it gets it now, by a write that changes
/// nothing, and its child names both until then ([MS-VHDX] 2.6.2.6.3, `parent_linkage2`): the chain opens at every
/// point of the merge. (A VHD on a VHDX can name one only: a power cut in between leaves a child that has to be told
/// to accept its parent, which still is what it was.)
fn change_identity(
    into: &mut dyn Disk,
    into_path: &Path,
    child: &Path,
    seed: Guid,
) -> Result<(), Error> {
    expect_change(child, into_path, next_data_write_guid(seed))?;
    let mut sector = vec![0; into.logical_sector_size() as usize];
    into.read(0, &mut sector)
        .and_then(|()| into.write(0, &sector))
        .and_then(|()| into.flush())
        .map_err(Error::disk(into_path))?;
    relink_held(child, into_path, true)
}

/// Step 1 of a merge, for disks that are open: writes into `into` what the uppermost `depth` files of an open chain hold, and flushes it.
/// `into` is the file below them, open for writing, and `below` the same as it was before.
///
/// # Errors
/// Which side failed; the call can be repeated.
pub fn merge_data(
    top: &mut dyn Disk,
    depth: u32,
    below: &mut dyn Disk,
    into: &mut dyn Disk,
    progress: Progress<'_>,
) -> Result<(), CopyError> {
    let size = top.size();
    let mut pieces = Vec::new();
    each_held(top, depth, below, &mut |start, length| {
        pieces.push((start, length));
        Ok(())
    })
    .map_err(CopyError::Read)?;
    let mut data = vec![0; CHUNK_BYTES as usize];
    for (start, length) in pieces {
        let mut at = start;
        while at < start + length {
            let part = &mut data[..(start + length - at).min(CHUNK_BYTES) as usize];
            top.read(at, part).map_err(CopyError::Read)?;
            into.write(at, part).map_err(CopyError::Write)?;
            at += part.len() as u64;
            progress(at, size);
        }
    }
    into.flush().map_err(CopyError::Write)?;
    progress(size, size);
    Ok(())
}

/// Calls `f` with offset and length of each stretch that is not simply what lies `depth` files down,
/// in `below`: data of the files above it, and zeros of theirs that hide data of it.
fn each_held(
    top: &mut dyn Disk,
    depth: u32,
    below: &mut dyn Disk,
    f: &mut dyn FnMut(u64, u64) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let size = top.size();
    let mut at = 0;
    let mut held: Option<(u64, u64)> = None;
    while at < size {
        let extent = top.extent(at)?;
        let mut length = extent.length.max(1);
        let is_held = match extent.place {
            Place::File { depth: of, .. } | Place::Packed { depth: of } => of < depth,
            Place::Zero if at >= below.size() => false,
            Place::Zero => {
                let hidden = below.extent(at)?;
                length = length.min(hidden.length.max(1));
                hidden.place != Place::Zero
            }
        };
        held = match (held, is_held) {
            (Some((start, before)), true) => Some((start, before + length)),
            (None, true) => Some((at, length)),
            (Some((start, before)), false) => {
                f(start, before)?;
                None
            }
            (None, false) => None,
        };
        at += length;
    }
    held.map_or(Ok(()), |(start, length)| f(start, length))
}

/// The lower file, for looking at what it holds before anything is written.
fn open_below(into: &Path, options: &MergeOptions) -> Result<Box<dyn Disk>, Error> {
    let open_options = OpenOptions {
        accept_parent: options.accept_parent,
        ..OpenOptions::read_only()
    };
    open_held(into, &open_options).map(|opened| opened.disk)
}

/// Steps 2 and 3.
fn leave(plan: &MergePlan, leftover: Leftover) -> Result<(), Error> {
    let mut merged = plan.merged.iter();
    match leftover {
        Leftover::Empty => {
            if let Some(top) = merged.next() {
                let fresh = Fresh::instead_of(top)?;
                write_empty_child(fresh.path(), top, &plan.into)?;
                fresh.replace()?;
            }
        }
        Leftover::Delete => {
            for child in &plan.relinked {
                relink_held(child, &plan.into, true)?;
            }
        }
    }
    for file in merged {
        std::fs::remove_file(file).map_err(Error::file(file, "delete"))?;
        sync_folder(folder_of(file))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::create::{NewDisk, NewKind, create};
    use crate::open::open;

    #[test]
    fn a_cut_while_the_parent_changes_its_identity_leaves_a_chain_that_opens() {
        let folder = std::env::temp_dir().join(format!("disks-identity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [base, child] = ["base.vhdx", "child.vhdx"].map(|name| folder.join(name));
        create(&base, &NewDisk::new(NewKind::VhdxDynamic, 8 << 20)).unwrap();
        let on_it = NewKind::VhdxDifferencing {
            parent: base.clone(),
        };
        create(&child, &NewDisk::new(on_it, 0)).unwrap();
        let opens = || open(&child, &OpenOptions::read_only()).map(drop);
        let seed = Guid(Identity::random().unwrap().unique_id);
        expect_change(&child, &base, next_data_write_guid(seed)).unwrap();
        opens().unwrap();
        let options = OpenOptions {
            seed: Some(seed.0),
            ..OpenOptions::writable()
        };
        let mut into = open_held(&base, &options).unwrap().disk;
        into.write(0, &[0; 512]).unwrap();
        into.close().unwrap();
        drop(into);
        opens().unwrap();
        // Once more, as after a cut, and to the end.
        let seed = Guid(Identity::random().unwrap().unique_id);
        let options = OpenOptions {
            seed: Some(seed.0),
            ..OpenOptions::writable()
        };
        let mut into = open_held(&base, &options).unwrap().disk;
        change_identity(into.as_mut(), &base, &child, seed).unwrap();
        into.close().unwrap();
        drop(into);
        opens().unwrap();
        // What it named before is forgotten: another writer is noticed.
        drop(open_held(&base, &OpenOptions::writable()).unwrap());
        opens().unwrap();
        let mut into = open_held(&base, &OpenOptions::writable()).unwrap().disk;
        into.write(0, &[0; 512]).unwrap();
        into.close().unwrap();
        drop(into);
        assert!(matches!(opens(), Err(Error::ParentMismatch { .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
