//! What people do with disk files, on real files, with what each must leave.
#![allow(clippy::unwrap_used)]

mod folder;

use disks::{
    Error, Identity, Leftover, MergeOptions, NewDisk, NewKind, OpenOptions, ResizeOptions, check,
    commit, compact, convert, create, discard, map, merge, open, plan_merge, relink, repair_chain,
    resize,
};
use folder::{Folder, sample};
use std::path::{Path, PathBuf};

const SIZE: u64 = 10 << 20;
const BLOCK: u64 = 2 << 20;

fn silent(_: u64, _: u64) {}

fn is_vhdx(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "vhdx")
}

fn dynamic(path: &Path) {
    let (kind, block) = match is_vhdx(path) {
        true => (NewKind::VhdxDynamic, 1 << 20),
        false => (NewKind::VhdDynamic, BLOCK as u32),
    };
    let new = NewDisk {
        block_size_bytes: Some(block),
        ..NewDisk::new(kind, SIZE)
    };
    create(path, &new).unwrap();
}

fn child(path: &Path, parent: &Path) {
    let parent = parent.to_path_buf();
    let kind = match is_vhdx(path) {
        true => NewKind::VhdxDifferencing { parent },
        false => NewKind::VhdDifferencing { parent },
    };
    create(path, &NewDisk::new(kind, 0)).unwrap();
}

fn write(path: &Path, offset: u64, data: &[u8]) {
    let mut disk = open(path, &OpenOptions::writable()).unwrap().disk;
    disk.write(offset, data).unwrap();
    disk.close().unwrap();
}

fn content(path: &Path) -> Vec<u8> {
    let mut disk = open(path, &OpenOptions::read_only()).unwrap().disk;
    let mut data = vec![0xaa; disk.size() as usize];
    disk.read(0, &mut data).unwrap();
    data
}

/// The files of the chains below, in one format.
fn names(folder: &Folder, extension: &str) -> [PathBuf; 3] {
    ["base", "a", "b"].map(|name| folder.file(&format!("{name}.{extension}")))
}

const EXTENSIONS: [&str; 2] = ["vhd", "vhdx"];

/// base.vhd, a.vhd on it, b.vhd on that, each with data of its own that hides some of the one below.
fn chain_of_three(folder: &Folder, extension: &str) -> Vec<u8> {
    let files = names(folder, extension);
    dynamic(&files[0]);
    write(&files[0], 0, &vec![1; 3 << 20]);
    child(&files[1], &files[0]);
    write(&files[1], 1000, &[2; 5000]);
    child(&files[2], &files[1]);
    write(&files[2], 2000, &[3; 700]);
    write(&files[2], SIZE - 700, &[4; 700]);
    let mut model = vec![0; SIZE as usize];
    model[..3 << 20].fill(1);
    model[1000..6000].fill(2);
    model[2000..2700].fill(3);
    model[SIZE as usize - 700..].fill(4);
    assert!(content(&files[2]) == model);
    model
}

#[test]
fn a_chain_reads_converts_and_maps_as_one_disk() {
    for extension in EXTENSIONS {
        let folder = Folder::new("chain");
        let model = chain_of_three(&folder, extension);
        let options = OpenOptions::read_only();
        let top = folder.file(&format!("b.{extension}"));
        for (name, kind) in [
            ("c.raw", NewKind::Raw),
            ("c-fixed.vhd", NewKind::VhdFixed),
            ("c-dynamic.vhd", NewKind::VhdDynamic),
            ("c-fixed.vhdx", NewKind::VhdxFixed),
            ("c-dynamic.vhdx", NewKind::VhdxDynamic),
        ] {
            let mut last = (0, 0);
            let target = folder.file(name);
            let new = NewDisk::new(kind, 0);
            let mut told = |done, total| last = (done, total);
            let info = convert(&top, &options, &target, &new, &mut told).unwrap();
            assert_eq!((info.virtual_size_bytes, last), (SIZE, (SIZE, SIZE)));
            let mut opened = open(&target, &options).unwrap();
            assert_eq!(opened.chain.len(), 1);
            let mut data = vec![0; SIZE as usize];
            opened.disk.read(0, &mut data).unwrap();
            assert!(data == model, "{name}");
            assert!(matches!(
                convert(&top, &options, &target, &new, &mut silent),
                Err(Error::Refused { .. })
            ));
        }
        let map = map(&top, &options).unwrap();
        assert_eq!(map.files.len(), 3);
        let mut at = 0;
        for stretch in &map.stretches {
            assert_eq!(stretch.start, at);
            at += stretch.length;
            if let (Some(depth), Some(offset)) = (stretch.depth, stretch.file_offset) {
                let file = std::fs::read(&map.files[depth as usize]).unwrap();
                let range = stretch.start as usize..at as usize;
                assert!(file[offset as usize..][..stretch.length as usize] == model[range]);
            }
        }
        assert_eq!(at, SIZE);
    }
}

