//! Files that are damaged, or mean harm: each gets its own clear answer, and none panics.
#![allow(clippy::unwrap_used)]

mod files;

use disk::{Disk, DiskError};
use files::{open, put, sample};
use std::path::Path;

const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=0000000a\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n";

fn answer(folder: &Path, text: &[u8]) -> String {
    match open(&put(folder, "disk.vmdk", text)) {
        Ok(_) => "opened".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_fault_of_a_descriptor_is_named() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "flat", &[1; 4096]);
    let replaced =
        |from: &str, to: &str| format!("{DESCRIPTOR}RW 8 FLAT \"flat\" 0\n").replace(from, to);
    for (text, expected) in [
        (replaced("", ""), "opened"),
        (replaced("\n", "\r\n"), "opened"),
        (replaced("UTF-8", "windows-1252"), "opened"),
        (replaced("\"flat\" 0", "\"flat\" 0\nRW 100 ZERO"), "opened"),
        (
            replaced("=ffffffff", "=0000000b"),
            "snapshot of another VMDK",
        ),
        (
            replaced("UTF-8", "klingon"),
            "encoding \"klingon\" is unknown",
        ),
        (replaced("UTF-8", "UTF-16LE"), "is unknown"),
        (replaced("version=1", "version=9"), "version 9 is unknown"),
        (replaced("CID=0000000a\n", ""), "lacks CID="),
        (replaced("CID=0000000a", "CID=zz"), "not a number of 8"),
        (replaced("CID=0000000a", "CID=1\nCID=2"), "says CID twice"),
        (
            replaced("monolithicFlat", "fullDevice"),
            "\"fullDevice\" are not read",
        ),
        (
            replaced("RW", "SOMETHING"),
            "neither a comment, an extent nor name=value",
        ),
        (replaced("RW 8", "NOACCESS 8"), "must not be accessed"),
        (replaced("RW 8", "RW eight"), "no size in sectors"),
        (replaced("RW 8", "RW 0"), "no size in sectors"),
        (
            replaced("RW 8", "RW 18446744073709551615"),
            "more than 64 TiB",
        ),
        (
            replaced("FLAT", "VMFSSPARSE"),
            "type VMFSSPARSE are not read",
        ),
        (replaced("\"flat\" 0", "\"flat\" 1"), "ends here"),
        (
            replaced("\"flat\" 0", "\"flat\" 99999999999999999999"),
            "not a number",
        ),
        (
            replaced("\"flat\"", "\"../flat\""),
            "in the descriptor's folder",
        ),
        (
            replaced("\"flat\"", "\"/etc/passwd\""),
            "in the descriptor's folder",
        ),
        (
            replaced("\"flat\"", "\"absent\""),
            "belongs beside the descriptor",
        ),
        (replaced("\"flat\" 0", "\"flat"), "has no end"),
        (replaced("RW 8 FLAT \"flat\" 0\n", ""), "names no extent"),
        ("no disk at all".into(), "neither a VMDK header"),
        (String::new(), "neither a VMDK header"),
    ] {
        let answer = answer(folder.path(), text.as_bytes());
        assert!(
            answer.contains(expected),
            "{text}\n{answer}\nexpected: {expected}"
        );
    }
    // Latin-1 is read where the descriptor says so, and only there.
    put(folder.path(), "fl\u{e4}t", &[2; 4096]);
    let text = replaced("\"flat\"", "\"fl?t\"");
    let bytes = |text: String| -> Vec<u8> {
        text.bytes()
            .map(|b| if b == b'?' { 0xe4 } else { b })
            .collect()
    };
    assert!(answer(folder.path(), &bytes(text.clone())).contains("not UTF-8"));
    assert_eq!(
        answer(folder.path(), &bytes(text.replace("UTF-8", "windows-1252"))),
        "opened"
    );
}

#[test]
fn flat_extents_and_zeros_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    put(
        folder.path(),
        "flat",
        &[[1; 512], [2; 512], [3; 512]].concat(),
    );
    let text = format!("{DESCRIPTOR}RW 1 FLAT \"flat\" 2\nRW 1 ZERO\nRW 2 FLAT \"flat\" 0\n");
    let mut disk = open(&put(folder.path(), "disk.vmdk", text.as_bytes())).unwrap();
    let mut data = [9; 2048];
    disk.read(0, &mut data).unwrap();
    assert_eq!(data, *[[3; 512], [0; 512], [1; 512], [2; 512]].concat());
    assert!(matches!(disk.write(0, &data), Err(DiskError::ReadOnly)));
}

/// Reads all there is, or stops at the first error.
fn read_all(path: &Path) -> Result<(), DiskError> {
    let mut disk = open(path)?;
    let mut data = vec![0; 256 << 10];
    let mut offset = 0;
    while offset < disk.size() {
        let extent = disk.extent(offset)?;
        let length = extent.length.min(data.len() as u64);
        disk.read(offset, &mut data[..length as usize])?;
        offset += extent.length;
    }
    Ok(())
}

#[test]
fn damaged_files_are_refused_or_read_but_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["cot/blank.vmdk.gz", "dfvfs/ext2.vmdk.gz"] {
        let Some(whole) = sample(name) else { return };
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut refused = 0;
        for round in 0..600 {
            let mut bytes = whole.clone();
            // Mostly in the header, which is where a change does something.
            let within = if round % 3 == 0 {
                bytes.len() as u64
            } else {
                80
            };
            for _ in 0..=random(3) {
                bytes[random(within) as usize] = random(256) as u8;
            }
            if round % 5 == 0 {
                bytes.truncate(random(whole.len() as u64) as usize);
            }
            refused += u32::from(read_all(&put(folder.path(), "disk.vmdk", &bytes)).is_err());
        }
        assert!(refused > 100, "{name}: {refused} of 600 were refused");
    }
}

#[test]
fn a_stream_that_was_cut_short_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(whole) = files::disk_of_package() else {
        return;
    };
    let answer = |bytes: &[u8]| {
        let error = read_all(&put(folder.path(), "disk.vmdk", bytes)).unwrap_err();
        error.to_string()
    };
    let cut = answer(&whole[..whole.len() - 20_000]);
    assert!(cut.contains("cut short"), "{cut}");
    // A damaged grain is an error, not other bytes.
    let zlib = whole
        .windows(2)
        .position(|pair| matches!(pair, [0x78, 1 | 0x5e | 0x9c | 0xda]));
    let grain = zlib.unwrap() - 12;
    for (at, expected) in [
        (grain, "the grain's marker says sector"),
        (grain + 11, "can't be a compressed grain"),
        (grain + 12, "the compressed grain is damaged"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let answer = answer(&bytes);
        assert!(answer.contains(expected), "{answer}");
    }
}
