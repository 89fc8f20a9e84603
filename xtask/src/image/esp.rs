//! The EFI system partition: FAT32, one date, files in the order they are given.

use crate::context::EPOCH_SECONDS;
use anyhow::{Context as _, Result, ensure};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time};
use std::io::{Cursor, Write as _};

/// Bytes in a cluster of FAT32: the smallest, so that a small partition has enough.
const CLUSTER_SIZE: u32 = 512;

/// Bytes in a cluster of FAT12: the largest, so that a slow disk is read in few pieces.
const COARSE_CLUSTER_SIZE: u32 = 32 << 10;
/// Fewer clusters than this are FAT12 (FAT specification §3.5).
const MOST_COARSE_CLUSTERS: u64 = 4084;

/// The one date.
#[derive(Debug)]
struct Epoch;

impl fatfs::TimeProvider for Epoch {
    fn get_current_date(&self) -> Date {
        self.get_current_date_time().date
    }

    fn get_current_date_time(&self) -> DateTime {
        // 2024-01-01T00:00:00Z.
        const _: () = assert!(EPOCH_SECONDS == 1_704_067_200);
        DateTime {
            date: Date {
                year: 2024,
                month: 1,
                day: 1,
            },
            time: Time {
                hour: 0,
                min: 0,
                sec: 0,
                millis: 0,
            },
        }
    }
}

/// The bytes of a file system of `size` bytes with these files: path with `/`, and content.
pub fn build(size: u64, volume_id: u32, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER_SIZE)
        .volume_id(volume_id);
    fill(size, options, files)
}

/// The same as FAT12 with room for `content` bytes in all, for firmware that reads slowly.
pub fn build_coarse(content: u64, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let cluster = u64::from(COARSE_CLUSTER_SIZE);
    // Each file and folder may leave most of its last cluster empty; the rest is for the tables.
    let clusters = content / cluster + 2 * files.len() as u64 + 16;
    ensure!(
        clusters < MOST_COARSE_CLUSTERS,
        "{content} bytes are too many for FAT12"
    );
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat12)
        .bytes_per_cluster(COARSE_CLUSTER_SIZE);
    fill(clusters * cluster, options, files)
}

fn fill(size: u64, options: FormatVolumeOptions, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let size = usize::try_from(size).context("the system partition is too large")?;
    let mut bytes = vec![0; size];
    let options = options.volume_label(*b"ENTENTE    ");
    fatfs::format_volume(Cursor::new(&mut bytes), options)
        .context("the system partition can't be formatted")?;
    let options = FsOptions::new()
        .time_provider(&Epoch)
        .update_accessed_date(false);
    let system = FileSystem::new(Cursor::new(&mut bytes), options)
        .context("the system partition can't be opened")?;
    for (path, content) in files {
        add(&system, path, content)
            .with_context(|| format!("{path} can't be written to the system partition"))?;
    }
    system
        .unmount()
        .context("the system partition can't be closed")?;
    Ok(bytes)
}

fn add(
    system: &FileSystem<Cursor<&mut Vec<u8>>>,
    path: &str,
    content: &[u8],
) -> std::io::Result<()> {
    let root = system.root_dir();
    for (end, _) in path.match_indices('/') {
        root.create_dir(&path[..end])?;
    }
    root.create_file(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_was_written_is_read_again_and_repeats() {
        let content = vec![5; 100_000];
        let files = [("EFI/BOOT/BOOTX64.EFI", content.as_slice())];
        let bytes = build(40 << 20, 7, &files).unwrap();
        assert!(bytes == build(40 << 20, 7, &files).unwrap());
        let system = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(system.fat_type(), FatType::Fat32);
        let mut found = Vec::new();
        let mut file = system.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == content);
        let root = system.root_dir();
        let folder = root.iter().next().unwrap().unwrap();
        assert_eq!(folder.created().date.year, 2024);
        assert_eq!(folder.accessed().day, 1);
    }

    #[test]
    fn a_coarse_one_holds_what_it_was_sized_for() {
        let content = vec![5; 1_000_001];
        let files = [("a.efi", content.as_slice()), ("b", &content[..1])];
        let bytes = build_coarse(1_000_002, &files).unwrap();
        let system = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(system.fat_type(), FatType::Fat12);
        let mut found = Vec::new();
        let mut file = system.root_dir().open_file("a.efi").unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == content);
        assert!(build_coarse(1 << 30, &files).is_err());
    }
}
