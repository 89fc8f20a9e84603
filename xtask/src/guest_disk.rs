//! A guest's disk from a recipe: a Linux userland with GRUB, as a dynamic VHD or, for UEFI, a VHDX, made
//! without root.
//!
//! ```text
//! packages ─ userland ─▶ root.tar ┬ root_disk ─▶ disk.raw ─ virtual_pc ─▶ disk.vhd
//!                                 └ uefi_disk ─▶ disk.raw ──────────────▶ disk.vhdx
//! ```
//!
//! Packages are unpacked and set up by their own dpkg, in a user namespace where the person who
//! builds is root; who owns what is kept by fakeroot. The file system, GRUB's core and the VHD come
//! from Debian's mke2fs, grub-mkimage and qemu-img at pinned versions, so that neither the guest nor
//! the format of its VHD is our own work.
//!
//! # Invariants
//!
//! - No step needs root, and none touches the host outside the checkout.
//! - The disk is a function of the recipe, the pinned packages and this code: dates are the one
//!   epoch, identifiers are derived.

mod boot_files;
mod recipe;
mod root_disk;
mod sandbox;
mod uefi_disk;
mod userland;
mod virtual_pc;

use crate::context::{Context, create_folder, write};
use crate::packages::{Package, Store};
use crate::{digest, host, progress};
use anyhow::{Context as _, Result};
use recipe::{Firmware, GuestRecipe};
use sandbox::Sandbox;
use std::path::{Path, PathBuf};

/// Debian's packages of the programs that make the disk.
const TOOLS: [&str; 7] = [
    "base-files",
    "coreutils",
    "dash",
    "e2fsprogs",
    "grub-pc-bin",
    // mke2fs reads the userland's archive by it.
    "libarchive13t64",
    "qemu-utils",
];

/// This code: when it changes, a disk that was made before is out of date.
const SOURCE: [&str; 8] = [
    include_str!("guest_disk.rs"),
    include_str!("guest_disk/boot_files.rs"),
    include_str!("guest_disk/recipe.rs"),
    include_str!("guest_disk/root_disk.rs"),
    include_str!("guest_disk/sandbox.rs"),
    include_str!("guest_disk/uefi_disk.rs"),
    include_str!("guest_disk/userland.rs"),
    include_str!("guest_disk/virtual_pc.rs"),
];

/// The package that a recipe names for its kernel.
const KERNEL: &str = "linux-image-cloud-amd64";
/// How its name and that of the kernel's own package start.
const KERNEL_PREFIX: &str = "linux-image-";

/// The Debian release that a guest is of, where it is another one than its recipe's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtherRelease<'a> {
    /// All of it.
    pub guest: Option<&'a str>,
    /// Its kernel alone.
    pub kernel: Option<&'a str>,
}

/// Makes the guest, or finds it in the cache. Answers the path of its disk there.
fn made(
    context: &Context,
    store: &Store,
    recipe: &GuestRecipe,
    other: OtherRelease,
) -> Result<PathBuf> {
    host::require(&["dpkg-deb", "tar"])?;
    let mut packages = match recipe.packages.is_empty() {
        true => store.fetch(&recipe.packages_of_boot_files())?,
        false => {
            let names: Vec<&str> = recipe.packages.iter().map(String::as_str).collect();
            store.fetch_with_dependencies_of(recipe.release.as_deref(), &names)?
        }
    };
    if let Some(release) = other.kernel {
        let kernel = store.fetch_kernel_of(release, KERNEL, KERNEL_PREFIX)?;
        let replaced = |name: &str| kernel.iter().any(|package| package.name == name);
        packages.retain(|package| !is_kernel(package) && !replaced(&package.name));
        packages.extend(kernel);
    }
    let tools = store.fetch_with_dependencies(&TOOLS)?;
    let fakeroot = userland::fakeroot(store, recipe)?;
    let loaders = match recipe.firmware {
        Firmware::Bios => Vec::new(),
        Firmware::Uefi => uefi_disk::packages(store, recipe)?,
    };

    let key = key(recipe, &[&packages, &tools, &fakeroot, &loaders]);
    let kernel = other.kernel.map(|release| format!("kernel-{release}"));
    let name = [Some(&*recipe.name), other.guest, kernel.as_deref()];
    let name = name.into_iter().flatten().collect::<Vec<_>>().join("-");
    let folder = context.cache.join(format!("guests/{name}-{}", &key[..16]));
    let disk = folder.join(recipe.firmware.disk());
    if !disk.exists() {
        let work = folder.join("work");
        remove(&work)?;
        make(context, store, recipe, &packages, &tools, &fakeroot, &work)?;
        std::fs::rename(work.join("out").join(recipe.firmware.disk()), &disk)
            .with_context(|| format!("{} can't be written", disk.display()))?;
        remove(&work)?;
        remove_outdated(&folder, &name)?;
    }
    Ok(disk)
}

