//! The disk in Microsoft's format: a dynamic VHD, made by qemu-img.
//!
//! qemu-img puts the time and a random identifier into the footer and its copy. These two fields,
//! and the checksum over them, are all that is rewritten.

use super::recipe::GuestRecipe;
use super::root_disk;
use super::sandbox::{Sandbox, WORK};
use crate::context::EPOCH_SECONDS;
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

const FOOTER_BYTES: usize = 512;

/// 2000-01-01T00:00:00Z, from where VHD counts seconds, in seconds since 1970.
const VHD_EPOCH_SECONDS: u64 = 946_684_800;

// Fields of a footer (Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format").
const COOKIE: &[u8] = b"conectix";
const TIME_STAMP: std::ops::Range<usize> = 24..28;
const CHECKSUM: std::ops::Range<usize> = 64..68;
const UNIQUE_ID: std::ops::Range<usize> = 68..84;

/// Makes the VHD `name` in the working folder.
pub fn convert(recipe: &GuestRecipe, tools: &Sandbox, name: &str) -> Result<()> {
    tools.run(
        "converting the disk to VHD",
        &format!(
            "qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on \
             {WORK}/{} {WORK}/{name}",
            root_disk::DISK
        ),
    )?;
    let path = tools.work().join(name);
    let file = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("{} can't be opened", path.display()))?;
    settle(&file, recipe.id("VHD")).with_context(|| format!("{} is no VHD", path.display()))
}

/// Gives both footers a derived identifier and the one date.
fn settle(file: &File, id: [u8; 16]) -> Result<()> {
    let end = file.metadata()?.len();
    let last = end
        .checked_sub(FOOTER_BYTES as u64)
        .context("it is shorter than a footer")?;
    for offset in [0, last] {
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, offset)?;
        ensure!(
            footer.starts_with(COOKIE),
            "there is no footer at {offset:#x}"
        );
        let time = u32::try_from(EPOCH_SECONDS - VHD_EPOCH_SECONDS)?;
        footer[TIME_STAMP].copy_from_slice(&time.to_be_bytes());
        footer[UNIQUE_ID].copy_from_slice(&id);
        footer[CHECKSUM].fill(0);
        let sum = checksum(&footer);
        footer[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        file.write_all_at(&footer, offset)?;
    }
    file.sync_all()?;
    Ok(())
}

/// The one's complement of the sum of all bytes, with the checksum's own field 0.
fn checksum(footer: &[u8]) -> u32 {
    !footer.iter().map(|byte| u32::from(*byte)).sum::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_footers_are_settled_and_nothing_else() {
        let path = std::env::temp_dir().join(format!("footers-{}", std::process::id()));
        let mut image = vec![9; 2048];
        for at in [0, 1536] {
            image[at..at + 8].copy_from_slice(COOKIE);
        }
        std::fs::write(&path, &image).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        settle(&file, [5; 16]).unwrap();

        let settled = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(settled[..512], settled[1536..]);
        assert_eq!(settled[512..1536], image[512..1536]);
        assert_eq!(settled[TIME_STAMP], 757_382_400_u32.to_be_bytes());
        assert_eq!(settled[UNIQUE_ID], [5; 16]);
        // With the checksum in place, the sum over all but the checksum is its complement.
        let mut footer = settled[..512].to_vec();
        let stored: [u8; 4] = footer[CHECKSUM].try_into().unwrap();
        footer[CHECKSUM].fill(0);
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(u32::from_be_bytes(stored), u32::MAX - sum);
    }

    #[test]
    fn what_is_no_vhd_is_refused() {
        let path = std::env::temp_dir().join(format!("no-footers-{}", std::process::id()));
        for image in [vec![0; 100], vec![0; 1024]] {
            std::fs::write(&path, image).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            assert!(settle(&file, [0; 16]).is_err());
        }
        std::fs::remove_file(path).unwrap();
    }
}
