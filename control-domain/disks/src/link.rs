//! What a child says of its parent, whatever its format.

use crate::Error;
use crate::fresh::folder_of;
use crate::identity::vhd_seconds;
use crate::layer::{Content, Layer};
use crate::open::storage;
use crate::parent_path;
use std::path::{Path, PathBuf};

/// What a child says of its parent.
pub(crate) enum Link {
    Vhd(vhd::ParentLink),
    Vhdx(vhdx::ParentLink),
}

impl Link {
    /// The recorded paths in the order in which to try them, and whether each begins at the child's folder.
    pub fn paths(&self) -> Vec<(&str, bool)> {
        match self {
            Self::Vhd(link) => link
                .paths
                .iter()
                .map(|path| (path.path.as_str(), path.platform.is_relative()))
                .collect(),
            Self::Vhdx(link) => {
                let relative = link.relative_path().map(|path| (path, true));
                let absolute = [link.volume_path(), link.absolute_win32_path()];
                let absolute = absolute.into_iter().flatten().map(|path| (path, false));
                relative.into_iter().chain(absolute).collect()
            }
        }
    }

    /// The identity that the child names.
    pub fn identifier(&self) -> String {
        match self {
            Self::Vhd(link) => vhd::identifier(&link.unique_id),
            Self::Vhdx(link) => link.linkage.to_string(),
        }
    }

    /// Finds the parent's file: by each recorded path, the relative ones first, then by name beside the child.
    pub fn find(&self, child: &Path) -> Result<PathBuf, Error> {
        let folder = folder_of(child);
        let paths = self.paths();
        let recorded = paths
            .iter()
            .find_map(|(path, relative)| parent_path::existing(folder, path, *relative));
        let name = match self {
            Self::Vhd(link) => Some(link.name.as_str()),
            Self::Vhdx(_) => None,
        };
        let mut names = paths.iter().map(|(path, _)| *path).chain(name);
        recorded
            .or_else(|| names.find_map(|name| parent_path::beside(folder, name)))
            .ok_or_else(|| {
                let mut tried: Vec<PathBuf> = paths
                    .iter()
                    .map(|(path, relative)| parent_path::wanted(folder, path, *relative))
                    .collect();
                tried.dedup();
                Error::ParentMissing {
                    child: child.into(),
                    tried,
                }
            })
    }

    /// Checks that a file is the parent that the child was made on, unchanged since.
    pub fn check(&self, parent: &Path) -> Result<(), String> {
        let (file, format) = storage(parent, None, false).map_err(|e| e.to_string())?;
        let layer = Layer::read(parent, file, format).map_err(|e| e.to_string())?;
        let found = layer.identity().ok_or(
            "a raw disk has no identity, so nothing says that it is the one that the child was made on",
        )?;
        match (self, &layer.content) {
            (Self::Vhd(link), Content::Vhd(located)) => {
                link.check(&located.footer, file_timestamp(parent))
            }
            (Self::Vhd(link), _) if link.unique_id == found => Ok(()),
            (Self::Vhd(link), _) => Err(format!(
                "the child names {}, the parent is {}",
                vhd::identifier(&link.unique_id),
                vhd::identifier(&found)
            )),
            (Self::Vhdx(link), _) => link.verify(vhdx::Guid(found)).map_err(|e| e.to_string()),
        }
    }
}

/// When a file was last written, in seconds since 2000-01-01 UTC.
fn file_timestamp(path: &Path) -> Option<u32> {
    vhd_seconds(std::fs::metadata(path).ok()?.modified().ok()?)
}
