//! Files that others made, with the digests that independent readers agree on. Skipped, saying so, where absent.
#![allow(clippy::unwrap_used)]

use disk::{Disk, Place, Raw};
use disk_testing::Image;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use vhdx::{Guid, Info, Kind, ParentLink, Vhdx, check};

fn sample(name: &str) -> Option<Image> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/samples")
        .join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("skipped: no sample {}", path.display());
        return None;
    };
    let mut bytes = Vec::new();
    if name.ends_with(".bz2") {
        bzip2::read::BzDecoder::new(file)
            .read_to_end(&mut bytes)
            .unwrap();
    } else {
        flate2::read::GzDecoder::new(file)
            .read_to_end(&mut bytes)
            .unwrap();
    }
    Some(Image::new(&bytes))
}

/// The digest of the first `size` bytes. What lies nowhere is not read.
fn digest(disk: &mut dyn Disk, size: u64) -> String {
    let mut sha = Sha256::new();
    let mut data = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let length = (size - at).min(1 << 20) as usize;
        disk.read(at, &mut data[..length]).unwrap();
        sha.update(&data[..length]);
        at += length as u64;
    }
    hex(&sha.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn fixed_and_dynamic_disks_read_as_others_read_them() {
    for (name, kind, size, sha256) in [
        (
            "dfvfs/ext2.vhdx.gz",
            Kind::Dynamic,
            4_194_304,
            "a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80",
        ),
        (
            "dfvfs/fat-parent.vhdx.gz",
            Kind::Fixed,
            4_194_304,
            "2d1954fec68faefe81dd3687282a9b387bf8417f6d2cf0da3825fa1445b64cfb",
        ),
        (
            "dissect/fixed.vhdx.gz",
            Kind::Fixed,
            10_485_760,
            "bc0be4623b15aa84216fb31ba24e3b621ec7f1c72d198c990ac0eced222d9f62",
        ),
    ] {
        let Some(mut image) = sample(name) else {
            continue;
        };
        let info = Info::read(&mut image).unwrap();
        assert_eq!(
            (info.kind, info.size, info.log_left),
            (kind, size, false),
            "{name}"
        );
        let mut disk = Vhdx::open(image, None, false).unwrap();
        assert_eq!(disk.data_write_guid(), info.data_write_guid);
        assert_eq!(digest(&mut disk, size), sha256, "{name}");
    }
}

#[test]
fn a_differencing_disk_reads_as_others_read_it_and_knows_its_parent() {
    let parent = sample("dfvfs/fat-parent.vhdx.gz");
    let (Some(mut parent), Some(mut child)) = (parent, sample("dfvfs/fat-differential.vhdx.gz"))
    else {
        return;
    };
    let link = ParentLink::read(&mut child).unwrap().unwrap();
    let parent_info = Info::read(&mut parent).unwrap();
    link.verify(parent_info.data_write_guid).unwrap();
    let error = link.verify(Guid::ZERO).unwrap_err().to_string();
    assert!(error.contains("right parent"), "{error}");
    assert!(link.relative_path().unwrap().starts_with(r".\"), "{link:?}");
    assert_eq!(Info::read(&mut child).unwrap().disk_id, parent_info.disk_id);
    let error = Vhdx::open(child.clone(), None, false)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("needs its parent"), "{error}");
    let parent = Box::new(Vhdx::open(parent, None, false).unwrap());
    let mut disk = Vhdx::open(child, Some(parent), false).unwrap();
    assert_eq!(
        digest(&mut disk, 4_194_304),
        "a538161f34bc44c12bf9a542ce9218741c62728723ea18d0e4f6ea92e9f32e93"
    );
}

#[test]
fn a_checkpoint_of_hyper_v_has_the_sectors_that_were_counted() {
    let Some(mut child) = sample("dissect/differencing.avhdx.gz") else {
        return;
    };
    let link = ParentLink::read(&mut child).unwrap().unwrap();
    let keys: Vec<&str> = link.keys.iter().map(|(key, _)| key.as_str()).collect();
    for key in [
        "parent_linkage",
        "parent_linkage2",
        "relative_path",
        "volume_path",
        "absolute_win32_path",
    ] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    assert_eq!((keys.len(), link.linkage2), (5, None));
    assert!(link.volume_path().is_some() && link.absolute_win32_path().is_some());
    let parent = Box::new(Raw::open(Image::zeros(8 << 30), false).unwrap());
    let mut disk = Vhdx::open(child, Some(parent), false).unwrap();
    assert_eq!(disk.size(), 8 << 30);
    let (mut sha, mut sectors, mut at) = (Sha256::new(), 0, 0);
    let mut sector = [0; 512];
    while at < disk.size() {
        let extent = disk.extent(at).unwrap();
        if let Place::File { depth: 0, .. } = extent.place {
            for offset in (at..at + extent.length).step_by(512) {
                disk.read(offset, &mut sector).unwrap();
                sha.update((offset / 512).to_le_bytes());
                sha.update(sector);
                sectors += 1;
            }
        }
        at += extent.length;
    }
    assert_eq!(sectors, 6200);
    assert_eq!(
        hex(&sha.finalize()),
        "2185d7f6039a06064e39d5ab5469c6ba34a5ce7c55a4a304fcd2fae8e13a9a06"
    );
}

#[test]
fn a_log_that_was_left_behind_is_replayed_in_memory_or_in_the_file() {
    let Some(mut image) = sample("qemu-iotests/iotest-dirtylog-10G-4M.vhdx.bz2") else {
        return;
    };
    let before = image.bytes();
    let info = Info::read(&mut image).unwrap();
    assert!(info.log_left && info.size == 10 << 30);
    let expected = "59a5188c491e735c949232d3f473bc0efe44457cf4e9790b9a08870485dc310d";
    let mut reader = Vhdx::open(image.clone(), None, false).unwrap();
    assert_eq!(digest(&mut reader, 64 << 20), expected);
    assert!(image.bytes() == before, "reading changed the file");
    let storage = disk_testing::Volatile::from_image(image);
    let mut writer = Vhdx::open(storage.clone(), None, true).unwrap();
    assert_eq!(digest(&mut writer, 64 << 20), expected);
    drop(writer);
    assert!(!Info::read(&mut storage.image()).unwrap().log_left);
    let mut again = Vhdx::open(storage, None, false).unwrap();
    assert_eq!(digest(&mut again, 64 << 20), expected);
}

/// The digest of 10 GiB takes minutes without optimization: `cargo test --release` computes it.
#[test]
fn a_disk_of_windows_with_unmapped_blocks_reads_as_others_read_it() {
    let Some(mut image) = sample("discutils/swap.vhdx.gz") else {
        return;
    };
    let report = check(&mut image).unwrap();
    assert_eq!((report.problems, report.log_left), (vec![], false));
    let mut disk = Vhdx::open(image, None, false).unwrap();
    let mut signature = [0; 10];
    disk.read(4086, &mut signature).unwrap();
    assert_eq!(&signature, b"SWAPSPACE2");
    if !cfg!(debug_assertions) {
        assert_eq!(
            digest(&mut disk, 10_737_418_240),
            "60dd30b4c74361427d1089510cabb36e2eeda0cc4747f467ea43173acd358c49"
        );
    }
}
