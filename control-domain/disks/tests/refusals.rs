//! Files that are not whole, or not what they seem: each is refused with its own words, and stays as it is.
#![allow(clippy::unwrap_used)]

mod folder;

use disks::{Error, NewDisk, NewKind, OpenOptions, create, open};
use folder::Folder;
use std::path::{Path, PathBuf};

const SIZE: u64 = 5 << 20;
/// Where the table of a disk that we made begins.
const TABLE: usize = 1536;

fn made(folder: &Folder, name: &str, kind: NewKind) -> (PathBuf, Vec<u8>) {
    let path = folder.file(name);
    create(&path, &NewDisk::new(kind, SIZE)).unwrap();
    let mut disk = open(&path, &OpenOptions::writable()).unwrap().disk;
    disk.write(0, &[1; 5000]).unwrap();
    disk.write(3 << 20, &[2; 5000]).unwrap();
    disk.close().unwrap();
    drop(disk);
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

/// Opens a file with this content for writing; answers why that can't be.
fn refusal(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).unwrap();
    let error = open(path, &OpenOptions::writable()).err().unwrap();
    assert!(
        std::fs::read(path).unwrap() == bytes,
        "{error}: it was changed"
    );
    let text = error.to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(text.contains(name), "{text}: the file's name is missing");
    text
}

#[test]
fn vhds_that_are_not_whole() {
    let folder = Folder::new("refusals");
    let (path, whole) = made(&folder, "d.vhd", NewKind::VhdDynamic);
    let end = whole.len() - 512;
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let mut no_footers = changed(0, &[0; 512]);
    no_footers[end..].fill(0);
    let entry = |block: usize| TABLE + 4 * block;
    let other = whole[entry(1)..entry(2)].to_vec();
    for (bytes, words) in [
        (no_footers, "no VHD footer"),
        (whole[..300].to_vec(), "too short"),
        (whole[..end - 4096].to_vec(), "cut short"),
        (changed(512 + 100, &[7]), "header's checksum"),
        (changed(512, &[0; 8]), "cxsparse"),
        (changed(entry(0), &[0, 0, 0, 1]), "overlaps"),
        (changed(entry(0), &other), "overlaps"),
        (changed(entry(0), &[0, 1, 0, 0]), "ends behind"),
    ] {
        let text = refusal(&path, &bytes);
        assert!(text.contains(words), "{words}: {text}");
        assert!(text.contains("offset 0x"), "{text}");
    }
    let (path, whole) = made(&folder, "f.vhd", NewKind::VhdFixed);
    let text = refusal(&path, &whole[512..]);
    assert!(text.contains("cut short"), "{text}");
    let text = refusal(&path, &whole[..whole.len() - 512]);
    assert!(text.contains("no VHD footer"), "{text}");
}

/// A guest can write what it likes into a raw or fixed disk.
#[test]
fn files_that_look_like_two_formats() {
    let folder = Folder::new("refusals");
    let (path, mut bytes) = made(&folder, "f.vhd", NewKind::VhdFixed);
    bytes[..8].copy_from_slice(b"vhdxfile");
    std::fs::write(&path, &bytes).unwrap();
    let opened = open(&path, &OpenOptions::read_only()).unwrap();
    assert_eq!(opened.info().description(), "fixed VHD");
    let text = refusal(&folder.file("disk"), &bytes);
    assert!(text.contains("both VHD and VHDX"), "{text}");
    let text = refusal(&folder.file("d.img"), &bytes);
    assert!(text.contains("raw by its name"), "{text}");
    let told = OpenOptions {
        format: Some(disks::Format::Raw),
        ..OpenOptions::read_only()
    };
    assert!(open(&folder.file("d.img"), &told).is_ok());
}

#[test]
fn children_that_are_their_own_parents() {
    let folder = Folder::new("refusals");
    let (base, _) = made(&folder, "base.vhd", NewKind::VhdDynamic);
    let child = folder.file("child.vhd");
    let kind = NewKind::VhdDifferencing {
        parent: base.clone(),
    };
    create(&child, &NewDisk::new(kind, 0)).unwrap();
    std::fs::copy(&child, &base).unwrap();
    let error = open(&child, &OpenOptions::read_only()).err().unwrap();
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("comes back"), "{error}");
}
