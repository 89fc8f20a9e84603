//! Where things lie in this checkout, and what the person asked for on every command.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The one source of time: 2024-01-01T00:00:00Z, in seconds since 1970.
///
/// Every date that gets into an output is this one.
pub const EPOCH_SECONDS: u64 = 1_704_067_200;

/// Folders of one checkout. Nothing outside `cache`, `out` and `target` is ever written.
#[derive(Clone, Debug)]
pub struct Context {
    /// The checkout.
    pub root: PathBuf,
    /// Downloads and what can be made again from them (`.cache/`).
    pub cache: PathBuf,
    /// What the commands make (`out/`).
    pub out: PathBuf,
    /// Cargo's target folder for the cross builds.
    pub target: PathBuf,
    /// Refuse to change the package lock.
    pub locked: bool,
    /// Where a package can't be built, take its last build: for work on another one meanwhile.
    pub stale: bool,
}

impl Context {
    /// The checkout that this program was built from, or the one of the current folder when it
    /// moved.
    pub fn find(locked: bool) -> Result<Self> {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = match built_from.parent() {
            Some(root) if root.join("image-recipes").is_dir() => root.to_path_buf(),
            _ => std::env::current_dir().context("the current folder can't be read")?,
        };
        Ok(Self::at(root, locked))
    }

    /// The same for a given checkout; `CARGO_TARGET_DIR` is honoured.
    pub fn at(root: PathBuf, locked: bool) -> Self {
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Self {
            cache: root.join(".cache"),
            out: root.join("out"),
            target,
            root,
            locked,
            stale: false,
        }
    }
}

/// Makes a folder and those above it; the error names it.
pub fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))
}

/// Reads a whole file; the error names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}

/// Writes a whole file by way of a neighbour that is renamed over it, so that a reader never sees
/// half of it; the error names it.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("{} can't be written", path.display()))
}
