//! One file of a chain: what it is, and whom it stands on.

use crate::Error;
use crate::detect::Format;
use crate::fresh::folder_of;
use crate::identity::vhd_time;
use crate::info::{DiskInfo, Kind};
use crate::link::Link;
use crate::lock::lock;
use crate::open::OpenOptions;
use crate::parent_path;
use disk::{Checked, Disk, DiskError, FileStorage, Raw};
use std::io;
use std::path::{Path, PathBuf};
use vhd::{DiskType, Located};
use vhdx::Vhdx;
use vmdk::Vmdk;

/// A file that was looked at but not opened as a disk.
pub(crate) struct Layer {
    pub info: DiskInfo,
    pub link: Option<Link>,
    pub content: Content,
    storage: Checked<FileStorage>,
    /// The files that a VMDK names.
    extents: Vec<(PathBuf, FileStorage)>,
}

/// What was found in it, by format.
pub(crate) enum Content {
    Raw,
    Vhd(Box<Located>),
    Vhdx(vhdx::Info),
    Vmdk(Box<Vmdk<FileStorage>>),
}

impl Layer {
    /// Looks at a file.
    pub fn read(
        path: &Path,
        mut storage: Checked<FileStorage>,
        format: Format,
    ) -> Result<Self, Error> {
        let wrong = Error::disk(path);
        let length = storage.length().map_err(&wrong)?;
        let mut info = DiskInfo {
            path: path.into(),
            format,
            kind: Kind::Fixed,
            virtual_size_bytes: length,
            logical_sector_bytes: disk::SECTOR_SIZE as u32,
            file_size_bytes: length,
            block_size_bytes: None,
            identifier: None,
            creator: None,
            created: None,
            parent: None,
            parent_identifier: None,
            parent_paths: Vec::new(),
            warnings: Vec::new(),
        };
        let (mut link, mut extents) = (None, Vec::new());
        let content = match format {
            Format::Raw => Content::Raw,
            Format::Vhd => {
                let located = read_vhd(&mut storage, &mut info, &mut link).map_err(&wrong)?;
                Content::Vhd(Box::new(located))
            }
            Format::Vhdx => {
                let found = vhdx::Info::read(&mut storage.0).map_err(&wrong)?;
                describe_vhdx(&found, &mut info);
                link = found.parent.clone().map(Link::Vhdx);
                Content::Vhdx(found)
            }
            Format::Vmdk => {
                let found = open_vmdk(path, storage.0.clone(), &mut extents).map_err(&wrong)?;
                describe_vmdk(&found, &mut info);
                Content::Vmdk(Box::new(found))
            }
        };
        if let Some(link) = &link {
            info.parent_identifier = Some(link.identifier());
            let paths = link.paths().into_iter();
            info.parent_paths = paths.map(|(path, _)| path.to_string()).collect();
            info.parent = info.parent_paths.first().map(PathBuf::from);
        }
        Ok(Self {
            info,
            link,
            content,
            storage,
            extents,
        })
    }

    /// What a child remembers of this disk: a VHD's unique id, a VHDX's data write GUID, and for a VMDK,
    /// whose makers know no such children, its content identifier and size. Nothing for a raw disk.
    pub fn identity(&self) -> Option<[u8; 16]> {
        match &self.content {
            Content::Raw => None,
            Content::Vhd(located) => Some(located.footer.unique_id),
            Content::Vhdx(info) => Some(info.data_write_guid.0),
            Content::Vmdk(vmdk) => {
                let mut identity = *b"vmdk\0\0\0\0\0\0\0\0\0\0\0\0";
                identity[4..8].copy_from_slice(&vmdk.content_id().to_be_bytes());
                identity[8..].copy_from_slice(&vmdk.size().to_be_bytes());
                Some(identity)
            }
        }
    }

