//! The disk's bytes: MBR with GRUB, GRUB's core behind it, one ext4 partition from 1 MiB on.

use super::recipe::GuestRecipe;
use super::sandbox::{Sandbox, WORK};
use super::userland::ARCHIVE;
use crate::context::read;
use crate::digest;
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

/// The disk's name in the working folder.
pub const DISK: &str = "disk.raw";

const SECTOR_BYTES: usize = 512;

/// Where the partition starts, in bytes, as partitioning programs have it.
const PARTITION_OFFSET: u64 = 1 << 20;

/// Features that GRUB or older checkers don't know are left out.
const FEATURES: &str = "^metadata_csum_seed,^orphan_file";

/// Makes [`DISK`] for a BIOS from the userland's archive.
pub fn build(recipe: &GuestRecipe, tools: &Sandbox) -> Result<()> {
    let size = recipe.disk_mib << 20;
    let path = tools.work().join(DISK);
    let mut disk =
        File::create(&path).with_context(|| format!("{} can't be made", path.display()))?;
    disk.set_len(size)
        .with_context(|| format!("{} can't be made so big", path.display()))?;

    root_file_system(recipe, tools, PARTITION_OFFSET, size - PARTITION_OFFSET)?;
    let modules = recipe.grub_modules.join(" ");
    tools.run(
        "making GRUB's core",
        &format!(
            "grub-mkimage --format=i386-pc --prefix='(hd0,msdos1)/boot/grub' \
             --output={WORK}/core.img {modules}"
        ),
    )?;

    let boot = read(&tools.root().join("usr/lib/grub/i386-pc/boot.img"))?;
    let core = read(&tools.work().join("core.img"))?;
    ensure!(
        core.len() <= PARTITION_OFFSET as usize - SECTOR_BYTES,
        "GRUB's core of {} bytes does not fit before the partition; name fewer modules",
        core.len()
    );
    let [a, b, c, d, ..] = recipe.id("disk signature");
    let record = master_boot_record(&boot, [a, b, c, d], size)?;
    disk.seek(SeekFrom::Start(0))
        .and_then(|_| disk.write_all(&record))
        .and_then(|()| disk.write_all(&core))
        .and_then(|()| disk.sync_all())
        .with_context(|| format!("{} can't be written", path.display()))
}

/// Makes the root file system within [`DISK`], from the userland's archive.
pub fn root_file_system(
    recipe: &GuestRecipe,
    tools: &Sandbox,
    offset: u64,
    size: u64,
) -> Result<()> {
    let uuid = digest::uuid_text(recipe.id("root file system"));
    let seed = digest::uuid_text(recipe.id("directory hash"));
    tools.run(
        "making the root file system",
        &format!(
            "mke2fs -q -F -t ext4 -b 4096 -O {FEATURES} -L root -U {uuid} \
             -E offset={offset},hash_seed={seed},root_owner=0:0,nodiscard,\
             lazy_itable_init=0,lazy_journal_init=0 -d {WORK}/{ARCHIVE} {WORK}/{DISK} {}k",
            size >> 10
        ),
    )
}

/// Sector 0: GRUB's boot.img with a disk signature and one active Linux partition to the disk's
/// end.
///
/// boot.img is written for a core that starts in sector 1, and the core carries its own length, so
/// nothing in them needs patching (GRUB 2.12, boot.S and diskboot.S).
fn master_boot_record(boot: &[u8], signature: [u8; 4], size: u64) -> Result<[u8; SECTOR_BYTES]> {
    let mut record: [u8; SECTOR_BYTES] = boot
        .try_into()
        .ok()
        .context("GRUB's boot.img is not one sector")?;
    let start = u32::try_from(PARTITION_OFFSET / SECTOR_BYTES as u64)?;
    let end =
        u32::try_from(size / SECTOR_BYTES as u64).context("the disk is too big for an MBR")?;
    let length = end
        .checked_sub(start)
        .context("the disk is smaller than 1 MiB")?;
    record[440..444].copy_from_slice(&signature);
    record[444..510].fill(0);
    // Active; CHS of sector 2048 at 255 heads and 63 sectors; Linux; CHS beyond reach.
    record[446..454].copy_from_slice(&[0x80, 0x20, 0x21, 0x00, 0x83, 0xfe, 0xff, 0xff]);
    record[454..458].copy_from_slice(&start.to_le_bytes());
    record[458..462].copy_from_slice(&length.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_fills_the_disk() {
        let record = master_boot_record(&[7; 512], [1, 2, 3, 4], 512 << 20).unwrap();
        assert_eq!(record[..440], [7; 440]);
        assert_eq!(record[440..444], [1, 2, 3, 4]);
        assert_eq!(record[446], 0x80);
        assert_eq!(record[450], 0x83);
        assert_eq!(record[454..458], 2048_u32.to_le_bytes());
        assert_eq!(record[458..462], ((512_u32 << 11) - 2048).to_le_bytes());
        assert_eq!(record[462..510], [0; 48]);
        assert_eq!(record[510..], [0x55, 0xaa]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(master_boot_record(&[0; 511], [0; 4], 64 << 20).is_err());
        assert!(master_boot_record(&[0; 512], [0; 4], 512).is_err());
        assert!(master_boot_record(&[0; 512], [0; 4], 4 << 40).is_err());
    }
}
