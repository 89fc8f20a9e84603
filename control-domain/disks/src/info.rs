//! What there is to say about one disk file.

use crate::detect::Format;
use serde::Serialize;
use std::path::PathBuf;

/// How a disk file holds its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// All of it is there.
    Fixed,
    /// Blocks that are allocated when they are first written.
    Dynamic,
    /// Like dynamic; the rest is its parent's.
    Differencing,
    /// Sparse with compressed grains, made once (VMDK).
    StreamOptimized,
}

/// A description of one disk file, as `entente disk info --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskInfo {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// How it holds its data.
    pub kind: Kind,
    /// Size of the disk in bytes, as a guest sees it.
    pub virtual_size_bytes: u64,
    /// Bytes of a sector, as a guest sees it.
    pub logical_sector_bytes: u32,
    /// Length of the file in bytes.
    pub file_size_bytes: u64,
    /// Bytes of a block, for dynamic and differencing disks.
    pub block_size_bytes: Option<u64>,
    /// The disk's identity, if the format has one.
    pub identifier: Option<String>,
    /// Who wrote the file, as it says itself.
    pub creator: Option<String>,
    /// When the disk was made, as `2026-11-23T04:05:06Z`, by a VHD's own account; other formats don't say.
    pub created: Option<String>,
    /// The parent: the file that was found, or if none was, the first path that the disk names.
    pub parent: Option<PathBuf>,
    /// Identity of the parent that the disk names.
    pub parent_identifier: Option<String>,
    /// All paths of the parent that the disk names, in the order in which they are tried.
    pub parent_paths: Vec<String>,
    /// What is wrong with the file but does no harm.
    pub warnings: Vec<String>,
}

impl DiskInfo {
    /// "dynamic VHD" and the like.
    pub fn description(&self) -> String {
        let kind = match (self.format, self.kind) {
            (Format::Raw, _) => return "raw".into(),
            (_, Kind::Fixed) => "fixed",
            (_, Kind::Dynamic) => "dynamic",
            (_, Kind::Differencing) => "differencing",
            (_, Kind::StreamOptimized) => "stream-optimized",
        };
        format!("{kind} {}", self.format)
    }
}
