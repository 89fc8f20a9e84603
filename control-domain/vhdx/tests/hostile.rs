//! Files that mean harm: refused or read, but never a panic, and little memory.
#![allow(clippy::unwrap_used)]

mod disks;

use disk::{Disk, DiskError};
use disk_testing::{Image, Random};
use disks::hostile::{crc, use_it};
use disks::{Case, MIB, cases};
use proptest::prelude::*;
use vhdx::{Kind, Vhdx};

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_do_no_harm(case in prop::sample::select(cases()), seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let storage = disk_testing::Volatile::from_image(case.file());
        let mut disk = case.open(storage.clone(), true);
        disk.write(MIB - 300, &[1; 3000]).unwrap();
        // The log is left behind.
        disk.flush().unwrap();
        let mut image = storage.image();
        let structures = [0, 64 << 10, 128 << 10, 192 << 10, 256 << 10, MIB, 2 * MIB, (2 * MIB) + (64 << 10), 3 * MIB];
        for _ in 0..1 + random.below(3) {
            let place = structures[random.below(9) as usize] + random.below(200);
            let value = [0, 1, 0x7f, 0xff, random.below(256) as u8][random.below(5) as usize];
            image.store(place, &vec![value; 1 + random.below(8) as usize]);
        }
        if random.coin() {
            // With right checksums, so that what lies behind them is reached.
            for (offset, length) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10), (256 << 10, 64 << 10)] {
                crc(&mut image, offset, length);
            }
            crc(&mut image, MIB, 2 * 4096);
        }
        if random.below(4) == 0 {
            image.resize(random.below(image.len()));
        }
        use_it(case, image);
    }
}

#[test]
fn what_is_cut_short_is_refused_by_name_and_stays_as_it_is() {
    let case = Case {
        kind: Kind::Dynamic,
        sector: 512,
    };
    let whole = case.file();
    for (length, part) in [
        (0, "too short"),
        (4096, "cut short"),
        (MIB, "log of"),
        (2 * MIB + 4096, "cut short"),
        (whole.len() - MIB, "cut short"),
    ] {
        let mut image = whole.clone();
        image.resize(length);
        let before = image.bytes();
        let storage = disk_testing::Volatile::from_image(image);
        let error = Vhdx::open(storage.clone(), None, true)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(part), "{length}: {error}");
        assert!(storage.bytes() == before);
    }
    let no_vhdx = Image::new(&[7; 4096]);
    let error = Vhdx::open(no_vhdx, None, true).err().unwrap();
    assert!(
        matches!(error, DiskError::Invalid { offset: 0, .. }),
        "{error}"
    );
}
