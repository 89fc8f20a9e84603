//! The EFI system partition: FAT32, one date, files in the order they are given.

use crate::context::EPOCH_SECONDS;
use anyhow::{Context as _, Result};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time};
use std::io::{Cursor, Write as _};

/// Bytes in a cluster: the smallest, so that a small partition has enough for FAT32.
const CLUSTER_SIZE: u32 = 512;

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
    let size = usize::try_from(size).context("the system partition is too large")?;
    let mut bytes = vec![0; size];
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER_SIZE)
        .volume_id(volume_id)
        .volume_label(*b"ENTENTE    ");
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
}
