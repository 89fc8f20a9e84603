//! Which format a file has, by its content.
//!
//! A guest owns what its disk holds, so a raw or fixed disk may be made to look like something else:
//! a file that claims a parent, say. So the end of the file, which no guest of a fixed disk can write,
//! comes first; a file that looks like two formats, or whose name says raw while its content does
//! not, is refused until a person says which one it is.

use disk::{Checked, DiskError, Storage, invalid};
use serde::Serialize;
use std::path::Path;
use vhd::Located;

/// A disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The file is the disk: raw images, ISO images, floppies (`.vfd`).
    Raw,
    /// Virtual PC, Virtual Server, Hyper-V: `.vhd`, `.avhd`, `.vud`.
    Vhd,
    /// Hyper-V: `.vhdx`, `.avhdx`.
    Vhdx,
    /// VMware.
    Vmdk,
}

impl core::fmt::Display for Format {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Vhd => "VHD",
            Self::Vhdx => "VHDX",
            Self::Vmdk => "VMDK",
        })
    }
}

/// Extensions of files that are the disk themselves.
const RAW_EXTENSIONS: [&str; 7] = ["raw", "img", "iso", "vfd", "flp", "ima", "bin"];
/// An ISO 9660 volume descriptor, behind its type byte.
const ISO_MARK: (u64, &[u8]) = (0x8001, b"CD001");

/// Finds the format of a file; its name counts only where the content says nothing, or too much.
pub(crate) fn detect<S: Storage>(
    storage: &mut Checked<S>,
    path: &Path,
) -> Result<Format, DiskError> {
    let length = storage.length()?;
    let vhd = Located::find(storage);
    let mut start = vec![0; length.min(21) as usize];
    storage.read(0, &mut start)?;
    let other = if start.starts_with(b"vhdxfile") {
        Some(Format::Vhdx)
    } else if start.starts_with(b"KDMV") || start.starts_with(b"# Disk DescriptorFile") {
        Some(Format::Vmdk)
    } else {
        None
    };
    let extension = path
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let named_raw = RAW_EXTENSIONS.contains(&extension.as_str());
    match (vhd, other) {
        (Err(_), None) if named_raw || has_mark(storage, length, ISO_MARK)? => Ok(Format::Raw),
        (Ok(_), None) if !named_raw => Ok(Format::Vhd),
        (Err(_), Some(other)) if !named_raw => Ok(other),
        (Ok(_), Some(other)) if !named_raw => match extension.as_str() {
            "vhd" | "avhd" | "vud" => Ok(Format::Vhd),
            "vhdx" | "avhdx" if other == Format::Vhdx => Ok(other),
            "vmdk" if other == Format::Vmdk => Ok(other),
            _ => Err(ambiguous(&format!("both VHD and {other}"))),
        },
        (Ok(_), _) => Err(ambiguous("raw by its name and VHD by its content")),
        (_, Some(other)) => Err(ambiguous(&format!(
            "raw by its name and {other} by its content"
        ))),
        (Err(error), None) => Err(match error {
            DiskError::Invalid { offset, reason } => DiskError::Invalid {
                offset,
                reason: format!("{reason}; if it is a raw disk, say so with \"format: raw\""),
            },
            other => other,
        }),
    }
}

fn ambiguous(what: &str) -> DiskError {
    invalid(
        0,
        format!(
            "the file looks like {what}; a guest can make its disk look so, so say which format it is"
        ),
    )
}

fn has_mark<S: Storage>(
    storage: &mut Checked<S>,
    length: u64,
    (offset, mark): (u64, &[u8]),
) -> Result<bool, DiskError> {
    let mut found = vec![0; mark.len()];
    if offset + mark.len() as u64 > length {
        return Ok(false);
    }
    storage.read(offset, &mut found)?;
    Ok(found == mark)
}
