//! Files that others made, with the digests that independent readers agree on.
#![allow(clippy::unwrap_used)]

use disk::Storage;
use disks::{Format, open_storage};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::path::Path;

/// A file in memory, for reading.
struct Bytes(Vec<u8>);

impl Storage for Bytes {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        let source = self
            .0
            .get(start..start + data.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        data.copy_from_slice(source);
        Ok(())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn set_length(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn sample(name: &str) -> Option<Bytes> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/samples")
        .join(name);
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("skipped: no sample {}", path.display());
        return None;
    };
    let mut bytes = Vec::new();
    if name.ends_with(".gz") {
        flate2::read::GzDecoder::new(&file[..])
            .read_to_end(&mut bytes)
            .unwrap();
    } else {
        bytes = file;
    }
    Some(Bytes(bytes))
}

fn check(name: &str, kind: &str, size: u64, sha256: Option<&str>) {
    let Some(bytes) = sample(name) else { return };
    let opened = open_storage(bytes, Format::Detect, false).unwrap();
    assert_eq!(
        (opened.description, opened.disk.size(), opened.warning),
        (kind, size, None),
        "{name}"
    );
    let Some(sha256) = sha256 else { return };
    let mut disk = opened.disk;
    let mut data = vec![0; size as usize];
    disk.read(0, &mut data).unwrap();
    let digest: String = Sha256::digest(&data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest, sha256, "{name}");
}

#[test]
fn disks_of_windows_read_as_others_read_them() {
    let digest = "ecff2ef6615a3cddc6a6885f1c6d9cf13a232697e1dc6575f2c2f01f57247784";
    check(
        "dissect/dynamic.vhd.gz",
        "dynamic VHD",
        10_485_760,
        Some(digest),
    );
    let digest = "bbdb657bc5aa2fde44e2456149f9257a862cb84f4668e338b90e357b0fbdf118";
    check(
        "dfvfs/fat-parent.vhd.gz",
        "fixed VHD",
        4_194_304,
        Some(digest),
    );
}

#[test]
fn an_empty_disk_of_virtual_pc_has_its_footers_size_and_is_zero() {
    let Some(bytes) = sample("vmc/hda.vhd") else {
        return;
    };
    let mut disk = open_storage(bytes, Format::Detect, false).unwrap().disk;
    assert_eq!(disk.size(), 268_435_456);
    let mut data = vec![0xaa; 1 << 20];
    for mib in 0..256 {
        disk.read(mib << 20, &mut data).unwrap();
        assert!(data.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn disks_of_other_makers_open() {
    check("virtualbox/vb-dyn.vhd.gz", "dynamic VHD", 20 << 20, None);
    let digest = "870be7ae16c1fa8faab05c6eb9205dc9a7ae35c5f552c5cf8a267c0bc6a5cb99";
    check("dfvfs/ext2.vhd.gz", "dynamic VHD", 4_212_736, Some(digest));
}

#[test]
fn what_is_not_supported_or_not_whole_is_refused_by_name() {
    for (name, part) in [
        ("dfvfs/fat-differential.vhd.gz", "differencing"),
        ("dfvfs/image.vhd.gz", "checksum"),
        ("dfvfs/fat-parent.vhdx.gz", "VHDX"),
    ] {
        let Some(bytes) = sample(name) else { continue };
        let error = open_storage(bytes, Format::Detect, false)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(error.contains(part), "{name}: {error}");
    }
}