fn is_kernel(package: &Package) -> bool {
    package.name.starts_with(KERNEL_PREFIX)
}

/// Puts the guest into `out/data/machines/NAME/`, with its definition. Answers that folder.
pub fn install(
    context: &Context,
    store: &Store,
    name: &str,
    other: OtherRelease,
) -> Result<PathBuf> {
    let recipe = GuestRecipe::read(&context.root.join("image-recipes"), name, other.guest)?;
    let disk = made(context, store, &recipe, other)?;
    let folder = context.out.join("data/machines").join(name);
    write(&folder.join("machine.yaml"), recipe.machine_file()?)?;
    let installed = folder.join(recipe.firmware.disk());
    // The cache keeps what was made; a link could be written through.
    let part = folder.join("disk.part");
    std::fs::copy(&disk, &part)
        .and_then(|_| std::fs::rename(&part, &installed))
        .with_context(|| format!("{} can't be written", installed.display()))?;
    Ok(folder)
}

fn make(
    context: &Context,
    store: &Store,
    recipe: &GuestRecipe,
    packages: &[Package],
    tools: &[Package],
    fakeroot: &[Package],
    work: &Path,
) -> Result<()> {
    let bar = progress::bar("guest", 4);
    let step = |what: &'static str| {
        bar.set_message(what);
        bar.inc(1);
    };
    let out = work.join("out");
    create_folder(&out)?;
    step("tools");
    let tools = Sandbox::unpack(tools, &work.join("tools"), &out)?;
    step("packages");
    match recipe.packages.is_empty() {
        true => boot_files::build(context, store, recipe, &out)?,
        false => userland::build(recipe, packages, fakeroot, &work.join("root"), &out)?,
    }
    step("disk");
    match recipe.firmware {
        Firmware::Bios => {
            root_disk::build(recipe, &tools)?;
            step("VHD");
            virtual_pc::convert(recipe, &tools, recipe.firmware.disk())?;
        }
        Firmware::Uefi => uefi_disk::build(context, store, recipe, &tools)?,
    }
    bar.finish_and_clear();
    Ok(())
}

/// SHA-256 over all that the disk is made of. The store has checked each package's own digest.
fn key(recipe: &GuestRecipe, packages: &[&[Package]]) -> String {
    let mut text = digest::of_bytes(format!("{recipe:?}").as_bytes());
    for package in packages.iter().copied().flatten() {
        text.push_str(&format!("\n{} {}", package.name, package.version));
    }
    for source in SOURCE {
        text.push_str(&digest::of_bytes(source.as_bytes()));
    }
    digest::of_bytes(text.as_bytes())
}

/// Removes what other recipes, packages or code made of this guest. The store's guard keeps other
/// processes out.
fn remove_outdated(present: &Path, name: &str) -> Result<()> {
    let entries = present
        .parent()
        .and_then(|folder| std::fs::read_dir(folder).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let key = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(name)?.strip_prefix('-'));
        let ours = key.is_some_and(|key| key.len() == 16 && !key.contains('-'));
        if ours && entry.path() != present {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a folder with all that is in it, also what packages made unreadable for its owner.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("{} can't be removed", folder.display()))?;
    }
    Ok(())
}
