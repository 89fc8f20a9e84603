//! Replays the corpus of the fuzz targets.
#![allow(clippy::unwrap_used)]

use std::path::Path;

fn replay(format: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(format);
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!files.is_empty());
    for file in files {
        eprintln!("{}", file.display());
        let bytes = std::fs::read(&file).unwrap();
        target(&bytes);
        // Cut short at every so many bytes, too.
        for end in (0..bytes.len()).step_by((bytes.len() / 50).max(1)) {
            target(&bytes[..end]);
        }
    }
}

#[test]
fn vhd() {
    replay("vhd", disk_fuzz::vhd);
}

#[test]
fn vhdx() {
    replay("vhdx", disk_fuzz::vhdx);
}

#[test]
fn vmdk() {
    replay("vmdk", disk_fuzz::vmdk);
}
