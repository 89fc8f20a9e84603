//! A disk without a userland: files of packages and the recipe's own, packed as `root.tar`.

use super::recipe::GuestRecipe;
use super::userland::ARCHIVE;
use crate::context::{Context, EPOCH_SECONDS, read};
use crate::packages::{self, Store};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Makes [`ARCHIVE`] in `work`.
pub fn build(context: &Context, store: &Store, recipe: &GuestRecipe, work: &Path) -> Result<()> {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (path, from) in &recipe.boot_files {
        let folder = packages::unpacked(context, store, &from.package)?;
        files.insert(
            path.trim_start_matches('/'),
            read(&folder.join(&from.file))?,
        );
    }
    for (path, text) in recipe.files() {
        files.insert(path, text.into_bytes());
    }
    let path = work.join(ARCHIVE);
    std::fs::File::create(&path)
        .and_then(|file| pack(&files, file))
        .with_context(|| format!("{} can't be written", path.display()))
}

/// Folders first; all is root's and of the one date.
fn pack(files: &BTreeMap<&str, Vec<u8>>, to: impl std::io::Write) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(to);
    let folders: BTreeSet<&Path> = files
        .keys()
        .flat_map(|path| Path::new(path).ancestors().skip(1))
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    for folder in folders {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        archive.append_data(&mut header, folder, &[][..])?;
    }
    for (path, content) in files {
        let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
        archive.append_data(&mut header, path, &content[..])?;
    }
    archive.finish()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(EPOCH_SECONDS);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let files = BTreeMap::from([("boot/grub/grub.cfg", b"menu".to_vec()), ("linux", vec![7])]);
        let mut archive = Vec::new();
        pack(&files, &mut archive).unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            (path, header.mode().unwrap(), header.size().unwrap())
        });
        let expected = [
            ("boot", 0o755, 0),
            ("boot/grub", 0o755, 0),
            ("boot/grub/grub.cfg", 0o644, 4),
            ("linux", 0o644, 1),
        ];
        let expected = expected.map(|(path, mode, size)| (path.to_owned(), mode, size));
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }
}
