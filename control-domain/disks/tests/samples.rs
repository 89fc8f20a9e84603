//! Files that others made, with the digests that independent readers agree on.
#![allow(clippy::unwrap_used)]

mod folder;

use disks::{DiskInfo, Error, OpenOptions, open};
use folder::{Folder, sample};
use sha2::{Digest, Sha256};

/// Opens a sample, with its parents in the same folder, and compares what it is and reads as.
fn check(name: &str, parents: &[&str], kind: &str, size: u64, sha256: Option<&str>) {
    let folder = Folder::new("samples");
    let Some(path) = sample(&folder, name) else {
        return;
    };
    for parent in parents {
        sample(&folder, parent);
    }
    let mut opened = open(&path, &OpenOptions::read_only()).unwrap();
    let info = opened.info();
    assert_eq!(
        (info.description().as_str(), info.virtual_size_bytes),
        (kind, size),
        "{name}"
    );
    assert_eq!(opened.chain.len(), 1 + parents.len());
    assert_eq!(opened.warnings().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(opened.disk.size(), size);
    let Some(sha256) = sha256 else { return };
    let mut data = vec![0; size as usize];
    opened.disk.read(0, &mut data).unwrap();
    let digest: String = Sha256::digest(&data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest, sha256, "{name}");
}

#[test]
fn disks_of_windows_read_as_others_read_them() {
    let digest = "ecff2ef6615a3cddc6a6885f1c6d9cf13a232697e1dc6575f2c2f01f57247784";
    let name = "dissect/dynamic.vhd.gz";
    check(name, &[], "dynamic VHD", 10_485_760, Some(digest));
    let digest = "bbdb657bc5aa2fde44e2456149f9257a862cb84f4668e338b90e357b0fbdf118";
    let name = "dfvfs/fat-parent.vhd.gz";
    check(name, &[], "fixed VHD", 4_194_304, Some(digest));
}

/// The digest is that of 7-Zip, VirtualBox and a script; qemu ignores the parent, libvhdi errs in a sector.
#[test]
fn a_differencing_disk_of_windows_reads_as_7_zip_reads_it() {
    check(
        "dfvfs/fat-differential.vhd.gz",
        &["dfvfs/fat-parent.vhd.gz"],
        "differencing VHD",
        4_194_304,
        Some("f4b61a33ee2f7e8c19f737792a4107e46340026a9a829e4169b751901cc3ef02"),
    );
}

#[test]
fn an_empty_disk_of_virtual_pc_has_its_footers_size_and_is_zero() {
    let folder = Folder::new("samples");
    let Some(path) = sample(&folder, "vmc/hda.vhd") else {
        return;
    };
    let mut disk = open(&path, &OpenOptions::read_only()).unwrap().disk;
    assert_eq!(disk.size(), 268_435_456);
    let mut data = vec![0xaa; 1 << 20];
    for mib in 0..256 {
        disk.read(mib << 20, &mut data).unwrap();
        assert!(data.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn disks_of_other_makers_open() {
    let kind = "dynamic VHD";
    check("virtualbox/vb-dyn.vhd.gz", &[], kind, 20 << 20, None);
    let digest = "870be7ae16c1fa8faab05c6eb9205dc9a7ae35c5f552c5cf8a267c0bc6a5cb99";
    check("dfvfs/ext2.vhd.gz", &[], kind, 4_212_736, Some(digest));
    let name = "qemu-iotests/virtualpc-dynamic.vhd.bz2";
    check(name, &[], kind, 136_365_211_648, None);
}

/// All digests are the agreed ones.
#[test]
fn every_other_format_opens_by_content_too() {
    check(
        "dfvfs/ext2.vhdx.gz",
        &[],
        "dynamic VHDX",
        4 << 20,
        Some("a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80"),
    );
    check(
        "dfvfs/fat-differential.vhdx.gz",
        &["dfvfs/fat-parent.vhdx.gz"],
        "differencing VHDX",
        4 << 20,
        Some("a538161f34bc44c12bf9a542ce9218741c62728723ea18d0e4f6ea92e9f32e93"),
    );
    check(
        "dfvfs/ext2.vmdk.gz",
        &[],
        "dynamic VMDK",
        4 << 20,
        Some("a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80"),
    );
    // Its digest is checked where VMDK is: half a GiB takes a while.
    let kind = "stream-optimized VMDK";
    check("cot/blank.vmdk.gz", &[], kind, 512 << 20, None);
    check("cot/input.iso.gz", &[], "raw", 360_448, None);
    check("guests/freedos722.img.gz", &[], "raw", 737_280, None);
}

#[test]
fn what_is_not_whole_is_refused_by_name() {
    for (name, part) in [
        ("dfvfs/image.vhd.gz", "checksum"),
        ("dfvfs/image-differential.vhd.gz", "checksum"),
    ] {
        let folder = Folder::new("samples");
        let Some(path) = sample(&folder, name) else {
            continue;
        };
        let before = std::fs::read(&path).unwrap();
        let error = open(&path, &OpenOptions::writable()).err().unwrap();
        assert!(error.to_string().contains(part), "{name}: {error}");
        assert!(
            std::fs::read(&path).unwrap() == before,
            "{name} was changed"
        );
    }
}

#[test]
fn a_missing_and_a_wrong_parent_are_told_apart() {
    let folder = Folder::new("samples");
    let Some(path) = sample(&folder, "dfvfs/fat-differential.vhd.gz") else {
        return;
    };
    let error = open(&path, &OpenOptions::read_only()).err().unwrap();
    assert!(matches!(error, Error::ParentMissing { .. }), "{error}");
    let DiskInfo { parent, .. } = disks::info(&path, None).unwrap();
    assert_eq!(parent.unwrap().to_str(), Some(".\\fat-parent.vhd"));
    // Another disk of that name.
    let wrong = sample(&folder, "dissect/dynamic.vhd.gz").unwrap();
    std::fs::rename(&wrong, folder.0.join("FAT-Parent.VHD")).unwrap();
    let error = open(&path, &OpenOptions::read_only()).err().unwrap();
    assert!(matches!(error, Error::ParentMismatch { .. }), "{error}");
    let accepting = OpenOptions {
        accept_parent: true,
        ..OpenOptions::read_only()
    };
    let opened = open(&path, &accepting).unwrap();
    assert!(
        opened
            .warnings()
            .any(|warning| warning.contains("accepted"))
    );
}
