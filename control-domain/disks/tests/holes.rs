//! Room that is given back to the host: holes where a guest discards, and where compacting finds zeros.
#![allow(clippy::unwrap_used)]

mod folder;

use disks::{Format, NewDisk, NewKind, OpenOptions, compact, create, open};
use folder::Folder;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SIZE: u64 = 16 << 20;
const BLOCK: u64 = 2 << 20;

/// The room that a file takes on the host, in bytes.
fn room(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

fn writable(kind: &NewKind) -> OpenOptions {
    OpenOptions {
        format: (*kind == NewKind::Raw).then_some(Format::Raw),
        ..OpenOptions::writable()
    }
}

/// Whether the file system of the temporary folder has holes.
fn has_holes(folder: &Folder) -> bool {
    let path = folder.file("probe.img");
    std::fs::write(&path, vec![1; 1 << 20]).unwrap();
    let mut file = disk::FileStorage::open(&path, true).unwrap();
    let punched = disk::Storage::punch(&mut file, 0, 1 << 20).unwrap();
    if !punched {
        eprintln!("skipped: the temporary folder's file system has no holes");
    }
    punched
}

/// A full disk of a kind, its bytes, and its file.
fn full(folder: &Folder, kind: NewKind, name: &str) -> (std::path::PathBuf, Vec<u8>) {
    let path = folder.file(name);
    let mut new = NewDisk::new(kind.clone(), SIZE);
    new.block_size_bytes = (kind == NewKind::VhdxDynamic).then_some(BLOCK as u32);
    create(&path, &new).unwrap();
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at >> 9) as u8 | 1).collect();
    let mut disk = open(&path, &writable(&kind)).unwrap().disk;
    disk.write(0, &bytes).unwrap();
    disk.close().unwrap();
    drop(disk);
    assert!(room(&path) >= SIZE);
    (path, bytes)
}

#[test]
fn what_a_guest_discards_goes_back_to_the_host_but_from_a_fixed_disk() {
    let folder = Folder::new("holes-discard");
    if !has_holes(&folder) {
        return;
    }
    for (kind, name, gives_back) in [
        (NewKind::Raw, "r.img", true),
        (NewKind::VhdDynamic, "d.vhd", true),
        (NewKind::VhdxDynamic, "d.vhdx", true),
        (NewKind::VhdFixed, "f.vhd", false),
        (NewKind::VhdxFixed, "f.vhdx", false),
    ] {
        let (path, bytes) = full(&folder, kind.clone(), name);
        let before = room(&path);
        let mut disk = open(&path, &writable(&kind)).unwrap().disk;
        disk.discard(BLOCK, 3 * BLOCK).unwrap();
        disk.flush().unwrap();
        // A VHD's blocks do not begin at the host's.
        let given_back = before - room(&path) + (64 << 10);
        assert_eq!(given_back >= 3 * BLOCK, gives_back, "{name}");
        let mut read = vec![0; SIZE as usize];
        disk.read(0, &mut read).unwrap();
        let (start, end) = (BLOCK as usize, 4 * BLOCK as usize);
        assert!(read[..start] == bytes[..start] && read[end..] == bytes[end..]);
        assert_eq!(
            read[start..end].iter().all(|byte| *byte == 0),
            gives_back,
            "{name}"
        );
        // The room is taken again by what is written there, which does not bring back what was there.
        disk.write(2 * BLOCK, &[7; 512]).unwrap();
        disk.close().unwrap();
        disk.read(0, &mut read).unwrap();
        let middle = 2 * BLOCK as usize;
        assert!(read[middle..middle + 512] == [7; 512], "{name}");
        assert_eq!(
            read[middle + 512..end].iter().all(|byte| *byte == 0),
            gives_back,
            "{name}"
        );
    }
}

