//! Chains: who stands on whom, whether each is the right one, and what to do when one has moved.

use crate::Error;
use crate::detect::Format;
use crate::folder::is_same;
use crate::fresh::folder_of;
use crate::info::DiskInfo;
use crate::layer::Layer;
use crate::lock::Locks;
use crate::open::{MOST_FILES, info, storage};
use crate::parent_link::{vhd_link, vhdx_link};
use serde::Serialize;
use std::path::{Path, PathBuf};
use vhdx::Guid;

/// One file of a chain, and how it stands on the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The file.
    #[serde(flatten)]
    pub info: DiskInfo,
    /// Why its parent can't be used; nothing if it can, or if it has none.
    pub problem: Option<String>,
}

/// The files of a chain as far as it can be followed, the uppermost first. Links that are broken are
/// told, not refused.
///
/// # Errors
/// If the uppermost file can't be understood.
pub fn chain(path: &Path) -> Result<Vec<Link>, Error> {
    let mut links: Vec<Link> = Vec::new();
    let mut next = Some(path.to_path_buf());
    while let Some(path) = next.take() {
        let again = links.iter().any(|link| is_same(&link.info.path, &path));
        let read = match again || links.len() >= MOST_FILES {
            true => Err("the chain comes back to where it was, or is too long".to_string()),
            false => read_link(&path).map_err(|error| error.to_string()),
        };
        match (read, links.last_mut()) {
            (Ok((link, parent)), _) => {
                next = parent;
                links.push(link);
            }
            (Err(problem), Some(child)) => child.problem = Some(problem),
            (Err(_), None) => {
                info(&path, None)?;
            }
        }
    }
    Ok(links)
}

/// A file and, if it was found, its parent's path.
fn read_link(path: &Path) -> Result<(Link, Option<PathBuf>), Error> {
    let (file, format) = storage(path, None, false)?;
    let layer = Layer::read(path, file, format)?;
    let mut info = layer.info;
    let Some(link) = layer.link else {
        return Ok((
            Link {
                info,
                problem: None,
            },
            None,
        ));
    };
    let (parent, problem) = match link.find(path) {
        Ok(parent) => {
            let problem = link.check(&parent).err();
            info.parent = Some(parent.clone());
            (Some(parent), problem)
        }
        Err(error) => (None, Some(error.to_string())),
    };
    Ok((Link { info, problem }, parent))
}

/// Makes a child name `parent` as its parent: its path, its identity, its time stamp. Survives a
/// power cut: the child names the old parent or the new one.
///
/// # Errors
/// If the child names another identity and that is not to be accepted, or a file can't be used.
pub fn relink(child: &Path, parent: &Path, accept_parent: bool) -> Result<(), Error> {
    let mut locks = Locks::exclusive(child)?;
    if !is_same(child, parent) {
        locks.add(parent, false)?;
    }
    relink_held(child, parent, accept_parent)
}

/// [`relink`] for those who hold the locks.
pub(crate) fn relink_held(child: &Path, parent: &Path, accept_parent: bool) -> Result<(), Error> {
    link_to(child, parent, accept_parent, None)
}

/// Makes a VHDX whose parent is about to get another identity name both. Other children can name only one.
pub(crate) fn expect_change(child: &Path, parent: &Path, to: Guid) -> Result<(), Error> {
    link_to(child, parent, true, Some(to))
}

fn link_to(
    child: &Path,
    parent: &Path,
    accept_parent: bool,
    about_to_be: Option<Guid>,
) -> Result<(), Error> {
    let (file, format) = storage(child, None, true)?;
    let mut layer = Layer::read(child, file, format)?;
    let Some(link) = &layer.link else {
        return Err(Error::refused(child, "it has no parent"));
    };
    if is_same(child, parent) {
        return Err(Error::refused(child, "a disk can't be its own parent"));
    }
    if let Err(reason) = link.check(parent)
        && !accept_parent
    {
        return Err(Error::ParentMismatch {
            child: child.into(),
            parent: parent.into(),
            reason,
        });
    }
    match format {
        Format::Vhd => {
            let (link, size) = vhd_link(child, parent)?;
            if size != layer.info.virtual_size_bytes {
                return Err(Error::refused(
                    parent,
                    format!(
                        "it has {size} bytes and the child {}; a differencing VHD has the size of its parent",
                        layer.info.virtual_size_bytes
                    ),
                ));
            }
            vhd::relink(layer.storage(), &link).map_err(Error::disk(child))
        }
        Format::Vhdx => {
            let link = vhdx_link(child, parent)?.link;
            let link = match about_to_be {
                Some(identity) => link.or(identity),
                None => link,
            };
            let (file, _) = layer.into_parts();
            vhdx::relink(file.0, &link).map_err(Error::disk(child))
        }
        Format::Raw | Format::Vmdk => Err(Error::refused(child, "it has no parent")),
    }
}

/// Mends a chain whose files have moved: for each link that is broken, the parent is looked for by its
/// identity in the child's folder and in `folders`, and the child made to name it. Answers the links
/// that were mended: child and parent.
///
/// # Errors
/// If a parent is nowhere, or a file can't be used. What was mended until then stays so.
pub fn repair_chain(path: &Path, folders: &[PathBuf]) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let mut mended = Vec::new();
    for _ in 0..MOST_FILES {
        let links = chain(path)?;
        let Some(broken) = links.iter().find(|link| link.problem.is_some()) else {
            break;
        };
        let child = broken.info.path.clone();
        let own = folder_of(&child).to_path_buf();
        let (file, format) = storage(&child, None, false)?;
        let Some(link) = Layer::read(&child, file, format)?.link else {
            break;
        };
        let fits =
            |candidate: &PathBuf| !is_same(candidate, &child) && link.check(candidate).is_ok();
        let found = [own]
            .iter()
            .chain(folders)
            .find_map(|folder| files(folder).into_iter().find(fits));
        let Some(parent) = found else {
            return Err(Error::refused(
                &child,
                format!(
                    "{}; no file of its parent's identity is in its folder or in those that were named",
                    broken.problem.clone().unwrap_or_default()
                ),
            ));
        };
        relink(&child, &parent, false)?;
        mended.push((child, parent));
    }
    Ok(mended)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}
