//! Power cuts at every point of random workloads: the disk opens, holds what was flushed, and is whole.
#![allow(clippy::unwrap_used)]

mod disks;

use disk::{Disk, DiskError, Raw};
use disk_testing::{Cut, History, Image, Random, Volatile, rounds};
use disks::{Case, Request, judge, request};
use std::path::PathBuf;
use std::process::Command;
use vhdx::Kind;

/// Random subsets of unflushed sectors that are tried with each workload.
const SUBSETS: usize = 1000;

/// Does something with a disk, now and then without room; then once more with room. Answers how often there
/// was none.
fn attempt(
    room: Option<u64>,
    storage: &Volatile,
    disk: &mut dyn Disk,
    mut act: impl FnMut(&mut dyn Disk) -> Result<(), DiskError>,
) -> u32 {
    storage.limit_writes(room);
    let outcome = act(disk);
    storage.limit_writes(None);
    if let Err(error) = outcome {
        assert!(room.is_some() && error.is_out_of_space(), "{error}");
        act(disk).unwrap();
        return 1;
    }
    0
}

/// What a guest does, remembered; `narrow`: the room runs out now and then.
fn workload(case: Case, seed: u64, steps: usize, narrow: bool) -> (Volatile, History) {
    let mut random = Random::new(seed);
    let storage = Volatile::from_image(case.file());
    let mut history = History::new(case.content());
    let mut disk = case.open(storage.clone(), true);
    let mut failures = 0;
    for _ in 0..steps {
        let before = storage.moment();
        let room = (narrow && random.coin()).then(|| random.below(3));
        match request(&mut random, 20_000) {
            Request::Write { offset, data } => {
                history.write(before, offset, &data);
                failures += attempt(room, &storage, &mut disk, |disk| disk.write(offset, &data));
            }
            Request::Discard { offset, length } => {
                failures += attempt(room, &storage, &mut disk, |disk| {
                    disk.discard(offset, length)
                });
                let mut data = vec![0; length as usize];
                disk.read(offset, &mut data).unwrap();
                history.write(before, offset, &data);
            }
            Request::Flush => {
                failures += attempt(room, &storage, &mut disk, |disk| disk.flush());
                history.flushed(storage.moment());
            }
        }
        match random.below(16) {
            0 => {
                failures += attempt(room, &storage, &mut disk, |disk| disk.close());
                history.flushed(storage.moment());
            }
            1 => {
                disk.flush().unwrap();
                history.flushed(storage.moment());
                disk = case.open(storage.clone(), true);
            }
            _ => {}
        }
    }
    disk.close().unwrap();
    history.flushed(storage.moment());
    assert!(!narrow || failures > 3, "{failures}");
    (storage, history)
}

fn cut_everywhere(case: Case, first_seed: u64, steps: usize, narrow: bool) {
    for seed in rounds(first_seed) {
        cut_once(case, seed, steps, narrow);
    }
}

fn cut_once(case: Case, seed: u64, steps: usize, narrow: bool) {
    let (storage, history) = workload(case, seed, steps, narrow);
    let qemu = Qemu::find();
    let mut number = 0_usize;
    let count = storage.cuts(seed, SUBSETS, |cut| {
        if let Err(error) = judge(case, &history, &cut, number.is_multiple_of(10)) {
            panic!("{case:?}, seed {seed}, {}: {error}", cut.what);
        }
        number += 1;
        if number.is_multiple_of(150)
            && case.kind != Kind::Differencing
            // It reads no disks with larger sectors.
            && case.sector == 512
            && let Some(qemu) = &qemu
        {
            qemu.judge(&history, &cut);
        }
    });
    eprintln!("{case:?}, seed {seed}: {count} cuts");
    assert!(count > SUBSETS + 100);
}

/// qemu-img replays the log by itself and then checks the file.
struct Qemu(PathBuf);

impl Qemu {
    fn find() -> Option<Self> {
        let there = Command::new("qemu-img").arg("--version").output().is_ok();
        if !there {
            eprintln!("skipped: qemu-img is not installed");
            return None;
        }
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("vhdx-cut-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Some(Self(folder))
    }

    fn run(&self, arguments: &[&str], what: &str) {
        let output = Command::new("qemu-img")
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{what}: qemu-img {arguments:?}: {text}"
        );
    }

    fn judge(&self, history: &History, cut: &Cut) {
        std::fs::write(self.0.join("cut.vhdx"), cut.image.bytes()).unwrap();
        self.run(
            &["check", "-q", "-r", "all", "-f", "vhdx", "cut.vhdx"],
            &cut.what,
        );
        self.run(&["check", "-q", "-f", "vhdx", "cut.vhdx"], &cut.what);
        self.run(
            &["convert", "-f", "vhdx", "-O", "raw", "cut.vhdx", "cut.raw"],
            &cut.what,
        );
        let raw = Image::new(&std::fs::read(self.0.join("cut.raw")).unwrap());
        let mut disk = Raw::open(raw, false).unwrap();
        if let Err(error) = history.judge(cut.moment, &mut disk) {
            panic!("{}: qemu-img reads: {error}", cut.what);
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_dynamic_disk_survives() {
    let kind = Kind::Dynamic;
    cut_everywhere(Case { kind, sector: 512 }, 1, 60, false);
    cut_everywhere(Case { kind, sector: 4096 }, 2, 30, false);
}

#[test]
fn a_differencing_disk_survives() {
    let kind = Kind::Differencing;
    cut_everywhere(Case { kind, sector: 512 }, 3, 60, false);
    cut_everywhere(Case { kind, sector: 4096 }, 4, 30, false);
}

#[test]
fn a_disk_without_room_survives() {
    for (kind, seed) in [(Kind::Dynamic, 5), (Kind::Differencing, 6)] {
        cut_everywhere(Case { kind, sector: 512 }, seed, 60, true);
    }
}
