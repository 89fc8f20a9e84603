//! Chains of every kind against a plain array.
#![allow(clippy::unwrap_used)]

mod chains;

use chains::Kind::{self, *};
use chains::{Chain, content, scribble};
use disk::{Checked, Disk};
use disk_testing::{Random, Volatile};
use proptest::prelude::*;
use vhd::{Located, ParentLink};

/// Kinds from the base up, and the size of a sector.
const CHAINS: [(&[Kind], u32); 16] = [
    (&[Raw], 512),
    (&[VhdFixed], 512),
    (&[VhdDynamic], 512),
    (&[VhdxFixed], 512),
    (&[VhdxFixed], 4096),
    (&[VhdxDynamic], 512),
    (&[VhdxDynamic], 4096),
    (&[VhdFixed, VhdChild], 512),
    (&[VhdDynamic, VhdChild], 512),
    (&[VhdDynamic, VhdChild, VhdChild], 512),
    (&[VhdDynamic, VhdChild, VhdChild, VhdChild], 512),
    (&[VhdxDynamic, VhdxChild], 4096),
    (&[VhdxFixed, VhdxChild, VhdxChild], 512),
    (&[VhdxDynamic, VhdxChild, VhdxChild, VhdxChild], 4096),
    (&[VhdDynamic, VhdxChild, VhdChild], 512),
    (&[Raw, VhdChild], 512),
];

#[derive(Clone, Debug)]
enum Step {
    Write(Range, u8),
    Read(Range),
    Discard(Range),
    Flush,
    /// Close and open again.
    Reopen,
}

/// Where a range begins and ends, of 0 to 1 of the disk, in 65536ths.
type Range = (u16, u16);

