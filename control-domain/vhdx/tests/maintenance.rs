//! Resizing, compacting and relinking: the content stays, and a power cut leaves the old state or the new one.
#![allow(clippy::unwrap_used)]

mod disks;

use disk::{Disk, Raw};
use disk_testing::{History, Image, Volatile, rounds};
use disks::{Case, MIB, SIZE, cases, judge};
use vhdx::{Guid, Info, Kind, New, ParentLink, Vhdx, check, create, relink, repair};

/// A disk with data at both ends and in the middle, and a hole where a discarded block was.
fn filled(case: Case) -> (Volatile, Image) {
    let storage = Volatile::from_image(case.file());
    let mut content = case.content();
    let mut disk = case.open(storage.clone(), true);
    for (offset, length, value) in [
        (MIB - 700, 1400, 1),
        (2 * MIB + 5, 20, 2),
        (SIZE - 512, 512, 3),
        (77, 1, 4),
    ] {
        let data = vec![value; length];
        disk.write(offset, &data).unwrap();
        content.store(offset, &data);
    }
    if case.kind != Kind::Fixed {
        disk.discard(MIB, MIB).unwrap();
        content.clear(MIB, MIB);
    }
    disk.close().unwrap();
    (storage, content)
}

fn bytes(disk: &mut dyn Disk) -> Vec<u8> {
    let mut data = vec![0xaa; disk.size() as usize];
    disk.read(0, &mut data).unwrap();
    data
}

fn assert_clean(storage: &Volatile) {
    let report = check(&mut storage.image()).unwrap();
    assert_eq!((report.problems, report.log_left), (vec![], false));
}

#[test]
fn a_disk_grows_and_shrinks_where_it_is_empty() {
    for case in cases() {
        let (storage, mut content) = filled(case);
        let mut disk = case.open(storage.clone(), true);
        let before = disk.data_write_guid();
        disk.resize(6 * MIB).unwrap();
        assert_ne!(disk.data_write_guid(), before);
        content.resize(6 * MIB);
        assert!(bytes(&mut disk) == content.bytes(), "{case:?}");
        disk.write(5 * MIB + 3, &[9; 600]).unwrap();
        content.store(5 * MIB + 3, &[9; 600]);
        let error = disk.resize(5 * MIB).unwrap_err().to_string();
        assert!(error.contains("0x500003"), "{error}");
        disk.write(5 * MIB + 3, &[0; 600]).unwrap();
        disk.resize(4 * MIB + 4096).unwrap();
        content.resize(4 * MIB + 4096);
        assert!(disk.resize(4 * MIB + 1).is_err() && disk.resize(0).is_err());
        disk.close().unwrap();
        drop(disk);
        let mut disk = case.open(storage.clone(), true);
        assert!(bytes(&mut disk) == content.bytes(), "{case:?}");
        disk.compact(&mut |_, _| ()).unwrap();
        disk.resize(5 * MIB).unwrap();
        content.resize(5 * MIB);
        assert!(bytes(&mut disk) == content.bytes(), "{case:?}");
        disk.close().unwrap();
        assert_clean(&storage);
    }
}

#[test]
fn what_lies_behind_the_end_does_not_show_when_the_disk_grows() {
    let case = Case {
        kind: Kind::Differencing,
        sector: 512,
    };
    let (storage, _) = filled(case);
    let mut disk = case.open(storage, true);
    disk.write(3 * MIB, &vec![0; (SIZE - 3 * MIB) as usize])
        .unwrap();
    disk.resize(3 * MIB).unwrap();
    let error = disk.resize(SIZE).unwrap_err().to_string();
    assert!(error.contains("parent is larger"), "{error}");
}

#[test]
fn compacting_keeps_the_content_and_gives_back_all_that_is_unused() {
    for case in cases() {
        let (storage, content) = filled(case);
        let mut disk = case.open(storage.clone(), true);
        if case.kind != Kind::Fixed {
            // All zero by now, but still in the file.
            disk.write(2 * MIB, &vec![7; MIB as usize]).unwrap();
            disk.write(2 * MIB, &vec![0; MIB as usize]).unwrap();
        }
        disk.close().unwrap();
        let mut content = content;
        if case.kind != Kind::Fixed {
            content.clear(2 * MIB, MIB);
        }
        let long = storage.image().len();
        let mut calls = 0;
        let given_back = disk.compact(&mut |_, _| calls += 1).unwrap();
        assert!(calls > 0);
        assert_eq!(long - given_back, storage.image().len());
        assert!(
            case.kind == Kind::Fixed || given_back >= 2 * MIB,
            "{case:?}: {given_back}"
        );
        disk.write(MIB + 1, &[5; 5]).unwrap();
        content.store(MIB + 1, &[5; 5]);
        assert!(bytes(&mut disk) == content.bytes(), "{case:?}");
        disk.close().unwrap();
        assert_clean(&storage);
        assert_eq!(
            check(&mut storage.image()).unwrap().unused_bytes,
            0,
            "{case:?}"
        );
        assert!(bytes(&mut case.open(storage.clone(), false)) == content.bytes());
    }
}

