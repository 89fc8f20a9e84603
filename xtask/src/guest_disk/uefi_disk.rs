//! The disk's bytes for UEFI: a GPT, the EFI system partition with Debian's signed shim and GRUB, one ext4
//! partition behind it; and the disk as a dynamic VHDX.
//!
//! The system partition holds what Debian's grub-install leaves there for a machine whose variables it can't
//! write ("force-extra-removable"): shim by the name that firmware looks for, with the fallback that makes
//! the boot entry of `\\EFI\\debian`.

use super::recipe::{Firmware, GuestRecipe};
use super::root_disk::{DISK, root_file_system};
use super::sandbox::Sandbox;
use crate::context::{Context, EPOCH_SECONDS, read};
use crate::digest;
use crate::image::{esp, partition_table};
use crate::machine_disks::VHD_EPOCH_SECONDS;
use crate::packages::{self, Store};
use anyhow::{Context as _, Result};
use disks::{Format, Identity, NewDisk, NewKind, OpenOptions};
use partition_table::Part;

/// Size of the system partition.
const SYSTEM_BYTES: u64 = 40 << 20;

/// Package, file there, and where it goes.
const LOADERS: [(&str, &str, &[&str]); 5] = [
    (
        "shim-signed",
        "usr/lib/shim/shimx64.efi.signed",
        &["EFI/BOOT/BOOTX64.EFI", "EFI/debian/shimx64.efi"],
    ),
    (
        "shim-helpers-amd64-signed",
        "usr/lib/shim/fbx64.efi.signed",
        &["EFI/BOOT/fbx64.efi", "EFI/debian/fbx64.efi"],
    ),
    (
        "shim-helpers-amd64-signed",
        "usr/lib/shim/mmx64.efi.signed",
        &["EFI/BOOT/mmx64.efi", "EFI/debian/mmx64.efi"],
    ),
    (
        "shim-unsigned",
        "usr/lib/shim/BOOTX64.CSV",
        &["EFI/debian/BOOTX64.CSV"],
    ),
    (
        "grub-efi-amd64-signed",
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        &["EFI/BOOT/grubx64.efi", "EFI/debian/grubx64.efi"],
    ),
];

/// The packages of the boot loaders; the disk is made of them, too.
pub fn packages(store: &Store, recipe: &GuestRecipe) -> Result<Vec<packages::Package>> {
    let mut names = LOADERS
        .map(|(package, ..)| recipe.of_release(package))
        .to_vec();
    names.dedup();
    store.fetch(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Makes [`DISK`] from the userland's archive, and of that the VHDX.
pub fn build(
    context: &Context,
    store: &Store,
    recipe: &GuestRecipe,
    tools: &Sandbox,
) -> Result<()> {
    let raw = tools.work().join(DISK);
    let part = |label: &str, kind, size| Part {
        label: label.into(),
        kind,
        size,
    };
    let root_bytes = (recipe.disk_mib << 20) - SYSTEM_BYTES - 2 * partition_table::ALIGNMENT;
    let parts = [
        part("EFI system", gpt::partition_types::EFI, SYSTEM_BYTES),
        part("root", gpt::partition_types::LINUX_FS, root_bytes),
    ];
    let seed = format!("guest {}", recipe.name);
    let (mut file, offsets) = partition_table::create(&raw, &seed, &parts)?;
    let [system, root] = offsets.as_slice() else {
        anyhow::bail!("the table has not two partitions");
    };
    let content = system_partition(context, store, recipe)?;
    partition_table::write_sparse(&mut file, *system, &content)
        .with_context(|| format!("{} can't be written", raw.display()))?;
    drop(file);
    root_file_system(recipe, tools, *root, root_bytes)?;

    let identity = Identity {
        unique_id: recipe.id("VHDX"),
        timestamp: u32::try_from(EPOCH_SECONDS - VHD_EPOCH_SECONDS)?,
    };
    let new = NewDisk {
        identity: Some(identity),
        ..NewDisk::new(NewKind::VhdxDynamic, 0)
    };
    let source = OpenOptions {
        format: Some(Format::Raw),
        ..OpenOptions::read_only()
    };
    let target = tools.work().join(Firmware::Uefi.disk());
    disks::convert(&raw, &source, &target, &new, &mut |_, _| {})?;
    Ok(())
}

fn system_partition(context: &Context, store: &Store, recipe: &GuestRecipe) -> Result<Vec<u8>> {
    let uuid = digest::uuid_text(recipe.id("root file system"));
    // Debian's signed GRUB looks for this file beside itself, as grub-install writes it.
    let config = format!(
        "search.fs_uuid {uuid} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    );
    let mut files = vec![("EFI/debian/grub.cfg", config.into_bytes())];
    for (package, from, to) in LOADERS {
        let package = recipe.of_release(package);
        let content = read(&packages::unpacked(context, store, &package)?.join(from))?;
        files.extend(to.iter().map(|path| (*path, content.clone())));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(path, content)| (*path, content.as_slice()))
        .collect();
    let [a, b, c, d, ..] = recipe.id("system volume");
    esp::build(SYSTEM_BYTES, u32::from_le_bytes([a, b, c, d]), &files)
}
