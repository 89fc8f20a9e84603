//! Power cuts at every point of random workloads and of what changes a file's structure: the disk
//! opens, holds what was flushed, is whole by our check, and goes on from there. qemu-img reads some of the
//! parentless ones: it is trusted for dynamic disks, but ignores the parent of a differencing one.
#![allow(clippy::unwrap_used)]

mod disks;

use disk::Checked;
use disk_testing::{Cut, History, Image, Moment, Random, Volatile, rounds};
use disks::{BLOCK, CREATOR_SIZE, Case, content, is_whole};
use std::process::Command;
use vhd::{Located, ParentLink};

/// Random subsets of unflushed sectors that are tried with each workload.
const SUBSETS: usize = 1000;

/// What a guest does, remembered.
fn workload(case: Case, seed: u64, steps: usize) -> (Volatile, History) {
    let mut random = Random::new(seed);
    let storage = Volatile::from_image(case.file());
    let mut disk = case.open(storage.clone(), true);
    let mut history = History::new(content(disk.as_mut()));
    for _ in 0..steps {
        let before = storage.moment();
        let (offset, length) = disks::range(&mut random, disk.size());
        match random.below(8) {
            0..5 => {
                let data = disks::data(&mut random, length);
                disk.write(offset, &data).unwrap();
                history.write(before, offset, &data);
            }
            5 => {
                let (start, end) = (offset / BLOCK * BLOCK, disk.size());
                disk.discard(start, end - start).unwrap();
                let mut data = vec![0; (end - start) as usize];
                disk.read(start, &mut data).unwrap();
                history.write(before, start, &data);
            }
            _ => {
                disk.flush().unwrap();
                history.flushed(storage.moment());
            }
        }
        match random.below(16) {
            0 => disk.close().unwrap(),
            // As a killed process leaves it.
            1 => {
                disk.flush().unwrap();
                std::mem::forget(disk);
                disk = case.open(storage.clone(), true);
            }
            _ => continue,
        }
        history.flushed(storage.moment());
    }
    disk.close().unwrap();
    history.flushed(storage.moment());
    (storage, history)
}

/// The disk after a cut: judged, and then written on.
fn judge(case: Case, history: &History, cut: &Cut) -> Result<(), String> {
    let storage = Volatile::from_image(cut.image.clone());
    is_whole(&storage)?;
    let mut disk = case.open(storage.clone(), true);
    history.judge(cut.moment, disk.as_mut())?;
    let mut expected = content(disk.as_mut());
    let data = [0xd5; 700];
    for offset in [100, BLOCK - 300, 3 * BLOCK] {
        disk.write(offset, &data).map_err(|e| e.to_string())?;
        expected.store(offset, &data);
    }
    disk.close().map_err(|e| e.to_string())?;
    drop(disk);
    is_whole(&storage)?;
    match content(case.open(storage, false).as_mut()).bytes() == expected.bytes() {
        true => Ok(()),
        false => Err("what is written after the cut is not read back".into()),
    }
}

fn cut_everywhere(case: Case, first_seed: u64, steps: usize) {
    for seed in rounds(first_seed) {
        cut_once(case, seed, steps);
    }
}

fn cut_once(case: Case, seed: u64, steps: usize) {
    let (storage, history) = workload(case, seed, steps);
    let mut number = 0_usize;
    let count = storage.cuts(seed, SUBSETS, |cut| {
        if let Err(error) = judge(case, &history, &cut) {
            panic!("{case:?}, seed {seed}, {}: {error}", cut.what);
        }
        number += 1;
        if case == Case::Dynamic && number.is_multiple_of(400) {
            judge_by_qemu(&history, &cut);
        }
    });
    eprintln!("{case:?}, seed {seed}: {count} cuts");
    assert!(count > SUBSETS + 100);
}

