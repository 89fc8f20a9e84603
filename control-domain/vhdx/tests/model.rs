//! Every kind and sector size against a plain array.
#![allow(clippy::unwrap_used)]

mod disks;

use disk::{Disk, Place};
use disk_testing::{Image, Random, Volatile};
use disks::{Case, Request, SIZE, cases, request};
use proptest::prelude::*;
use vhdx::{Kind, check};

/// Compares all of a disk with what it should hold.
fn compare(disk: &mut dyn Disk, content: &Image) {
    let (mut found, mut wanted) = (vec![0xaa; SIZE as usize], vec![0; SIZE as usize]);
    disk.read(0, &mut found).unwrap();
    content.load(0, &mut wanted);
    if found == wanted {
        return;
    }
    let differs = found.iter().zip(&wanted).position(|(a, b)| a != b);
    assert!(differs.is_none(), "first differing byte: {differs:x?}");
}

/// What an extent points to is what the disk holds.
fn compare_extents(disk: &mut dyn Disk, file: &Image, parent: &Image, content: &Image) {
    let mut at = 0;
    while at < SIZE {
        let extent = disk.extent(at).unwrap();
        let (mut found, mut wanted) = (
            vec![0; extent.length as usize],
            vec![0; extent.length as usize],
        );
        match extent.place {
            Place::File { depth: 0, offset } => file.load(offset, &mut found),
            Place::File { depth: 1, offset } => parent.load(offset, &mut found),
            place => assert_eq!(place, Place::Zero),
        }
        content.load(at, &mut wanted);
        assert!(found == wanted, "{extent:?} at {at:#x}");
        at += extent.length;
    }
}

fn run(case: Case, seed: u64, steps: usize) {
    let mut random = Random::new(seed);
    let storage = Volatile::from_image(case.file());
    let mut disk = case.open(storage.clone(), true);
    let mut content = case.content();
    for _ in 0..steps {
        match request(&mut random, 1_300_000) {
            Request::Write { offset, data } => {
                disk.write(offset, &data).unwrap();
                content.store(offset, &data);
            }
            Request::Discard { offset, length } => {
                disk.discard(offset, length).unwrap();
                // Old or zero, but the same from now on.
                let mut data = vec![0xaa; length as usize];
                disk.read(offset, &mut data).unwrap();
                let mut old = vec![0; length as usize];
                content.load(offset, &mut old);
                assert!(
                    data.iter()
                        .zip(&old)
                        .all(|(new, old)| *new == 0 || new == old)
                );
                content.store(offset, &data);
            }
            Request::Flush => disk.flush().unwrap(),
        }
        match random.below(12) {
            // As a process that is killed after a flush: the log is left behind.
            0 => {
                disk.flush().unwrap();
                disk = case.open(storage.clone(), true);
            }
            1 => {
                disk.close().unwrap();
                disk = case.open(storage.clone(), true);
            }
            2 => {
                let offset = random.below(SIZE);
                let length = random.below(9000).min(SIZE - offset) as usize;
                let (mut found, mut wanted) = (vec![0xaa; length], vec![0; length]);
                disk.read(offset, &mut found).unwrap();
                content.load(offset, &mut wanted);
                assert!(found == wanted);
            }
            _ => {}
        }
    }
    compare(&mut disk, &content);
    disk.close().unwrap();
    drop(disk);
    let mut reader = case.open(storage.image(), false);
    compare(&mut reader, &content);
    compare_extents(&mut reader, &storage.image(), &case.content(), &content);
    let report = check(&mut storage.image()).unwrap();
    assert_eq!((report.problems, report.log_left), (vec![], false));
    assert!(reader.write(0, &[1]).is_err() && reader.discard(0, 512).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_an_array(case in prop::sample::select(cases()), seed in any::<u64>(), steps in 1..60_usize) {
        run(case, seed, steps);
    }
}

#[test]
fn zeros_take_no_room_and_discarded_room_is_used_again() {
    for case in cases()
        .into_iter()
        .filter(|case| case.kind == Kind::Dynamic)
    {
        let storage = Volatile::from_image(case.file());
        let bare = storage.image().len();
        let mut disk = case.open(storage.clone(), true);
        disk.write(0, &vec![0; SIZE as usize]).unwrap();
        disk.flush().unwrap();
        assert_eq!(storage.image().len(), bare);
        disk.write(5, &[1]).unwrap();
        disk.flush().unwrap();
        let with_one = storage.image().len();
        assert_eq!(with_one, bare + disks::MIB);
        for _ in 0..3 {
            disk.discard(0, SIZE).unwrap();
            // Before the flush a cut would bring the old block back, so its room is not used.
            disk.flush().unwrap();
            disk.write(disks::MIB, &[2; 4096]).unwrap();
            disk.flush().unwrap();
            assert_eq!(storage.image().len(), with_one);
        }
        let mut data = [9; 6];
        disk.read(0, &mut data).unwrap();
        assert_eq!(data, [0; 6]);
        // Nor is it forgotten when the disk is opened again, and it holds nothing of before.
        disk.discard(0, SIZE).unwrap();
        disk.flush().unwrap();
        let mut disk = case.open(storage.clone(), true);
        disk.write(77, &[3]).unwrap();
        disk.flush().unwrap();
        assert_eq!(storage.image().len(), with_one);
        let mut data = vec![9; disks::MIB as usize];
        disk.read(0, &mut data).unwrap();
        assert!(data[77] == 3 && data.iter().filter(|byte| **byte != 0).count() == 1);
    }
}

#[test]
fn without_room_a_write_fails_and_changes_nothing_and_works_when_there_is_room() {
    for case in cases().into_iter().filter(|case| case.kind != Kind::Fixed) {
        let storage = Volatile::from_image(case.file());
        let mut disk = case.open(storage.clone(), true);
        disk.write(100, &[1; 1000]).unwrap();
        disk.flush().unwrap();
        let length = storage.image().len();
        storage.limit_room(Some(disks::MIB - 1));
        let error = disk.write(disks::MIB + 7, &[2; 3000]).unwrap_err();
        assert!(error.is_out_of_space(), "{error}");
        assert_eq!(storage.image().len(), length);
        let mut content = case.content();
        content.store(100, &[1; 1000]);
        compare(&mut disk, &content);
        disk.flush().unwrap();
        storage.limit_room(None);
        disk.write(disks::MIB + 7, &[2; 3000]).unwrap();
        disk.close().unwrap();
        content.store(disks::MIB + 7, &[2; 3000]);
        compare(&mut case.open(storage.clone(), false), &content);
        assert_eq!(check(&mut storage.image()).unwrap().problems, []);
    }
}