    /// Opens the disk. One with a parent needs it.
    pub fn open(
        self,
        parent: Option<Box<dyn Disk>>,
        options: &OpenOptions,
    ) -> Result<Box<dyn Disk>, Error> {
        let writable = options.writable;
        let storage = self.storage.0;
        let disk = match self.content {
            Content::Raw => {
                Raw::open(storage, writable).map(|disk| Box::new(disk) as Box<dyn Disk>)
            }
            Content::Vhd(located) => located.open(storage, parent, writable),
            Content::Vhdx(_) => Vhdx::open(storage, parent, writable).map(|disk| {
                Box::new(match options.seed {
                    Some(seed) => disk.with_seed(vhdx::Guid(seed)),
                    None => disk,
                }) as Box<dyn Disk>
            }),
            Content::Vmdk(_) if writable => Err(DiskError::Unsupported {
                reason: "a VMDK is only read; put a differencing disk over it, or convert it"
                    .into(),
            }),
            Content::Vmdk(vmdk) => Ok(vmdk as Box<dyn Disk>),
        };
        disk.map_err(Error::disk(&self.info.path))
    }

    /// Locks the files that a VMDK names for reading, for as long as they are open.
    pub fn lock_extents(&self) -> Result<(), Error> {
        let mut extents = self.extents.iter();
        extents.try_for_each(|(path, file)| lock(path, file, false))
    }

    /// The files that a VMDK names.
    pub fn into_extents(self) -> impl Iterator<Item = FileStorage> {
        self.extents.into_iter().map(|(_, file)| file)
    }

    /// The file, open as it was given.
    pub fn storage(&mut self) -> &mut Checked<FileStorage> {
        &mut self.storage
    }

    /// The file and what was found in it.
    pub fn into_parts(self) -> (Checked<FileStorage>, Content) {
        (self.storage, self.content)
    }
}

fn read_vhd(
    storage: &mut Checked<FileStorage>,
    info: &mut DiskInfo,
    link: &mut Option<Link>,
) -> Result<Located, DiskError> {
    let located = Located::find(storage)?;
    let footer = &located.footer;
    info.kind = match footer.kind(located.offset.unwrap_or(0))? {
        DiskType::Fixed => Kind::Fixed,
        DiskType::Dynamic => Kind::Dynamic,
        DiskType::Differencing => Kind::Differencing,
    };
    info.virtual_size_bytes = footer.current_size.get();
    info.identifier = Some(vhd::identifier(&footer.unique_id));
    info.creator = Some(footer.creator_name());
    info.created = Some(vhd_time(footer.timestamp.get()));
    info.warnings.extend(located.warning.clone());
    if info.kind != Kind::Fixed {
        let header = vhd::Header::read(storage, footer)?;
        info.block_size_bytes = Some(header.block_size.get().into());
    }
    if info.kind == Kind::Differencing {
        *link = Some(Link::Vhd(vhd::ParentLink::read(storage, footer)?));
    }
    Ok(located)
}

fn describe_vhdx(found: &vhdx::Info, info: &mut DiskInfo) {
    info.kind = match found.kind {
        vhdx::Kind::Fixed => Kind::Fixed,
        vhdx::Kind::Dynamic => Kind::Dynamic,
        vhdx::Kind::Differencing => Kind::Differencing,
    };
    info.virtual_size_bytes = found.size;
    info.logical_sector_bytes = found.logical_sector;
    info.block_size_bytes = Some(found.block_size);
    info.identifier = Some(found.disk_id.to_string());
    info.creator = Some(found.creator.clone());
    if found.log_left {
        info.warnings.push(
            "the file was not closed: its log is replayed in memory now, and in the file when it is written"
                .into(),
        );
    }
}

fn describe_vmdk(found: &Vmdk<FileStorage>, info: &mut DiskInfo) {
    info.kind = match found.create_type() {
        "streamOptimized" => Kind::StreamOptimized,
        "monolithicSparse" | "twoGbMaxExtentSparse" => Kind::Dynamic,
        _ => Kind::Fixed,
    };
    info.virtual_size_bytes = found.size();
    info.identifier = Some(format!("{:08x}", found.content_id()));
    if found.is_unclean() {
        info.warnings
            .push("the file was not closed by who wrote it: its last writes may be missing".into());
    }
}

/// Appends the files that it names to `extents`.
fn open_vmdk(
    path: &Path,
    storage: FileStorage,
    extents: &mut Vec<(PathBuf, FileStorage)>,
) -> Result<Vmdk<FileStorage>, DiskError> {
    let folder = folder_of(path);
    Vmdk::open(storage, &mut |name| {
        parent_path::beside(folder, name)
            .ok_or(io::ErrorKind::NotFound.into())
            .and_then(|path| {
                let file = FileStorage::open(&path, false)?;
                extents.push((path, file.clone()));
                Ok(file)
            })
    })
}
