//! Power cuts while many requests are under way: the disk opens, and holds what was completed before a flush.
#![allow(clippy::unwrap_used)]

mod machine;
#[path = "../../vhd/tests/disks/mod.rs"]
mod vhds;
#[path = "../../vhdx/tests/disks/mod.rs"]
mod vhdxs;

use disk::Disk;
use disk_testing::{Image, Random, Volatile};
use machine::shuffled::Shuffled;
use machine::{Machine, Sectors, with_room};
use vhdx::Kind;
use vhdxs::{MIB, SIZE};

/// Random subsets of unflushed sectors that are tried with each workload.
const SUBSETS: usize = 1000;

/// A kind of disk under test.
struct Kit {
    file: Image,
    open: Box<dyn Fn(Volatile) -> Box<dyn Disk>>,
    /// Whether the file is whole.
    check: fn(Image) -> Result<(), String>,
    /// A range to read, write or discard.
    range: fn(&mut Random) -> (u64, u64),
    /// What discards count in.
    block: u64,
}

fn vhd(case: vhds::Case) -> Kit {
    Kit {
        file: case.file(),
        open: Box::new(move |storage| case.open(storage, true)),
        check: |image| vhds::is_whole(&Volatile::from_image(image)),
        range: |random| {
            let (offset, length) = vhds::range(random, vhds::SIZE);
            (offset, length as u64)
        },
        block: vhds::BLOCK,
    }
}

fn vhdx(kind: Kind, sector: u32) -> Kit {
    let case = vhdxs::Case { kind, sector };
    Kit {
        file: case.file(),
        open: Box::new(move |storage| Box::new(case.open(storage, true))),
        check: |mut image| {
            let report = vhdx::check(&mut image).map_err(|e| e.to_string())?;
            match report.problems.first() {
                Some(problem) => Err(format!("{problem:?}")),
                None => Ok(()),
            }
        },
        range: |random| {
            // Near the edges of blocks, and few places, so that much is written twice.
            let near = random.below(4) * MIB + random.below(12) * 512 + random.below(2) * 100;
            let offset = near.saturating_sub(6 * 512).min(SIZE - 512);
            (offset, (1 + random.below(6000)).min(SIZE - offset))
        },
        block: MIB,
    }
}

fn workload(kit: &Kit, seed: u64, steps: usize, narrow: bool) -> (Volatile, Sectors) {
    let mut random = Random::new(seed);
    let storage = Volatile::from_image(kit.file.clone());
    let open = |storage: &Volatile, seed| {
        Machine::new((kit.open)(storage.clone()), Some(Shuffled::new(seed)))
    };
    let mut machine = open(&storage, seed);
    let (start, mut stalls) = (machine.content.clone(), 0);
    for step in 0..steps {
        if narrow && random.coin() {
            storage.limit_writes(Some(random.below(3)));
        }
        let (offset, length) = (kit.range)(&mut random);
        match random.below(16) {
            0 => {
                with_room(&mut machine, &storage);
                let first = offset / kit.block * kit.block;
                let end = (first + 2 * kit.block).min(machine.content.len() as u64);
                machine.discard(storage.moment(), first, end - first);
            }
            1..4 => {
                with_room(&mut machine, &storage);
                machine.flush(|| storage.moment());
            }
            4 | 5 => machine.read(&mut random, offset, length as usize),
            6 => {
                with_room(&mut machine, &storage);
                machine.drain();
                machine.flush(|| storage.moment());
                let mut queue = machine.queue;
                if random.coin() {
                    queue.close().unwrap();
                } else {
                    // As a killed process leaves it.
                    std::mem::forget(queue);
                }
                let writes = machine.writes;
                machine = open(&storage, seed + step as u64);
                machine.writes = writes;
            }
            _ => {
                let data = vhds::data(&mut random, length as usize);
                machine.write(&mut random, storage.moment(), offset, data);
            }
        }
        if random.coin() {
            machine.queue.advance().unwrap();
            machine.take();
        }
        stalls += usize::from(narrow && with_room(&mut machine, &storage));
    }
    machine.drain();
    machine.queue.close().unwrap();
    assert!(!narrow || stalls > 1, "{stalls}");
    let mut content = vec![0; start.len()];
    (kit.open)(storage.clone()).read(0, &mut content).unwrap();
    assert!(content == machine.content);
    (storage, Sectors::new(start, &machine.writes))
}

fn cut_everywhere(kit: &Kit, seed: u64, steps: usize, narrow: bool) {
    let (storage, sectors) = workload(kit, seed, steps, narrow);
    let count = storage.cuts(seed, SUBSETS, |cut| {
        let judge = || {
            (kit.check)(cut.image.clone())?;
            let mut disk = (kit.open)(Volatile::from_image(cut.image.clone()));
            sectors.judge(cut.moment, disk.as_mut())
        };
        if let Err(error) = judge() {
            panic!("seed {seed}, {}: {error}", cut.what);
        }
    });
    eprintln!("seed {seed}: {count} cuts");
    assert!(count > SUBSETS + 100);
}

#[test]
fn vhds_survive() {
    for seed in 1..4 {
        cut_everywhere(&vhd(vhds::Case::Dynamic), seed, 80, false);
        cut_everywhere(&vhd(vhds::Case::Differencing), seed, 80, false);
    }
}

#[test]
fn vhdxs_survive() {
    cut_everywhere(&vhdx(Kind::Fixed, 512), 1, 35, false);
    cut_everywhere(&vhdx(Kind::Dynamic, 512), 2, 35, false);
    cut_everywhere(&vhdx(Kind::Dynamic, 4096), 3, 30, false);
    cut_everywhere(&vhdx(Kind::Differencing, 512), 4, 35, false);
    cut_everywhere(&vhdx(Kind::Differencing, 4096), 5, 30, false);
}

#[test]
fn disks_without_room_survive() {
    cut_everywhere(&vhd(vhds::Case::Dynamic), 7, 80, true);
    cut_everywhere(&vhd(vhds::Case::Differencing), 8, 80, true);
    cut_everywhere(&vhdx(Kind::Dynamic, 512), 9, 35, true);
    cut_everywhere(&vhdx(Kind::Differencing, 512), 10, 35, true);
}
