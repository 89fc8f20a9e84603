//! Folders of a test, and samples that are unpacked into them.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A temporary folder, gone with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new one.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("disks-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Unpacks a sample into a folder, under its own name; nothing, and a word, where there are no samples.
pub fn sample(folder: &Folder, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/samples")
        .join(name);
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("skipped: no sample {}", path.display());
        return None;
    };
    let mut bytes = Vec::new();
    let stem = path.file_stem().unwrap();
    let target = match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => {
            let mut unpacked = flate2::read::GzDecoder::new(&file[..]);
            unpacked.read_to_end(&mut bytes).unwrap();
            folder.0.join(stem)
        }
        Some("bz2") => {
            let mut unpacked = bzip2::read::BzDecoder::new(&file[..]);
            unpacked.read_to_end(&mut bytes).unwrap();
            folder.0.join(stem)
        }
        _ => {
            bytes = file;
            folder.0.join(path.file_name().unwrap())
        }
    };
    std::fs::write(&target, bytes).unwrap();
    Some(target)
}
