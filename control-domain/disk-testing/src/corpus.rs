//! Replays the corpus of a fuzz target.

use std::path::Path;

/// Hands each file of `fuzz/corpus/NAME` to a target, whole and cut short.
///
/// # Panics
/// If there is no file, or the target panics.
pub fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    assert!(!files.is_empty());
    for file in files {
        eprintln!("{}", file.display());
        let bytes =
            std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        target(&bytes);
        // What libFuzzer kept for its coverage is named by its SHA-1 and short; seeds and findings have
        // names, and are also tried cut short.
        if file.file_name().is_some_and(|name| name.len() == 40) {
            continue;
        }
        for end in (0..bytes.len()).step_by((bytes.len() / 50).max(1)) {
            target(&bytes[..end]);
        }
    }
}
