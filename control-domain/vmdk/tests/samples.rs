//! VMDKs that VMware, VirtualBox, QEMU and others made, with digests on which independent readers agree.
#![allow(clippy::unwrap_used)]

mod files;

use disk::{Disk, Place};
use files::{digest, open, put, sample};

fn check(bytes: &[u8], create_type: &str, size: u64, sha256: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = open(&put(folder.path(), "disk.vmdk", bytes)).unwrap();
    assert_eq!((disk.create_type(), disk.size()), (create_type, size));
    assert_eq!(digest(&mut disk), sha256);
}

#[test]
fn sparse_disks_read_as_others_read_them() {
    for (name, size, sha256) in [
        (
            "vmdk/cosmos-server-hda.vmdk.gz",
            268_435_456,
            "a6d72ac7690f53be6ae46ba88506bd97302a093f7108472bd9efc3cefda06484",
        ),
        (
            "dfvfs/ext2.vmdk.gz",
            4_194_304,
            "a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80",
        ),
    ] {
        if let Some(bytes) = sample(name) {
            check(&bytes, "monolithicSparse", size, sha256);
        }
    }
}

#[test]
fn streams_read_as_others_read_them() {
    for (name, size, sha256) in [
        (
            "cot/blank.vmdk.gz",
            536_870_912,
            "9acca8e8c22201155389f65abbf6bc9723edc7384ead80503839f49dcc56d767",
        ),
        (
            "cot/input.vmdk.gz",
            1_073_741_824,
            "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14",
        ),
    ] {
        if let Some(bytes) = sample(name) {
            check(&bytes, "streamOptimized", size, sha256);
        }
    }
}

/// VirtualBox leaves the directory to the footer, and the same 20 MiB are in its VHD, too.
#[test]
fn the_disk_of_virtualbox_s_package_is_read() {
    let Some(bytes) = files::disk_of_package() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "disk.vmdk", &bytes);
    let mut disk = open(&path).unwrap();
    assert_eq!((disk.size(), disk.content_id()), (20 << 20, 0x606a_c52c));
    assert!(matches!(
        disk.extent(0).unwrap().place,
        Place::Packed { depth: 0 } | Place::Zero
    ));
    let digest = digest(&mut disk);
    let raw = folder.path().join("raw");
    if files::run(
        "qemu-img",
        &[
            "convert",
            "-O",
            "raw",
            &files::text(&path),
            &files::text(&raw),
        ],
    ) {
        assert_eq!(files::digest_of_file(&raw), digest);
    }
}
