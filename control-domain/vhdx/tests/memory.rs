//! What a file costs in memory. A test binary of its own, so that no other test is counted.
#![allow(clippy::unwrap_used)]

mod disks;

use disk::{Disk, Storage};
use disk_testing::{Image, Random};
use disks::hostile::{crc, use_it};
use disks::{Case, MIB};
use std::time::Instant;
use vhdx::{Kind, New, Vhdx, create};

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// A storage that claims to be enormous, all zeros but for an image at its start.
struct Enormous(Image);

impl Storage for Enormous {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> std::io::Result<()> {
        self.0.load(offset, data);
        Ok(())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn length(&mut self) -> std::io::Result<u64> {
        Ok(i64::MAX as u64)
    }
    fn set_length(&mut self, _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_small_file_costs_little_memory_whatever_it_claims() {
    let case = Case {
        kind: Kind::Dynamic,
        sector: 512,
    };
    let before = peak_memory();
    let mut image = case.file();
    // All the entries that a table may name, and lengths as large as they go.
    for table in [192_u64 << 10, 256 << 10] {
        image.store(table + 8, &2047_u32.to_le_bytes());
        crc(&mut image, table, 64 << 10);
    }
    use_it(case, image);
    let mut image = case.file();
    image.store(2 * MIB + 10, &2047_u16.to_le_bytes());
    use_it(case, image);
    // A log of 16 MiB that is not there, named by the headers.
    let mut image = case.file();
    for header in [64_u64 << 10, 128 << 10] {
        image.store(header + 48, &[5; 16]);
        image.store(header + 68, &(16 * MIB as u32).to_le_bytes());
        image.store(header + 72, &(1_u64 << 40).to_le_bytes());
        crc(&mut image, header, 4096);
    }
    let started = Instant::now();
    assert!(Vhdx::open(Enormous(image), None, false).is_err());
    assert!(started.elapsed().as_secs() < 20);
    // The largest disk with the smallest blocks: a table of 512 MiB, read page by page.
    let new = New {
        block_size: MIB,
        ..New::dynamic(64 << 40)
    };
    let file = create(Image::default(), &new).unwrap();
    let mut disk = Vhdx::open(file, None, false).unwrap();
    let mut random = Random::new(1);
    let mut data = [1; 512];
    for _ in 0..10_000 {
        disk.read(random.below(disk.size() / 512) * 512, &mut data)
            .unwrap();
        assert!(data == [0; 512]);
    }
    let used = peak_memory().saturating_sub(before);
    // 8 MiB of pages, and some for the books.
    assert!(used < 16 << 20, "{used} bytes");
}
