//! A disk image with a GPT (UEFI 2.10 §5.3), whose identifiers are derived.

use crate::context::create_folder;
use crate::digest;
use anyhow::{Context as _, Result, ensure};
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::Type;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use uuid::Uuid;

/// Bytes in a sector.
pub const SECTOR_SIZE: u64 = 512;
/// Partitions start at multiples of this many bytes.
pub const ALIGNMENT: u64 = 1 << 20;

/// A partition to be made.
pub struct Part {
    /// Its name in the table.
    pub label: String,
    /// Its type, from [`gpt::partition_types`].
    pub kind: Type,
    /// Its size in bytes, a multiple of [`ALIGNMENT`].
    pub size: u64,
}

/// Makes a sparse file with a table of these partitions, one behind the other. Answers the file
/// and each partition's offset in bytes.
///
/// `seed` is what the identifiers are derived from.
pub fn create(path: &Path, seed: &str, parts: &[Part]) -> Result<(File, Vec<u64>)> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let mut offset = ALIGNMENT;
    let (mut offsets, mut table) = (Vec::new(), BTreeMap::new());
    for (number, part) in (1..).zip(parts) {
        ensure!(
            part.size > 0 && part.size.is_multiple_of(ALIGNMENT),
            "the size of the partition {} is not whole MiB",
            part.label
        );
        let partition = Partition {
            part_type_guid: part.kind.clone(),
            part_guid: Uuid::from_bytes(digest::derived_uuid(seed, &part.label)),
            first_lba: offset / SECTOR_SIZE,
            last_lba: (offset + part.size) / SECTOR_SIZE - 1,
            flags: 0,
            name: part.label.clone(),
        };
        table.insert(number, partition);
        offsets.push(offset);
        offset += part.size;
    }
    write(path, seed, offset + ALIGNMENT, table)
        .map(|file| (file, offsets))
        .with_context(|| format!("{} can't be written", path.display()))
}

fn write(path: &Path, seed: &str, size: u64, table: BTreeMap<u32, Partition>) -> Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.set_len(size)?;
    let last_sector = u32::try_from(size / SECTOR_SIZE - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(last_sector).overwrite_lba0(&mut file)?;
    let mut disk = gpt::GptConfig::new().writable(true).create_from_device(
        file,
        Some(Uuid::from_bytes(digest::derived_uuid(seed, "disk"))),
    )?;
    disk.update_partitions(table)?;
    Ok(disk.write()?)
}

/// Writes `content` at `offset`, leaving out runs of zeros so that the file stays sparse. What
/// was there must be zero.
pub fn write_sparse(file: &mut File, offset: u64, content: &[u8]) -> std::io::Result<()> {
    const RUN: usize = 4096;
    for (index, run) in content.chunks(RUN).enumerate() {
        if run.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(offset + (index * RUN) as u64))?;
            file.write_all(run)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpt::partition_types;

    #[test]
    fn the_table_is_read_back_and_repeats() {
        let folder = std::env::temp_dir().join(format!("table-{}", std::process::id()));
        let parts = || {
            [("a", 2 << 20), ("b", 3 << 20)].map(|(label, size)| Part {
                label: label.to_owned(),
                kind: partition_types::LINUX_FS,
                size,
            })
        };
        let (_, offsets) = create(&folder.join("1"), "seed", &parts()).unwrap();
        create(&folder.join("2"), "seed", &parts()).unwrap();
        assert_eq!(offsets, [1 << 20, 3 << 20]);
        let bytes = std::fs::read(folder.join("1")).unwrap();
        assert_eq!(bytes, std::fs::read(folder.join("2")).unwrap());
        assert_eq!(bytes.len(), 7 << 20);
        let disk = gpt::GptConfig::new().open(folder.join("1")).unwrap();
        let names: Vec<&str> = disk
            .partitions()
            .values()
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
