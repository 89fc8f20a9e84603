//! Every kind of VMDK as qemu-img writes it. Skipped, saying so, where it is absent.
#![allow(clippy::unwrap_used)]

mod files;

use disk::{Disk, Extent, Place};
use files::{open, run, text};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Larger than one extent of 2 GiB, and not a whole number of grains.
const SIZE: u64 = (3 << 30) + 512;
/// Where there is data: start, middle of a grain, across the extents' border, end.
const DATA: [(u64, usize); 5] = [
    (0, 4096),
    (5 * 65536 + 700, 65536),
    ((1 << 30) - 512, 1 << 20),
    ((2 << 30) - 65536, 3 * 65536),
    (SIZE - 512, 512),
];

fn content(offset: u64, length: usize) -> Vec<u8> {
    let mut state = offset | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Some of it can be compressed, some not.
            if offset.is_multiple_of(4096) {
                state as u8
            } else {
                (state >> 60) as u8 + 1
            }
        })
        .collect()
}

fn raw(folder: &Path) -> PathBuf {
    let path = folder.join("raw");
    let file = File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    for (offset, length) in DATA {
        file.write_all_at(&content(offset, length), offset).unwrap();
    }
    path
}

/// Reads the disk extent by extent beside the raw file; zeros must be zeros there too.
fn compare(disk: &mut dyn Disk, raw: &Path, kind: &str) {
    assert_eq!(disk.size(), SIZE, "{kind}");
    let raw = File::open(raw).unwrap();
    let (mut offset, mut data_bytes) = (0, 0);
    while offset < SIZE {
        let Extent { length, place } = disk.extent(offset).unwrap();
        assert!(length > 0 && offset + length <= SIZE, "{kind}");
        if place != Place::Zero {
            data_bytes += length;
        }
        offset += length;
    }
    for (offset, length) in DATA {
        // With a margin, at odd offsets, and piecewise.
        let start = offset.saturating_sub(70_001);
        let end = (offset + length as u64 + 70_001).min(SIZE);
        let (mut ours, mut theirs) = (
            vec![1; (end - start) as usize],
            vec![2; (end - start) as usize],
        );
        disk.read(start, &mut ours).unwrap();
        raw.read_exact_at(&mut theirs, start).unwrap();
        assert!(ours == theirs, "{kind} at {start:#x}");
        let mut piece = [0; 999];
        let from = start + (end - start - 999) / 3;
        disk.read(from, &mut piece).unwrap();
        assert_eq!(
            piece[..],
            theirs[(from - start) as usize..][..999],
            "{kind}"
        );
    }
    if kind.contains("Sparse") || kind == "streamOptimized" {
        assert!(data_bytes < 4 << 20, "{kind}: {data_bytes} bytes of data");
    }
    let mut some = [1; 512];
    for offset in (0..SIZE).step_by(97 << 20) {
        disk.read(offset.next_multiple_of(4096), &mut some).unwrap();
    }
    assert!(disk.read(SIZE - 511, &mut some).is_err());
}

#[test]
fn every_kind_that_qemu_img_writes_reads_as_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let raw = raw(folder.path());
    for kind in [
        "monolithicSparse",
        "streamOptimized",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
    ] {
        let path = folder.path().join(format!("{kind}.vmdk"));
        let option = format!("subformat={kind}");
        let arguments = [
            "convert",
            "-f",
            "raw",
            "-O",
            "vmdk",
            "-o",
            &option,
            &text(&raw),
            &text(&path),
        ];
        if !run("qemu-img", &arguments) {
            return;
        }
        let mut disk = open(&path).unwrap();
        assert_eq!(disk.create_type(), kind);
        assert_eq!(
            disk.extent_count(),
            if kind.starts_with("two") { 2 } else { 1 }
        );
        compare(&mut disk, &raw, kind);
    }
}

#[test]
fn zeroed_grains_are_zeros_and_pieces_are_not_whole_disks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeroed.vmdk");
    let create = [
        "create",
        "-f",
        "vmdk",
        "-o",
        "zeroed_grain=on",
        &text(&path),
        "8M",
    ];
    if !run("qemu-img", &create) {
        return;
    }
    for command in ["write -P 7 0 1M", "write -z 64k 128k"] {
        if !run("qemu-io", &["-f", "vmdk", "-c", command, &text(&path)]) {
            return;
        }
    }
    let mut disk = open(&path).unwrap();
    let mut data = vec![9; 1 << 20];
    disk.read(0, &mut data).unwrap();
    let expected = |at: usize| {
        if (65536..3 * 65536).contains(&at) {
            0
        } else {
            7
        }
    };
    assert!((0..1 << 20).all(|at| data[at] == expected(at)));
    assert_eq!(
        disk.extent(65536).unwrap(),
        Extent {
            length: 131_072,
            place: Place::Zero
        }
    );

    let split = folder.path().join("split.vmdk");
    assert!(run(
        "qemu-img",
        &[
            "create",
            "-f",
            "vmdk",
            "-o",
            "subformat=twoGbMaxExtentSparse",
            &text(&split),
            "8M"
        ]
    ));
    let error = open(&folder.path().join("split-s001.vmdk")).err().unwrap();
    assert!(error.to_string().contains("open the descriptor"), "{error}");
}