#[test]
fn a_cut_while_resizing_and_compacting_leaves_a_whole_disk() {
    let kinds = [Kind::Dynamic, Kind::Differencing];
    for (kind, seed) in kinds
        .into_iter()
        .flat_map(|kind| rounds(5).map(move |seed| (kind, seed)))
    {
        let case = Case { kind, sector: 512 };
        let (storage, content) = filled(case);
        let storage = Volatile::from_image(storage.image());
        let mut disk = case.open(storage.clone(), true);
        disk.resize(SIZE + MIB).unwrap();
        disk.resize(SIZE).unwrap();
        disk.compact(&mut |_, _| ()).unwrap();
        let history = History::new(content);
        let mut number = 0_usize;
        let count = storage.cuts(seed, 300, |cut| {
            number += 1;
            // The content is judged up to the old size; the new part must be zero.
            if let Err(error) = judge(case, &history, &cut, number.is_multiple_of(10)) {
                panic!("{kind:?}, seed {seed}, {}: {error}", cut.what);
            }
            let mut disk = case.open(cut.image, false);
            if disk.size() != SIZE {
                assert_eq!(disk.size(), SIZE + MIB);
                let mut data = vec![1; MIB as usize];
                disk.read(SIZE, &mut data).unwrap();
                assert!(data.iter().all(|byte| *byte == 0));
            }
        });
        eprintln!("{kind:?}: {count} cuts");
    }
}

#[test]
fn a_cut_while_the_table_moves_leaves_a_whole_disk() {
    let new = New {
        block_size: MIB,
        ..New::dynamic(100 << 30)
    };
    let storage = Volatile::from_image(create(Image::default(), &new).unwrap());
    let mut disk = Vhdx::open(storage.clone(), None, true).unwrap();
    disk.write((100 << 30) - 600, &[8; 600]).unwrap();
    disk.close().unwrap();
    let storage = Volatile::from_image(storage.image());
    let mut disk = Vhdx::open(storage.clone(), None, true).unwrap();
    // 1 MiB of table is enough for 128 GiB in blocks of 1 MiB.
    disk.resize(140 << 30).unwrap();
    disk.write(130 << 30, &[9; 600]).unwrap();
    disk.close().unwrap();
    assert_eq!(check(&mut storage.image()).unwrap().problems, []);
    let moved = storage.cuts(6, 20, |cut| {
        let mut image = cut.image;
        let before = Info::read(&mut image).unwrap().size;
        let mut disk = Vhdx::open(image.clone(), None, false).unwrap();
        let mut data = [0; 600];
        disk.read((100 << 30) - 600, &mut data).unwrap();
        assert!(data == [8; 600], "{}", cut.what);
        // Only while the table moves its copy may say something else.
        assert_eq!(repair(&mut image).unwrap().problems, [], "{}", cut.what);
        assert_eq!(Info::read(&mut image).unwrap().size, before);
    });
    assert!(moved > 20);
    let mut disk = Vhdx::open(storage.image(), None, false).unwrap();
    let mut data = [0; 600];
    disk.read(130 << 30, &mut data).unwrap();
    assert!(disk.size() == 140 << 30 && data == [9; 600]);
}

#[test]
fn a_child_can_be_given_another_parent_and_a_cut_leaves_the_old_link_or_the_new_one() {
    let case = Case {
        kind: Kind::Differencing,
        sector: 512,
    };
    let (storage, content) = filled(case);
    let old = ParentLink::read(&mut storage.image()).unwrap().unwrap();
    let path = r"C:\a folder with a name that is longer than the old one\parent.vhdx";
    let new = ParentLink::new(Guid([9; 16]), Some(r"..\parent.vhdx"), None, Some(path));
    let storage = Volatile::from_image(storage.image());
    relink(storage.clone(), &new).unwrap();
    let link = ParentLink::read(&mut storage.image()).unwrap().unwrap();
    assert_eq!(link, new);
    assert_eq!(link.absolute_win32_path(), Some(path));
    assert!(bytes(&mut case.open(storage.clone(), false)) == content.bytes());
    let (mut olds, mut news) = (0, 0);
    storage.cuts(8, 100, |cut| {
        let link = ParentLink::read(&mut cut.image.clone()).unwrap().unwrap();
        assert!(link == old || link == new, "{}", cut.what);
        olds += usize::from(link == old);
        news += usize::from(link == new);
        assert_eq!(check(&mut cut.image.clone()).unwrap().problems, []);
    });
    assert!(olds > 0 && news > 0);
    let parentless = Case {
        kind: Kind::Dynamic,
        sector: 512,
    };
    assert!(relink(parentless.file(), &new).is_err());
}

#[test]
fn bad_copies_are_found_and_mended() {
    let case = Case {
        kind: Kind::Dynamic,
        sector: 512,
    };
    let (storage, content) = filled(case);
    for offset in [64 << 10, 128 << 10, 192 << 10, 256 << 10] {
        let mut image = storage.image();
        image.store(offset + 4, &[1, 2, 3]);
        let found = check(&mut image).unwrap().problems;
        assert!(
            found.len() == 1 && found[0].offset == offset && found[0].repairable,
            "{found:?}"
        );
        assert_eq!(repair(&mut image).unwrap().problems, []);
        assert!(bytes(&mut case.open(image, false)) == content.bytes());
    }
    // Both bad: nothing can be made of it, and the reason is said.
    let mut image = storage.image();
    image.store((64 << 10) + 4, &[1]);
    image.store((128 << 10) + 4, &[1]);
    assert!(repair(&mut image).is_err());
    let found = check(&mut image).unwrap().problems;
    assert!(
        found.iter().all(|problem| !problem.repairable) && !found.is_empty(),
        "{found:?}"
    );
    assert!(Raw::open(image, false).is_ok());
}