#[test]
fn what_is_less_than_a_block_is_given_back_too_and_the_rest_of_the_block_stays() {
    let folder = Folder::new("holes-in-blocks");
    if !has_holes(&folder) {
        return;
    }
    for (kind, name) in [
        (NewKind::VhdDynamic, "d.vhd"),
        (NewKind::VhdxDynamic, "d.vhdx"),
    ] {
        let (path, mut bytes) = full(&folder, kind.clone(), name);
        let before = room(&path);
        let mut disk = open(&path, &writable(&kind)).unwrap().disk;
        // In two blocks, a part of each.
        let (start, end) = (BLOCK as usize / 2, BLOCK as usize * 3 / 2 + 512);
        disk.discard(start as u64, (end - start) as u64).unwrap();
        disk.close().unwrap();
        assert!(before - room(&path) + (64 << 10) >= BLOCK, "{name}");
        let mut read = vec![0; SIZE as usize];
        disk.read(0, &mut read).unwrap();
        assert!(read[..start] == bytes[..start] && read[end..] == bytes[end..]);
        // Whole pages of the host's go, so a few sectors at both ends of what lies in a block may stay.
        let (page, border) = (4096, BLOCK as usize);
        for part in [start + page..border - page, border + page..end - page] {
            assert!(read[part].iter().all(|byte| *byte == 0), "{name}");
        }
        bytes[start..end].copy_from_slice(&read[start..end]);
        drop(disk);
        let mut again = vec![0; SIZE as usize];
        let mut disk = open(&path, &writable(&kind)).unwrap().disk;
        disk.read(0, &mut again).unwrap();
        assert!(again == bytes, "{name}");
    }
}

#[test]
fn compacting_makes_holes_of_zeros() {
    let folder = Folder::new("holes-compact");
    if !has_holes(&folder) {
        return;
    }
    for (kind, name) in [
        (NewKind::Raw, "r.img"),
        (NewKind::VhdDynamic, "d.vhd"),
        (NewKind::VhdxDynamic, "d.vhdx"),
    ] {
        let (path, mut bytes) = full(&folder, kind.clone(), name);
        // Half of each block, so that none of them can go.
        let mut disk = open(&path, &writable(&kind)).unwrap().disk;
        for block in 0..SIZE / BLOCK {
            let start = (block * BLOCK) as usize;
            let half = BLOCK as usize / 2;
            disk.write(start as u64, &vec![0; half]).unwrap();
            bytes[start..start + half].fill(0);
        }
        disk.close().unwrap();
        drop(disk);
        let done = compact(&path, &mut |_, _| {}).unwrap();
        assert_eq!(done.after_room_bytes, room(&path));
        // Two of the smallest holes a block may be lost, where the block does not begin at one.
        let given_back = done.before_room_bytes - done.after_room_bytes;
        assert!(
            given_back >= SIZE / 2 - SIZE / BLOCK * (128 << 10),
            "{name}: {given_back}"
        );
        let mut read = vec![0; SIZE as usize];
        let options = OpenOptions {
            writable: false,
            ..writable(&kind)
        };
        open(&path, &options)
            .unwrap()
            .disk
            .read(0, &mut read)
            .unwrap();
        assert!(read == bytes, "{name}");
    }
}

#[test]
fn growing_takes_no_room_for_zeros_that_are_there() {
    let folder = Folder::new("holes-behind-the-end");
    if !has_holes(&folder) {
        return;
    }
    let path = folder.file("d.vhdx");
    let new = NewDisk {
        block_size_bytes: Some(32 << 20),
        ..NewDisk::new(NewKind::VhdxDynamic, 1 << 20)
    };
    create(&path, &new).unwrap();
    let mut disk = open(&path, &OpenOptions::writable()).unwrap().disk;
    disk.write(0, &[7; 4096]).unwrap();
    disk.close().unwrap();
    drop(disk);
    let before = room(&path);
    let options = disks::ResizeOptions::default();
    disks::resize(&path, 40 << 20, &options, &mut |_, _| ()).unwrap();
    assert!(room(&path) - before < 2 << 20, "{}", room(&path));
    let mut read = vec![1; 40 << 20];
    let mut disk = open(&path, &OpenOptions::read_only()).unwrap().disk;
    disk.read(0, &mut read).unwrap();
    assert!(read[..4096] == [7; 4096] && read[4096..].iter().all(|byte| *byte == 0));
}