fn judge_by_qemu(history: &History, cut: &Cut) {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("skipped: qemu-img is not installed");
        return;
    }
    let folder = std::env::temp_dir().join(format!("vhd-cut-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("cut.vhd"), cut.image.bytes()).unwrap();
    let output = Command::new("qemu-img")
        .args(["convert", "-f", "vpc", "-O", "raw", "cut.vhd", "cut.raw"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: qemu-img: {text}", cut.what);
    let raw = Image::new(&std::fs::read(folder.join("cut.raw")).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(raw.len(), CREATOR_SIZE, "{}", cut.what);
    let mut disk = disk::Raw::open(raw, false).unwrap();
    if let Err(error) = history.judge(cut.moment, &mut disk) {
        panic!("{}: qemu-img reads: {error}", cut.what);
    }
}

#[test]
fn a_dynamic_disk_survives() {
    cut_everywhere(Case::Dynamic, 1, 60);
    cut_everywhere(Case::Dynamic, 2, 60);
}

#[test]
fn a_differencing_disk_survives() {
    cut_everywhere(Case::Differencing, 3, 60);
    cut_everywhere(Case::Differencing, 4, 60);
}

/// Cuts the power everywhere in `change`, which must leave the content as it is up to the smaller of
/// the two sizes, and zeros behind. `again` is the same change on what a cut left.
fn change_survives(
    case: Case,
    (seed, file): (u64, Image),
    change: impl Fn(Volatile) -> Result<(), disk::DiskError>,
    sizes: &[u64],
) {
    let storage = Volatile::from_image(file);
    let before = content(case.open(storage.clone(), false).as_mut());
    change(storage.clone()).unwrap();
    let judge = |image: Image| -> Result<u64, String> {
        let storage = Volatile::from_image(image);
        is_whole(&storage)?;
        let mut disk = case.open(storage, true);
        let size = disk.size();
        let mut expected = before.clone();
        expected.resize(size.min(sizes.iter().copied().min().unwrap_or(size)));
        let kept = expected.len();
        expected.resize(size);
        let found = content(disk.as_mut());
        let (found, expected) = (found.bytes(), expected.bytes());
        let grown = size > before.len();
        if found[..kept as usize] != expected[..kept as usize]
            || grown && found[before.len() as usize..].iter().any(|byte| *byte != 0)
        {
            return Err("the content is not what it was".into());
        }
        Ok(size)
    };
    let last = sizes.last().copied().unwrap_or(before.len());
    assert_eq!(judge(storage.image()), Ok(last));
    let count = storage.cuts(seed, SUBSETS, |cut| {
        let size = judge(cut.image.clone()).unwrap_or_else(|e| panic!("{}: {e}", cut.what));
        assert!(sizes.is_empty() || sizes.contains(&size), "{}", cut.what);
        let again = Volatile::from_image(cut.image.clone());
        change(again.clone()).unwrap_or_else(|e| panic!("{}: again: {e}", cut.what));
        assert_eq!(judge(again.image()), Ok(last), "{}: again", cut.what);
    });
    eprintln!("{case:?}, seed {seed}: {count} cuts");
    assert!(count > SUBSETS);
}

/// A file after some work.
fn worked_on(case: Case, seed: u64) -> (u64, Image) {
    (seed, workload(case, seed, 40).0.image())
}

/// A file with blocks that are not needed any more before others that are.
fn with_holes(case: Case, seed: u64) -> (u64, Image) {
    let (_, file) = worked_on(case, seed);
    let storage = Volatile::from_image(file);
    let mut disk = case.open(storage.clone(), true);
    let mut random = Random::new(seed);
    let mut blocks: Vec<u64> = (0..disks::SIZE / BLOCK).collect();
    while !blocks.is_empty() {
        let block = blocks.swap_remove(random.below(blocks.len() as u64) as usize);
        disk.write(block * BLOCK, &[0xee; BLOCK as usize]).unwrap();
    }
    for block in [1, 4] {
        disk.write(block * BLOCK, &[0; BLOCK as usize]).unwrap();
    }
    disk.close().unwrap();
    (seed, storage.image())
}

fn locate(storage: &Volatile) -> Located {
    Located::find(&mut Checked(storage.clone())).unwrap()
}

#[test]
fn resizing_survives() {
    let size = disks::SIZE;
    // A longer table, a shorter disk within a block, and one without some blocks.
    for (seed, new) in [(5, 20 * BLOCK), (6, size - 5 * 512), (7, 2 * BLOCK)] {
        let resize = |storage: Volatile| locate(&storage).resize(storage, new);
        for seed in rounds(seed) {
            let file = worked_on(Case::Dynamic, seed);
            change_survives(Case::Dynamic, file, resize, &[size, new]);
        }
    }
}

#[test]
fn compacting_survives() {
    for (seed, case) in [
        (8, Case::Dynamic),
        (9, Case::Differencing),
        (10, Case::Dynamic),
    ] {
        let compact = |storage: Volatile| {
            let located = locate(&storage);
            located.compact(storage, case.parent(), &mut |_, _| ())
        };
        for seed in rounds(seed) {
            change_survives(case, with_holes(case, seed), compact, &[]);
        }
    }
}

#[test]
fn naming_another_parent_survives() {
    let link = |name: &str| {
        let storage = Volatile::from_image(Case::Dynamic.file());
        ParentLink::to(&locate(&storage).footer, name, Some(name), Some(name))
    };
    let long = "x".repeat(700);
    for (seed, name) in [(11, "other.vhd"), (12, long.as_str())] {
        let relink = |storage: Volatile| vhd::relink(&mut Checked(storage), &link(name));
        change_survives(
            Case::Differencing,
            worked_on(Case::Differencing, seed),
            relink,
            &[],
        );
    }
    let storage = Volatile::from_image(Case::Differencing.file());
    vhd::relink(&mut Checked(storage.clone()), &link(&long)).unwrap();
    let footer = locate(&storage).footer;
    let read = ParentLink::read(&mut Checked(storage), &footer).unwrap();
    assert_eq!(read.paths, link(&long).paths);
    assert_eq!(read.name, long[..255]);
}

#[test]
fn what_found_no_room_is_written_when_there_is_room() {
    for case in [Case::Dynamic, Case::Differencing] {
        let mut random = Random::new(13);
        let storage = Volatile::from_image(case.file());
        let mut disk = case.open(storage.clone(), true);
        let mut model = content(disk.as_mut());
        let mut refused = 0;
        for _ in 0..60 {
            let (offset, length) = disks::range(&mut random, disk.size());
            let data = disks::data(&mut random, length);
            storage.limit_room(Some(random.below(6000)));
            match disk.write(offset, &data) {
                Err(error) if error.is_out_of_space() => {
                    refused += 1;
                    storage.limit_room(None);
                    disk.write(offset, &data).unwrap();
                }
                result => result.unwrap(),
            }
            model.store(offset, &data);
        }
        storage.limit_room(None);
        disk.close().unwrap();
        assert!(content(disk.as_mut()).bytes() == model.bytes());
        assert!(refused > 0);
        is_whole(&storage).unwrap();
        assert!(storage.moment() > Moment::default());
    }
}