#[test]
fn the_same_identity_gives_the_same_bytes() {
    let folder = Folder::new("same");
    let identity = Some(Identity {
        unique_id: [7; 16],
        timestamp: 9,
    });
    let bytes = |name: &str| {
        let new = NewDisk {
            identity,
            ..NewDisk::new(NewKind::VhdDynamic, SIZE)
        };
        create(&folder.file(name), &new).unwrap();
        std::fs::read(folder.file(name)).unwrap()
    };
    assert_eq!(bytes("1.vhd"), bytes("2.vhd"));
}

#[test]
fn commit_and_discard_keep_what_they_must() {
    for extension in EXTENSIONS {
        let folder = Folder::new("commit");
        let model = chain_of_three(&folder, extension);
        let [base, a, b] = names(&folder, extension);
        let below = content(&a);
        let base_bytes = std::fs::read(&base).unwrap();
        let plan = plan_merge(&b, &MergeOptions::default()).unwrap();
        // Two sectors around offset 2000 (1536..3072 is three), two at the end.
        assert_eq!((plan.bytes_to_write, plan.pieces), (5 * 512, 2));
        assert_eq!(plan.siblings, [""; 0].map(Into::<std::path::PathBuf>::into));
        commit(&b, Leftover::Empty, &mut silent).unwrap();
        assert!(content(&a) == model && content(&b) == model && below != model);
        assert!(std::fs::read(&base).unwrap() == base_bytes);
        let empty = plan_merge(&b, &MergeOptions::default()).unwrap();
        assert_eq!(empty.bytes_to_write, 0);
        write(&b, 0, &[9; 512]);
        assert!(content(&b) != model);
        // a.vhd has a child, so what it holds can't go.
        assert!(discard(&a, Leftover::Empty).is_err());
        discard(&b, Leftover::Empty).unwrap();
        assert!(content(&b) == model);
        discard(&b, Leftover::Delete).unwrap();
        assert!(!b.exists());
        assert!(discard(&base, Leftover::Delete).is_err() && base.exists());
    }
}

#[test]
fn a_merge_takes_the_files_between_along_and_minds_siblings() {
    for extension in EXTENSIONS {
        let folder = Folder::new("merge");
        let model = chain_of_three(&folder, extension);
        let [base, a, b] = names(&folder, extension);
        let sibling = folder.file(&format!("sibling.{extension}"));
        child(&sibling, &base);
        let options = MergeOptions {
            into: Some(base.clone()),
            leftover: Leftover::Delete,
            ..MergeOptions::default()
        };
        let plan = plan_merge(&b, &options).unwrap();
        assert_eq!(plan.siblings, std::slice::from_ref(&sibling));
        assert!(matches!(
            merge(&b, &options, &mut silent),
            Err(Error::Refused { .. })
        ));
        assert!(content(&b) == model);
        std::fs::remove_file(&sibling).unwrap();
        merge(&b, &options, &mut silent).unwrap();
        assert!(content(&base) == model && !a.exists() && !b.exists());
    }
}

/// The files as they are in the middle of a merge are put back when it is done.
#[test]
fn a_merge_that_was_cut_short_opens_and_goes_on() {
    for extension in EXTENSIONS {
        let folder = Folder::new("resume");
        let model = chain_of_three(&folder, extension);
        let [_, a, b] = names(&folder, extension);
        let seen = std::cell::Cell::new(0);
        // What the file and its parent are after the first piece, as a power cut would leave them.
        let copies = ["a", "b"].map(|name| folder.file(&format!("{name}.copy")));
        let mut told = |_, _| {
            if seen.replace(seen.get() + 1) == 0 {
                for (file, copy) in [&a, &b].into_iter().zip(&copies) {
                    std::fs::copy(file, copy).unwrap();
                }
            }
        };
        commit(&b, Leftover::Empty, &mut told).unwrap();
        assert!(seen.get() > 1 && content(&b) == model);
        for (file, copy) in [&a, &b].into_iter().zip(&copies) {
            std::fs::rename(copy, file).unwrap();
        }
        assert!(content(&b) == model, "{extension}");
        commit(&b, Leftover::Delete, &mut silent).unwrap();
        assert!(content(&a) == model, "{extension}");
    }
}