fn step() -> impl Strategy<Value = Step> {
    let range = || any::<Range>();
    prop_oneof![
        4 => (range(), any::<u8>()).prop_map(|(range, value)| Step::Write(range, value)),
        2 => range().prop_map(Step::Read),
        1 => range().prop_map(Step::Discard),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

/// The bytes of a range: a sixteenth of the disk on average.
fn bytes((start, length): Range, size: usize) -> std::ops::Range<usize> {
    let start = size * usize::from(start) / 65536;
    start..start + (size - start) * usize::from(length) / 65536 / 4
}

/// Data that is zeros now and then, and seldom the same in two sectors.
fn pattern(value: u8, length: usize) -> Vec<u8> {
    let byte = |at: usize| match value {
        ..64 => 0,
        _ => value.wrapping_add((at / 7) as u8),
    };
    (0..length).map(byte).collect()
}

/// Whether what a disk says of its extents is what it reads as.
fn check_extents(chain: &Chain, disk: &mut dyn Disk, model: &[u8]) {
    disk.close().unwrap();
    let files: Vec<Vec<u8>> = chain.files.iter().rev().map(|(_, f)| f.bytes()).collect();
    let mut at = 0;
    for stretch in disks::stretches(disk).unwrap() {
        assert_eq!(stretch.start, at);
        let part = &model[at as usize..][..stretch.length as usize];
        at += stretch.length;
        match (stretch.depth, stretch.file_offset) {
            (Some(depth), Some(offset)) => {
                let file = &files[depth as usize][offset as usize..];
                assert!(file[..part.len()] == *part, "{stretch:?}");
            }
            _ => assert!(part.iter().all(|byte| *byte == 0), "{stretch:?}"),
        }
    }
    assert_eq!(at, model.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_an_array(
        number in 0..CHAINS.len(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let (kinds, sector) = CHAINS[number];
        let chain = Chain::new(kinds, sector);
        let size = chain.size() as usize;
        let mut model = vec![0; size];
        let top = kinds.len() - 1;
        for below in 0..top {
            let mut disk = chain.open(below, true);
            scribble(&mut Random::new(seed ^ below as u64), disk.as_mut(), &mut model, 5);
            disk.close().unwrap();
        }
        let before: Vec<_> = chain.files[..top].iter().map(|(_, f)| f.bytes()).collect();
        let mut disk = chain.open(top, true);
        prop_assert_eq!(disk.logical_sector_size(), sector);
        for step in steps {
            match step {
                Step::Write(range, value) => {
                    let range = bytes(range, size);
                    let data = pattern(value, range.len());
                    disk.write(range.start as u64, &data).unwrap();
                    model[range].copy_from_slice(&data);
                }
                Step::Read(range) => {
                    let range = bytes(range, size);
                    let mut data = vec![0xaa; range.len()];
                    disk.read(range.start as u64, &mut data).unwrap();
                    prop_assert!(data == model[range]);
                }
                Step::Discard(range) => {
                    let range = bytes(range, size);
                    disk.discard(range.start as u64, range.len() as u64).unwrap();
                    let now = content(disk.as_mut());
                    for (at, (now, before)) in now.iter().zip(&model).enumerate() {
                        prop_assert!(now == before || *now == 0 && range.contains(&at));
                    }
                    model = now;
                }
                Step::Flush => disk.flush().unwrap(),
                Step::Reopen => {
                    disk.close().unwrap();
                    drop(disk);
                    disk = chain.open(top, true);
                }
            }
        }
        prop_assert!(content(disk.as_mut()) == model);
        check_extents(&chain, disk.as_mut(), &model);
        let after: Vec<_> = chain.files[..top].iter().map(|(_, f)| f.bytes()).collect();
        prop_assert!(before == after, "a parent was written");
    }

    #[test]
    fn damaged_files_are_refused_or_read_but_never_panic(
        at in 0usize..12_000, value in any::<u8>(), cut in prop::option::of(0usize..12_000),
        is_child in any::<bool>(), mend in any::<bool>(),
    ) {
        let chain = Chain::new(if is_child { &[VhdDynamic, VhdChild] } else { &[VhdDynamic] }, 512);
        let top = chain.files.len() - 1;
        let mut disk = chain.open(top, true);
        disk.write(0, &pattern(200, 5000)).unwrap();
        disk.close().unwrap();
        let mut bytes = chain.files[top].1.bytes();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        if mend && bytes.len() >= 1536 {
            // A header whose checksum is right, whatever it says.
            let sum: u32 = bytes[512..1536].iter().map(|b| u32::from(*b)).sum();
            let own: u32 = bytes[548..552].iter().map(|b| u32::from(*b)).sum();
            bytes[548..552].copy_from_slice(&(!(sum - own)).to_be_bytes());
        }
        let storage = Volatile::new(bytes);
        let mut file = Checked(storage.clone());
        let _ = vhd::check(&mut file);
        if let Ok(located) = Located::find(&mut file) {
            let _ = ParentLink::read(&mut file, &located.footer);
        }
        let parent = is_child.then(|| chain.open(0, false));
        if let Ok(mut disk) = vhd::open(storage.clone(), parent, true) {
            let mut data = vec![0; disk.size().min(1 << 20) as usize];
            let _ = disk.read(0, &mut data);
            let _ = disk.write(0, &[1; 512]);
            let _ = disk.extent(0);
        }
        let _ = vhd::repair(&mut file);
        if let Ok(located) = Located::find(&mut file) {
            let _ = located.clone().compact(storage.clone(), None, &mut |_, _| ());
            let _ = located.resize(storage, 512);
        }
    }
}

#[test]
fn the_file_is_as_long_as_its_blocks() {
    let chain = Chain::new(&[VhdDynamic], 512);
    let length = || chain.files[0].1.bytes().len();
    let bare = length();
    let mut disk = chain.open(0, true);
    disk.write(4096, &[5; 10]).unwrap();
    disk.close().unwrap();
    assert_eq!(length(), bare + 512 + 4096);
    disk.write(0, &[0; 4096]).unwrap();
    disk.close().unwrap();
    assert_eq!(length(), bare + 512 + 4096, "zeros take no room");
    // What a discard frees is used again.
    disk.discard(4096, 4096).unwrap();
    disk.flush().unwrap();
    disk.write(8192, &[6; 10]).unwrap();
    disk.close().unwrap();
    assert_eq!(length(), bare + 512 + 4096);
    let mut expected = vec![0; chain.size() as usize];
    expected[8192..8202].fill(6);
    assert!(content(disk.as_mut()) == expected);
    assert!(disk.write(chain.size() - 1, &[1, 2]).is_err());
    assert!(disk.read(u64::MAX, &mut [0]).is_err());
}

#[test]
fn a_lost_footer_is_replaced_by_its_copy() {
    let mut chain = Chain::new(&[VhdDynamic], 512);
    let mut disk = chain.open(0, true);
    disk.write(0, &[5; 4096]).unwrap();
    disk.close().unwrap();
    drop(disk);
    let mut bytes = chain.files[0].1.bytes();
    let length = bytes.len();
    bytes[length - 512..].fill(0);
    let storage = Volatile::new(bytes);
    chain.files[0].1 = storage.clone();
    let warning = || {
        Located::find(&mut Checked(storage.clone()))
            .unwrap()
            .warning
    };
    assert!(warning().unwrap().contains("copy"));
    let mut disk = chain.open(0, true);
    disk.write(5000, &[6; 100]).unwrap();
    disk.close().unwrap();
    drop(disk);
    assert!(warning().is_none());
    let mut disk = chain.open(0, false);
    let data = content(disk.as_mut());
    assert!(data[..4096] == [5; 4096] && data[4096..5000] == [0; 904]);
    assert!(data[5000..5100] == [6; 100]);
    assert!(disk.write(0, &[1]).is_err());
}

#[test]
fn footers_of_511_bytes_are_read_and_written_on() {
    for kinds in [&[VhdFixed][..], &[VhdDynamic]] {
        let mut chain = Chain::new(kinds, 512);
        let mut bytes = chain.files[0].1.bytes();
        bytes.pop();
        chain.files[0].1 = Volatile::new(bytes);
        let mut disk = chain.open(0, true);
        disk.write(600, &[7; 5000]).unwrap();
        disk.close().unwrap();
        drop(disk);
        let mut expected = vec![0; chain.size() as usize];
        expected[600..5600].fill(7);
        assert!(content(chain.open(0, false).as_mut()) == expected);
        let mut file = Checked(chain.files[0].1.clone());
        assert_eq!(vhd::check(&mut file).unwrap(), []);
    }
}
