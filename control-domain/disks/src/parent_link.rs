//! What a new child says of its parent.

use crate::Error;
use crate::detect::Format;
use crate::fresh::folder_of;
use crate::layer::{Content, Layer};
use crate::open::{OpenOptions, open_held, storage};
use crate::parent_path;
use std::path::Path;
use vhd::{ParentLink, Platform};
use vhdx::Guid;

/// A parent, as a child at some place names it.
struct Named {
    relative: String,
    absolute: String,
    name: String,
    layer: Layer,
    identity: [u8; 16],
}

/// What a new VHDX takes from its parent.
pub(crate) struct VhdxParent {
    pub link: vhdx::ParentLink,
    pub size: u64,
    pub logical_sector_bytes: u32,
    pub disk_id: Option<Guid>,
}

/// What a VHD at `child` says of its parent, and the parent's size.
pub(crate) fn vhd_link(child: &Path, parent: &Path) -> Result<(ParentLink, u64), Error> {
    let named = named(child, parent)?;
    let info = &named.layer.info;
    if info.logical_sector_bytes != 512 {
        return Err(Error::refused(
            parent,
            "its sectors are not of 512 bytes, as a VHD's are; make a differencing VHDX instead",
        ));
    }
    let timestamp = match &named.layer.content {
        Content::Vhd(located) => located.footer.timestamp.get(),
        _ => 0,
    };
    let path = |platform, path| vhd::ParentPath { platform, path };
    let link = ParentLink {
        unique_id: named.identity,
        timestamp,
        name: named.name,
        paths: vec![
            path(Platform::RelativeUnicode, named.relative),
            path(Platform::AbsoluteUnicode, named.absolute),
        ],
    };
    Ok((link, info.virtual_size_bytes))
}

/// What a VHDX at `child` says of its parent.
pub(crate) fn vhdx_link(child: &Path, parent: &Path) -> Result<VhdxParent, Error> {
    let named = named(child, parent)?;
    let (relative, absolute) = (Some(named.relative.as_str()), Some(named.absolute.as_str()));
    let info = &named.layer.info;
    Ok(VhdxParent {
        link: vhdx::ParentLink::new(Guid(named.identity), relative, None, absolute),
        size: info.virtual_size_bytes,
        logical_sector_bytes: info.logical_sector_bytes,
        disk_id: match &named.layer.content {
            Content::Vhdx(found) => Some(found.disk_id),
            _ => None,
        },
    })
}

fn named(child: &Path, parent: &Path) -> Result<Named, Error> {
    // The whole chain below must be usable.
    let format = open_held(parent, &OpenOptions::read_only())?.info().format;
    let real = parent.canonicalize().map_err(Error::file(parent, "open"))?;
    let folder = folder_of(child);
    let folder = folder.canonicalize().map_err(Error::file(folder, "open"))?;
    let (file, _) = storage(&real, Some(format), false)?;
    let layer = Layer::read(&real, file, format)?;
    let Some(identity) = layer.identity() else {
        return Err(Error::refused(
            parent,
            format!(
                "a {} disk has no identity by which its child could know it again; convert it first",
                Format::Raw
            ),
        ));
    };
    Ok(Named {
        relative: parent_path::relative(&folder, &real),
        absolute: real.to_string_lossy().into_owned(),
        name: real
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        layer,
        identity,
    })
}