#[test]
fn the_middle_of_a_chain_can_be_merged_away() {
    for extension in EXTENSIONS {
        let folder = Folder::new("middle");
        let model = chain_of_three(&folder, extension);
        let [base, a, b] = names(&folder, extension);
        let plan = commit(&a, Leftover::Delete, &mut silent).unwrap();
        assert_eq!(plan.relinked.len(), 1);
        assert!(!a.exists() && content(&b) == model);
        let opened = open(&b, &OpenOptions::read_only()).unwrap();
        assert_eq!(opened.chain.len(), 2);
        drop(base);
    }
}

#[test]
fn a_chain_that_was_moved_is_found_or_mended() {
    for extension in EXTENSIONS {
        let folder = Folder::new("moved");
        let model = chain_of_three(&folder, extension);
        let [base, a, b] = names(&folder, extension);
        let elsewhere = folder.file("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::rename(&base, elsewhere.join(format!("other-name.{extension}"))).unwrap();
        let error = open(&b, &OpenOptions::read_only()).err().unwrap();
        assert!(matches!(error, Error::ParentMissing { .. }), "{error}");
        let links = disks::chain(&b).unwrap();
        assert_eq!(links.len(), 2);
        assert!(links[0].problem.is_none() && links[1].problem.is_some());
        assert!(repair_chain(&b, &[]).is_err());
        let mended = repair_chain(&b, std::slice::from_ref(&elsewhere)).unwrap();
        assert_eq!(
            mended,
            [(a.clone(), elsewhere.join(format!("other-name.{extension}")))]
        );
        assert!(content(&b) == model);
        assert!(
            disks::chain(&b)
                .unwrap()
                .iter()
                .all(|l| l.problem.is_none())
        );
        // And written as before.
        write(&b, 5 << 20, &[7; 3000]);
        assert!(content(&b)[5 << 20..][..3000] == [7; 3000]);
        assert!(check(&b, false, &mut silent).unwrap().is_clean());
        // Its own child as its parent.
        let error =
            relink(&a, &b, true).and_then(|()| open(&b, &OpenOptions::read_only()).map(drop));
        assert!(error.unwrap_err().to_string().contains("comes back"));
    }
}

#[test]
fn a_changed_parent_is_refused_until_it_is_accepted() {
    let folder = Folder::new("changed");
    let [base, a] = ["base.vhd", "a.vhd"].map(|name| folder.file(name));
    dynamic(&base);
    child(&a, &base);
    std::fs::remove_file(&base).unwrap();
    dynamic(&base);
    let error = open(&a, &OpenOptions::read_only()).err().unwrap();
    assert!(matches!(error, Error::ParentMismatch { .. }), "{error}");
    assert!(relink(&a, &base, false).is_err());
    relink(&a, &base, true).unwrap();
    assert!(content(&a).iter().all(|byte| *byte == 0));
    // A VHDX knows by itself that it was written.
    let [base, a] = ["base.vhdx", "a.vhdx"].map(|name| folder.file(name));
    dynamic(&base);
    child(&a, &base);
    let error = open(&base, &OpenOptions::writable()).err().unwrap();
    assert!(error.to_string().contains("stands on it"), "{error}");
    let options = OpenOptions {
        spoil_children: true,
        ..OpenOptions::writable()
    };
    let mut disk = open(&base, &options).unwrap().disk;
    disk.write(0, &[1; 512]).unwrap();
    disk.close().unwrap();
    drop(disk);
    let error = open(&a, &OpenOptions::read_only()).err().unwrap();
    assert!(matches!(error, Error::ParentMismatch { .. }), "{error}");
}

/// Children of one format over parents of another, and over a disk that is only read.
#[test]
fn chains_may_be_mixed() {
    let folder = Folder::new("mixed");
    let names = ["base.vhd", "a.vhdx", "b.vhd"];
    let [base, a, b] = names.map(|name| folder.file(name));
    dynamic(&base);
    write(&base, 0, &[1; 4096]);
    child(&a, &base);
    write(&a, 1024, &[2; 1024]);
    child(&b, &a);
    write(&b, 1536, &[3; 1024]);
    let mut model = vec![0; SIZE as usize];
    model[..4096].fill(1);
    model[1024..2048].fill(2);
    model[1536..2560].fill(3);
    assert!(content(&b) == model);
    assert!(check(&b, false, &mut silent).unwrap().is_clean());
    let options = MergeOptions {
        into: Some(base.clone()),
        ..MergeOptions::default()
    };
    merge(&b, &options, &mut silent).unwrap();
    assert!(content(&base) == model && content(&b) == model && !a.exists());
}

#[test]
fn a_disk_stands_on_a_vmdk() {
    let folder = Folder::new("vmdk");
    for extension in EXTENSIONS {
        let Some(base) = sample(&folder, "vmdk/cosmos-server-hda.vmdk.gz") else {
            return;
        };
        let before = std::fs::read(&base).unwrap();
        let top = folder.file(&format!("top.{extension}"));
        child(&top, &base);
        write(&top, 700, &[9; 600]);
        let mut model = content(&base);
        model[700..1300].fill(9);
        assert!(content(&top) == model);
        assert!(open(&base, &OpenOptions::writable()).is_err());
        assert!(commit(&top, Leftover::Empty, &mut silent).is_err());
        assert!(content(&top) == model && std::fs::read(&base).unwrap() == before);
    }
    // What has no identity is no parent.
    let raw = folder.file("floppy.vfd");
    std::fs::write(&raw, vec![0; 1_474_560]).unwrap();
    assert_eq!(content(&raw).len(), 1_474_560);
    let new = NewDisk::new(NewKind::VhdDifferencing { parent: raw }, 0);
    assert!(create(&folder.file("no.vhd"), &new).is_err());
}

#[test]
fn disks_grow_and_shrink_without_losing_what_stays() {
    for kind in [
        NewKind::VhdDynamic,
        NewKind::VhdFixed,
        NewKind::Raw,
        NewKind::VhdxDynamic,
    ] {
        let folder = Folder::new("resize");
        let path = folder.file(if kind == NewKind::Raw {
            "r.raw"
        } else {
            "r.vhd"
        });
        create(&path, &NewDisk::new(kind.clone(), SIZE)).unwrap();
        write(&path, 0, &[1; 5000]);
        write(&path, SIZE - 5000, &[2; 5000]);
        let mut model = content(&path);
        let options = ResizeOptions::default();
        let large = 12 * BLOCK;
        resize(&path, large, &options, &mut silent).unwrap();
        model.resize(large as usize, 0);
        assert!(content(&path) == model, "{kind:?}");
        write(&path, large - 600, &[3; 600]);
        let error = resize(&path, SIZE, &options, &mut silent).err().unwrap();
        assert!(error.to_string().contains("data"), "{error}");
        let drop_data = ResizeOptions {
            drop_data: true,
            ..options
        };
        let small = SIZE - 3000 / 512 * 512;
        resize(&path, small, &drop_data, &mut silent).unwrap();
        model.truncate(small as usize);
        assert!(content(&path) == model, "{kind:?}");
        resize(&path, large, &options, &mut silent).unwrap();
        model.resize(large as usize, 0);
        assert!(
            content(&path) == model,
            "{kind:?}: what was cut away is zero"
        );
        if kind != NewKind::Raw {
            assert!(check(&path, false, &mut silent).unwrap().is_clean());
        }
    }
}

#[test]
fn a_vhd_of_more_than_2040_gib_is_refused_before_anything_is_written() {
    let folder = Folder::new("limit");
    let path = folder.file("large.vhd");
    for kind in [NewKind::VhdDynamic, NewKind::VhdFixed] {
        let error = create(&path, &NewDisk::new(kind, (2040 << 30) + 512)).err();
        assert!(error.unwrap().to_string().contains("2040 GiB"));
        assert!(std::fs::read_dir(&folder.0).unwrap().next().is_none());
    }
    dynamic(&path);
    let before = std::fs::read(&path).unwrap();
    assert!(resize(&path, 4 << 40, &ResizeOptions::default(), &mut silent).is_err());
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn compacting_gives_back_zeros_and_holes() {
    let folder = Folder::new("compact");
    let [base, a] = ["base.vhd", "a.vhd"].map(|name| folder.file(name));
    dynamic(&base);
    let bare = std::fs::metadata(&base).unwrap().len();
    for block in 0..5 {
        write(&base, block * BLOCK, &vec![block as u8 + 1; BLOCK as usize]);
    }
    write(&base, BLOCK, &vec![0; BLOCK as usize]);
    write(&base, 0, &vec![0; BLOCK as usize]);
    let model = content(&base);
    let done = compact(&base, &mut silent).unwrap();
    assert_eq!(done.before_bytes, bare + 5 * (BLOCK + 512));
    assert_eq!(done.after_bytes, bare + 3 * (BLOCK + 512));
    assert!(content(&base) == model);
    assert!(check(&base, false, &mut silent).unwrap().is_clean());
    // Zeros over a parent's data are data.
    child(&a, &base);
    write(&a, 3 * BLOCK, &vec![0; BLOCK as usize]);
    write(&a, 0, &[5; 512]);
    write(&a, 0, &[0; 512]);
    let model = content(&a);
    let done = compact(&a, &mut silent).unwrap();
    assert_eq!(done.before_bytes - done.after_bytes, BLOCK + 512);
    assert!(content(&a) == model);
}

#[test]
fn an_undo_disk_is_compacted_kept_committed_and_discarded() {
    let folder = Folder::new("undo");
    let [hda, undo] = ["hda.vhd", "hda_11_22_2006.vud"].map(|name| folder.file(name));
    dynamic(&hda);
    child(&undo, &hda);
    let empty = std::fs::metadata(&undo).unwrap().len();
    write(&undo, 0, &[1; 512]);
    write(&undo, 0, &[0; 512]);
    compact(&undo, &mut silent).unwrap();
    assert_eq!(std::fs::metadata(&undo).unwrap().len(), empty);
    assert!(
        check(&undo, false, &mut silent)
            .unwrap()
            .findings
            .is_empty()
    );
    write(&undo, 700, &[2; 512]);
    let kept = content(&undo);
    commit(&undo, Leftover::Empty, &mut silent).unwrap();
    write(&undo, 0, &[3; 512]);
    discard(&undo, Leftover::Delete).unwrap();
    assert!(content(&hda) == kept && !undo.exists());
}

#[test]
fn compacting_a_vhdx_keeps_its_children() {
    let folder = Folder::new("compact-vhdx");
    let [base, a] = ["base.vhdx", "a.vhdx"].map(|name| folder.file(name));
    dynamic(&base);
    for mib in 0..8 {
        write(&base, mib << 20, &vec![mib as u8 + 1; 1 << 20]);
    }
    write(&base, 0, &vec![0; 2 << 20]);
    child(&a, &base);
    write(&a, 7 << 20, &[9; 700]);
    let model = content(&a);
    let done = compact(&base, &mut silent).unwrap();
    assert!(done.before_bytes - done.after_bytes >= 2 << 20);
    compact(&a, &mut silent).unwrap();
    assert!(content(&a) == model);
    assert!(check(&a, false, &mut silent).unwrap().is_clean());
}

#[test]
fn footers_are_mended_from_each_other_and_nothing_else_is() {
    let folder = Folder::new("check");
    let path = folder.file("d.vhd");
    dynamic(&path);
    write(&path, 0, &[1; 600]);
    let whole = std::fs::read(&path).unwrap();
    let last = whole.len() - 512;
    for range in [last..last + 512, last + 100..last + 101, 0..512] {
        let mut bytes = whole.clone();
        bytes[range.clone()].fill(0xee);
        std::fs::write(&path, &bytes).unwrap();
        let report = check(&path, false, &mut silent).unwrap();
        assert!(!report.is_clean() && report.findings.iter().all(|f| f.repairable));
        assert!(
            std::fs::read(&path).unwrap() == bytes,
            "a check writes nothing"
        );
        assert!(check(&path, true, &mut silent).unwrap().is_clean());
        assert!(
            check(&path, false, &mut silent)
                .unwrap()
                .findings
                .is_empty()
        );
        assert!(content(&path)[..600] == [1; 600]);
    }
    // A table entry that points into the header.
    let mut bytes = whole.clone();
    bytes[1536 + 4..1536 + 8].copy_from_slice(&[0, 0, 0, 1]);
    bytes[..512].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let report = check(&path, true, &mut silent).unwrap();
    assert!(!report.is_clean());
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn with_an_identity_given_a_conversion_is_the_same_byte_for_byte() {
    let folder = Folder::new("same-bytes");
    let [source, ..] = names(&folder, "vhd");
    dynamic(&source);
    write(&source, 3000, &[7; 5 << 20]);
    write(&source, SIZE - 700, &[4; 700]);
    for (extension, kind) in [
        ("img", NewKind::Raw),
        ("vhd", NewKind::VhdFixed),
        ("vhd", NewKind::VhdDynamic),
        ("vhdx", NewKind::VhdxFixed),
        ("vhdx", NewKind::VhdxDynamic),
    ] {
        let new = NewDisk {
            identity: Some(Identity {
                unique_id: *b"sixteen byte id.",
                timestamp: 700_000_000,
            }),
            ..NewDisk::new(kind, 0)
        };
        let made = ["once", "again"].map(|name| {
            let path = folder.file(&format!("{name}.{extension}"));
            convert(&source, &OpenOptions::read_only(), &path, &new, &mut silent).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(path).unwrap();
            bytes
        });
        assert!(made[0] == made[1], "{:?}", new.kind);
    }
}
