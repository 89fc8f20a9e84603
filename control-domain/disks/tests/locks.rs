//! One program that writes, or many that read: whoever comes second is told by whom the file is used.
#![allow(clippy::unwrap_used)]

mod folder;

use disks::{
    Format, Leftover, NewDisk, NewKind, OpenOptions, ResizeOptions, check, commit, compact, create,
    discard, info, open, relink, resize,
};
use folder::Folder;
use std::path::Path;

const SIZE: u64 = 8 << 20;

/// A parent and its child.
fn pair(folder: &Folder, is_vhdx: bool) -> [std::path::PathBuf; 2] {
    let extension = if is_vhdx { "vhdx" } else { "vhd" };
    let [base, child] = ["base", "child"].map(|name| folder.file(&format!("{name}.{extension}")));
    let parent = base.clone();
    let [new, on_it] = match is_vhdx {
        false => [NewKind::VhdDynamic, NewKind::VhdDifferencing { parent }],
        true => [NewKind::VhdxDynamic, NewKind::VhdxDifferencing { parent }],
    };
    create(&base, &NewDisk::new(new, SIZE)).unwrap();
    create(&child, &NewDisk::new(on_it, SIZE)).unwrap();
    [base, child]
}

/// That an operation is refused because of a file, and by whom that is used.
fn refused<T>(result: Result<T, disks::Error>, because_of: &Path) {
    let error = result.err().expect("the file is in use").to_string();
    assert!(
        error.starts_with(&format!("{}: ", because_of.display())),
        "{error}"
    );
    assert!(error.contains(" has it open; "), "{error}");
    // Not every file system has the device in /proc/locks that stat(2) tells.
    let own = format!("process {} ", std::process::id());
    assert!(
        error.contains(&own) || error.contains("another program"),
        "{error}"
    );
}

#[test]
fn who_writes_has_the_disk_alone_and_nobody_writes_its_parents() {
    for is_vhdx in [false, true] {
        let folder = Folder::new(&format!("locks-{is_vhdx}"));
        let [base, child] = pair(&folder, is_vhdx);
        let before = std::fs::read(&child).unwrap();
        let writer = open(&child, &OpenOptions::writable()).unwrap();
        refused(open(&child, &OpenOptions::writable()), &child);
        refused(open(&child, &OpenOptions::read_only()), &child);
        refused(commit(&child, Leftover::Empty, &mut |_, _| {}), &child);
        refused(discard(&child, Leftover::Delete), &child);
        refused(compact(&child, &mut |_, _| {}), &child);
        refused(check(&child, true, &mut |_, _| {}), &child);
        refused(relink(&child, &base, true), &child);
        // The parent may be read, and not written.
        drop(open(&base, &OpenOptions::read_only()).unwrap());
        let spoil = OpenOptions {
            spoil_children: true,
            ..OpenOptions::writable()
        };
        refused(open(&base, &spoil), &base);
        refused(
            resize(&base, SIZE * 2, &ResizeOptions::default(), &mut |_, _| {}),
            &base,
        );
        // What a file is can always be asked.
        assert_eq!(info(&child, None).unwrap().virtual_size_bytes, SIZE);
        drop(writer);
        assert!(std::fs::read(&child).unwrap() == before);
        drop(open(&base, &spoil).unwrap());
    }
}

#[test]
fn readers_share_and_keep_writers_out() {
    let folder = Folder::new("locks-readers");
    let [base, child] = pair(&folder, false);
    let readers = [(); 2].map(|()| open(&child, &OpenOptions::read_only()).unwrap());
    refused(open(&child, &OpenOptions::writable()), &child);
    refused(commit(&child, Leftover::Empty, &mut |_, _| {}), &child);
    drop(readers);
    commit(&child, Leftover::Empty, &mut |_, _| {}).unwrap();
    drop(open(&base, &OpenOptions::read_only()).unwrap());
}

#[test]
fn a_vmdks_extents_are_locked_with_it() {
    let folder = Folder::new("locks-extents");
    let [descriptor, extent] = ["flat.vmdk", "flat-flat.vmdk"].map(|name| folder.file(name));
    std::fs::write(&extent, vec![0; 1 << 20]).unwrap();
    let text = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n\
        createType=\"monolithicFlat\"\nRW 2048 FLAT \"flat-flat.vmdk\" 0\n";
    std::fs::write(&descriptor, text).unwrap();
    let raw = OpenOptions {
        format: Some(Format::Raw),
        ..OpenOptions::writable()
    };
    let reader = open(&descriptor, &OpenOptions::read_only()).unwrap();
    refused(open(&extent, &raw), &extent);
    drop(reader);
    let writer = open(&extent, &raw).unwrap();
    refused(open(&descriptor, &OpenOptions::read_only()), &extent);
    drop(writer);
    drop(open(&descriptor, &OpenOptions::read_only()).unwrap());
}
