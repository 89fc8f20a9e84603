//! One file of a chain: what it is, and whom it stands on.

use crate::Error;
use crate::create::folder_of;
use crate::detect::Format;
use crate::identity::vhd_seconds;
use crate::info::{DiskInfo, Kind};
use crate::parent_path;
use disk::{Checked, Disk, DiskError, FileStorage, Raw};
use std::path::{Path, PathBuf};
use vhd::{DiskType, Located, ParentLink};

/// A file that was looked at but not opened as a disk.
pub(crate) struct Layer {
    pub info: DiskInfo,
    pub link: Option<Link>,
    storage: Checked<FileStorage>,
    located: Option<Located>,
}

/// What a child says of its parent.
pub(crate) struct Link {
    vhd: ParentLink,
}

impl Layer {
    /// Looks at a file.
    pub fn read(
        path: &Path,
        mut storage: Checked<FileStorage>,
        format: Format,
    ) -> Result<Self, Error> {
        let length = storage.length().map_err(Error::disk(path))?;
        let info = DiskInfo {
            path: path.into(),
            format,
            kind: Kind::Fixed,
            virtual_size_bytes: length,
            logical_sector_bytes: disk::SECTOR_SIZE as u32,
            file_size_bytes: length,
            block_size_bytes: None,
            identifier: None,
            creator: None,
            parent: None,
            parent_identifier: None,
            parent_paths: Vec::new(),
            warnings: Vec::new(),
        };
        let mut layer = Self {
            info,
            link: None,
            storage,
            located: None,
        };
        match format {
            Format::Raw => {}
            Format::Vhd => layer.read_vhd().map_err(Error::disk(path))?,
            Format::Vhdx | Format::Vmdk => {
                return Err(Error::refused(
                    path,
                    format!("{format} is not supported yet; convert it to VHD where it was made"),
                ));
            }
        }
        Ok(layer)
    }

    fn read_vhd(&mut self) -> Result<(), DiskError> {
        let located = Located::find(&mut self.storage)?;
        let footer = &located.footer;
        let info = &mut self.info;
        info.kind = match footer.kind(located.offset.unwrap_or(0))? {
            DiskType::Fixed => Kind::Fixed,
            DiskType::Dynamic => Kind::Dynamic,
            DiskType::Differencing => Kind::Differencing,
        };
        info.virtual_size_bytes = footer.current_size.get();
        info.identifier = Some(vhd::identifier(&footer.unique_id));
        info.creator = Some(footer.creator_name());
        info.warnings.extend(located.warning.clone());
        if info.kind != Kind::Fixed {
            info.block_size_bytes = Some(
                vhd::Header::read(&mut self.storage, footer)?
                    .block_size
                    .get()
                    .into(),
            );
        }
        if info.kind == Kind::Differencing {
            let link = ParentLink::read(&mut self.storage, footer)?;
            info.parent_identifier = Some(vhd::identifier(&link.unique_id));
            info.parent_paths = link.paths.iter().map(|path| path.path.clone()).collect();
            info.parent = info.parent_paths.first().map(PathBuf::from);
            self.link = Some(Link { vhd: link });
        }
        self.located = Some(located);
        Ok(())
    }

    /// Opens the disk. One with a parent needs it.
    pub fn open(
        self,
        parent: Option<Box<dyn Disk>>,
        writable: bool,
    ) -> Result<Box<dyn Disk>, Error> {
        let storage = self.storage.0;
        let disk = match self.located {
            None => Raw::open(storage, writable).map(|disk| Box::new(disk) as Box<dyn Disk>),
            Some(located) => located.open(storage, parent, writable),
        };
        disk.map_err(Error::disk(&self.info.path))
    }
}

impl Layer {
    /// The file, open as it was given.
    pub fn storage(&mut self) -> &mut Checked<FileStorage> {
        &mut self.storage
    }

    /// Gives the disk a new size in bytes.
    pub fn resize(self, size: u64) -> Result<(), Error> {
        let mut storage = self.storage;
        let resized = match self.located {
            Some(located) => located.resize(storage.0, size),
            None if size == 0 || !size.is_multiple_of(disk::SECTOR_SIZE) => {
                return Err(Error::refused(
                    &self.info.path,
                    "a raw disk must be a whole number of 512-byte sectors",
                ));
            }
            None => storage.set_length(size).and_then(|()| storage.flush()),
        };
        resized.map_err(Error::disk(&self.info.path))
    }

    /// Gives back room that the disk does not need.
    pub fn compact(
        self,
        parent: Option<Box<dyn Disk>>,
        progress: crate::Progress<'_>,
    ) -> Result<(), Error> {
        let compacted = match self.located {
            Some(located) => located.compact(self.storage.0, parent, progress),
            None => {
                return Err(Error::refused(
                    &self.info.path,
                    "a raw disk always has its full size; convert it to a dynamic one instead",
                ));
            }
        };
        compacted.map_err(Error::disk(&self.info.path))
    }
}

impl Link {
    /// Finds the parent's file: by each recorded path, the relative ones first, then by name beside the child.
    pub fn find(&self, child: &Path) -> Result<PathBuf, Error> {
        let folder = folder_of(child);
        let paths = &self.vhd.paths;
        let recorded = paths
            .iter()
            .find_map(|p| parent_path::existing(folder, &p.path, p.platform.is_relative()));
        let names = || paths.iter().map(|p| &p.path).chain([&self.vhd.name]);
        recorded
            .or_else(|| names().find_map(|name| parent_path::beside(folder, name)))
            .ok_or_else(|| {
                let mut tried: Vec<PathBuf> = paths
                    .iter()
                    .map(|p| parent_path::wanted(folder, &p.path, p.platform.is_relative()))
                    .collect();
                tried.dedup();
                Error::ParentMissing {
                    child: child.into(),
                    tried,
                }
            })
    }

    /// Checks that a file is the parent that the child was made on.
    pub fn check(&self, parent: &Path) -> Result<(), String> {
        let storage = FileStorage::open(parent, false).map_err(|e| e.to_string())?;
        let located = Located::find(&mut Checked(storage))
            .map_err(|_| "the child wants a VHD, and the parent is none".to_string())?;
        self.vhd.check(&located.footer, file_timestamp(parent))
    }
}

/// When a file was last written, in seconds since 2000-01-01 UTC.
fn file_timestamp(path: &Path) -> Option<u32> {
    vhd_seconds(std::fs::metadata(path).ok()?.modified().ok()?)
}
