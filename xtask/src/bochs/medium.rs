//! What a PC in Bochs boots from: a FAT file system over a whole IDE disk, with GRUB on it.
//!
//! GRUB brings the ACPI tables that this version of Bochs lacks, then starts our executable as the
//! firmware would have, or a kernel alone.

use super::acpi;
use crate::context::{self, Context, create_folder, read};
use crate::image::{Image, esp};
use crate::packages::{Store, Tree};
use anyhow::{Context as _, Result, ensure};
use qemu_tests::Boot;
use std::path::{Path, PathBuf};

/// Debian's packages with GRUB for UEFI and what puts it together.
const PACKAGES: [&str; 2] = ["grub-common", "grub-efi-amd64-bin"];

/// What GRUB's core needs to do what [`script`] says.
const MODULES: [&str; 6] = ["acpi", "boot", "chain", "fat", "linux", "normal"];

/// Makes `medium.img` in a folder. `processors` is the PC's number of CPUs.
pub fn write(
    context: &Context,
    image: &Image,
    boot: Boot,
    processors: u32,
    folder: &Path,
) -> Result<PathBuf> {
    create_folder(folder)?;
    // Names of the FAT file system: eight characters and three.
    let payload = match boot {
        Boot::Image => vec![("entente.efi", read(&image.unified)?)],
        Boot::WithoutHypervisor => vec![
            ("vmlinuz", read(&image.kernel)?),
            ("initrd", read(&image.initramfs)?),
        ],
    };
    let tables = acpi::tables(processors)?;
    let names: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
    let core = core(context, &script(&names, boot, &image.command_line)?, folder)?;
    let mut files = vec![("EFI/BOOT/BOOTX64.EFI", core.as_slice())];
    files.extend(
        tables
            .iter()
            .chain(&payload)
            .map(|(name, bytes)| (*name, bytes.as_slice())),
    );
    let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let path = folder.join("medium.img");
    context::write(&path, &esp::build_coarse(size as u64, &files)?)?;
    Ok(path)
}

/// What GRUB does as soon as it runs; `$root` is the medium.
fn script(tables: &[&str], boot: Boot, command_line: &str) -> Result<String> {
    ensure!(
        !command_line.contains(['\'', '\n']),
        "GRUB can't be told the kernel's command line: {command_line}"
    );
    let tables: Vec<String> = tables
        .iter()
        .map(|name| format!("($root)/{name}"))
        .collect();
    let start = match boot {
        Boot::Image => "chainloader ($root)/entente.efi".to_owned(),
        Boot::WithoutHypervisor => {
            let words = command_line.split_whitespace().map(|w| format!(" '{w}'"));
            format!(
                "linux ($root)/vmlinuz{}\ninitrd ($root)/initrd",
                words.collect::<String>()
            )
        }
    };
    Ok(format!("acpi -2 {}\n{start}\nboot\n", tables.join(" ")))
}

/// GRUB as one executable that carries the script.
fn core(context: &Context, script: &str, folder: &Path) -> Result<Vec<u8>> {
    let tree = Tree::unpack(context, &Store::open(context)?, &PACKAGES)?;
    let (text, made) = (folder.join("grub.cfg"), folder.join("grub.efi"));
    context::write(&text, script.as_bytes())?;
    let output = tree
        .command("usr/bin/grub-mkimage")
        .args(["--format=x86_64-efi", "--prefix=/", "--directory"])
        .arg(tree.path("usr/lib/grub/x86_64-efi"))
        .arg("--config")
        .arg(&text)
        .arg("--output")
        .arg(&made)
        .args(MODULES)
        .output()
        .context("grub-mkimage can't be started")?;
    ensure!(
        output.status.success(),
        "GRUB can't be put together:\n{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    read(&made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_before_what_is_started() {
        let text = script(&["a", "b"], Boot::Image, "").unwrap();
        assert_eq!(
            text,
            "acpi -2 ($root)/a ($root)/b\nchainloader ($root)/entente.efi\nboot\n"
        );
    }

    #[test]
    fn a_kernels_words_reach_it_as_they_are() {
        let text = script(&["a"], Boot::WithoutHypervisor, "x=$y quiet").unwrap();
        assert!(text.contains("linux ($root)/vmlinuz 'x=$y' 'quiet'\n"));
        assert!(script(&[], Boot::Image, "it's").is_err());
    }
}
