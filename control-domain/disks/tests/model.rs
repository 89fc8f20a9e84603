//! A dynamic VHD against a plain array, with and without power cuts.
#![allow(clippy::unwrap_used)]

use disk::Checked;
use disk_testing::Volatile;
use proptest::prelude::*;
use vhd::{Located, create_dynamic};

/// 41 sectors in blocks of 4 KiB: six blocks, the last one not whole.
const SIZE: usize = 41 * 512;
const BLOCK: u32 = 4096;

#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: usize,
        length: usize,
        value: u8,
    },
    Read {
        offset: usize,
        length: usize,
    },
    Flush,
    /// Close and open again.
    Reopen,
    /// Stop without a flush, as a killed process does: what was written is in the file.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..SIZE).prop_flat_map(|offset| (Just(offset), 0..=(SIZE - offset).min(9000)));
    prop_oneof![
        4 => (range.clone(), any::<u8>()).prop_map(|((offset, length), value)| Step::Write { offset, length, value }),
        2 => range.prop_map(|(offset, length)| Step::Read { offset, length }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

fn empty() -> Volatile {
    create_dynamic(Volatile::default(), SIZE as u64, BLOCK, [1; 16], 0).unwrap()
}

fn open(storage: Volatile) -> Box<dyn disk::Disk> {
    vhd::open(storage, None, true).unwrap()
}

fn pattern(value: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| {
            if value < 64 {
                0
            } else {
                value.wrapping_add((n / 7) as u8)
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_an_array(steps in prop::collection::vec(step(), 1..40)) {
        let storage = empty();
        let mut disk = open(storage.clone());
        let mut model = vec![0; SIZE];
        for step in steps {
            match step {
                Step::Write { offset, length, value } => {
                    let data = pattern(value, length);
                    disk.write(offset as u64, &data).unwrap();
                    model[offset..offset + length].copy_from_slice(&data);
                }
                Step::Read { offset, length } => {
                    let mut data = vec![0xaa; length];
                    disk.read(offset as u64, &mut data).unwrap();
                    prop_assert_eq!(&data, &model[offset..offset + length]);
                }
                Step::Flush => disk.flush().unwrap(),
                Step::Reopen | Step::Kill => {
                    disk.close().unwrap();
                    drop(disk);
                    disk = open(storage.clone());
                }
            }
        }
        let mut data = vec![0xaa; SIZE];
        disk.read(0, &mut data).unwrap();
        prop_assert_eq!(data, model);
    }

    #[test]
    fn a_power_cut_keeps_what_was_flushed(
        steps in prop::collection::vec(step(), 1..30),
        seed in any::<u64>(),
    ) {
        let mut random = seed | 1;
        let mut coin = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 60 & 1 == 1
        };
        let mut storage = empty();
        let mut disk = open(storage.clone());
        // For each sector: what it may hold after a cut, the newest last.
        let mut versions: Vec<Vec<Vec<u8>>> = vec![vec![vec![0; 512]]; SIZE / 512];
        for step in steps {
            match step {
                Step::Write { offset, length, value } => {
                    // Whole sectors, as guests write: a torn sector is nobody's fault.
                    let (first, last) = (offset / 512, (offset + length) / 512);
                    let data = pattern(value, (last - first) * 512);
                    disk.write(first as u64 * 512, &data).unwrap();
                    for (sector, bytes) in (first..last).zip(data.chunks(512)) {
                        versions[sector].push(bytes.to_vec());
                    }
                }
                Step::Read { .. } => {}
                Step::Flush => {
                    disk.flush().unwrap();
                    versions.iter_mut().for_each(|v| { v.drain(..v.len() - 1); });
                }
                Step::Reopen => {
                    disk.close().unwrap();
                    versions.iter_mut().for_each(|v| { v.drain(..v.len() - 1); });
                    drop(disk);
                    disk = open(storage.clone());
                }
                Step::Kill => {
                    let left = storage.cut(&mut coin);
                    std::mem::forget(disk);
                    storage = Volatile::new(left);
                    disk = open(storage.clone());
                    for (sector, versions) in versions.iter_mut().enumerate() {
                        let mut data = vec![0xaa; 512];
                        disk.read(sector as u64 * 512, &mut data).unwrap();
                        prop_assert!(versions.contains(&data), "sector {}", sector);
                        *versions = vec![data];
                    }
                }
            }
        }
    }

    #[test]
    fn damaged_files_are_refused_or_read_but_never_panic(
        at in 0usize..7000, value in any::<u8>(), cut in prop::option::of(0usize..7000),
    ) {
        let storage = empty();
        let mut disk = open(storage.clone());
        disk.write(0, &pattern(200, 5000)).unwrap();
        disk.close().unwrap();
        let mut bytes = storage.bytes();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        if let Ok(mut disk) = vhd::open(Volatile::new(bytes), None, true) {
            let size = disk.size();
            let mut data = vec![0; size.min(1 << 20) as usize];
            let _ = disk.read(0, &mut data);
            let _ = disk.write(0, &[1; 512]);
        }
    }
}

#[test]
fn the_file_is_as_long_as_its_blocks() {
    let storage = empty();
    let bare = storage.bytes().len();
    let mut disk = open(storage.clone());
    disk.write(4096, &[5; 10]).unwrap();
    disk.close().unwrap();
    assert_eq!(storage.bytes().len(), bare + 512 + 4096);
    disk.write(0, &[0; 4096]).unwrap();
    disk.close().unwrap();
    assert_eq!(
        storage.bytes().len(),
        bare + 512 + 4096,
        "zeros take no room"
    );
    assert!(disk.write(SIZE as u64 - 1, &[1, 2]).is_err());
    assert!(disk.read(u64::MAX, &mut [0]).is_err());
}

#[test]
fn a_lost_footer_is_replaced_by_its_copy() {
    let storage = empty();
    let mut disk = open(storage.clone());
    disk.write(0, &[5; 4096]).unwrap();
    disk.close().unwrap();
    let mut bytes = storage.bytes();
    let length = bytes.len();
    bytes[length - 512..].fill(0);
    let storage = Volatile::new(bytes);
    let warning = || {
        Located::find(&mut Checked(storage.clone()))
            .unwrap()
            .warning
    };
    assert!(warning().unwrap().contains("copy"));
    let mut disk = open(storage.clone());
    disk.write(5000, &[6; 100]).unwrap();
    disk.close().unwrap();
    drop(disk);
    assert!(warning().is_none());
    let mut disk = vhd::open(storage, None, false).unwrap();
    let mut data = [0; 5100];
    disk.read(0, &mut data).unwrap();
    assert!(data[..4096] == [5; 4096] && data[4096..5000] == [0; 904] && data[5000..] == [6; 100]);
    assert!(disk.write(0, &[1]).is_err());
}
