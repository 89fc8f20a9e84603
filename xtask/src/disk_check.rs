//! A guest's disks after a run, read by us and by others: qemu-img, 7-Zip, e2fsck and debugfs.
//!
//! What qemu-img or 7-Zip can read must be to them what it is to us; a differencing VHDX on a VMDK is ours
//! alone. Programs that know nothing of ours then look at the file systems.

use crate::context::{Context, create_folder, read};
use crate::image::DATA_OFFSET;
use crate::machine_disks::MachineDisk;
use crate::{digest, host};
use anyhow::{Context as _, Result, ensure};
use disks::{NewDisk, NewKind, OpenOptions};
use qemu_tests::{DiskHolds, DiskKind};
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 4] = ["debugfs", "e2fsck", "qemu-img", "7z"];

/// Looks at a machine's disks and files in them: the bases are as they were, and all readers agree.
pub fn run(
    context: &Context,
    data: &Path,
    machine: &str,
    disks: &[MachineDisk],
    holds: &[DiskHolds],
) -> Result<()> {
    host::require(&PROGRAMS)?;
    let check = context.out.join("check");
    if check.exists() {
        std::fs::remove_dir_all(&check)
            .with_context(|| format!("{} can't be removed", check.display()))?;
    }
    create_folder(&check)?;
    check_file_system(&at(data, DATA_OFFSET)).context("the data partition")?;
    let request = format!("rdump /machines/{machine} {}", check.display());
    tool("debugfs", &["-R", &request, &at(data, DATA_OFFSET)])?;
    let folder = check.join(machine);
    for (number, disk) in disks.iter().enumerate() {
        for (base, sum) in &disk.bases {
            let now = digest::of_file(&folder.join(base))?;
            ensure!(now == *sum, "the run changed {base}, which is only read");
        }
        let raw = flatten(&check, &folder, disk).with_context(|| disk.top.clone())?;
        let root = at(&raw, first_partition(&raw)?);
        check_file_system(&root).with_context(|| format!("the guest's disk {number}"))?;
        for holds in holds.iter().filter(|holds| holds.disk == number) {
            check_file(&check, &root, holds)?;
        }
    }
    std::fs::remove_dir_all(&check).with_context(|| format!("{} can't be removed", check.display()))
}

/// A disk's content as a raw disk, on which those agree who can read it.
fn flatten(check: &Path, folder: &Path, disk: &MachineDisk) -> Result<PathBuf> {
    let top = folder.join(&disk.top);
    let raw = check.join(format!("{}.raw", disk.top));
    let new = NewDisk::new(NewKind::Raw, 0);
    disks::convert(&top, &OpenOptions::read_only(), &raw, &new, &mut |_, _| {})?;
    let sum = digest::of_file(&raw)?;
    let other = check.join("other.raw");
    let is_vhd = disk.top.ends_with(".vhd");
    let judges = match disk.kind {
        // It would ignore a differencing disk's parent without a word.
        DiskKind::VhdFixed | DiskKind::VhdDynamic | DiskKind::VhdxFixed | DiskKind::VhdxDynamic => {
            [true, true]
        }
        DiskKind::VhdDifferencing
        | DiskKind::VhdChain
        | DiskKind::VhdxDifferencing
        | DiskKind::VhdxChain => [false, true],
        DiskKind::VmdkOverlay => [false, false],
    };
    if judges[0] {
        qemu_converts(if is_vhd { "vpc" } else { "vhdx" }, &top, &other)?;
        ensure!(
            digest::of_file(&other)? == sum,
            "qemu-img reads it differently"
        );
    }
    if judges[1] {
        let out = check.join("7z");
        let kind = if is_vhd { "-tvhd" } else { "-tvhdx" };
        let to = format!("-o{}", out.display());
        tool("7z", &["x", "-y", kind, &text(&top), &to]).context("7-Zip finds it broken")?;
        let mut files =
            std::fs::read_dir(&out).with_context(|| format!("{} can't be read", out.display()))?;
        let file = files.next().context("7-Zip read nothing")??.path();
        ensure!(digest::of_file(&file)? == sum, "7-Zip reads it differently");
        std::fs::remove_dir_all(&out)
            .with_context(|| format!("{} can't be removed", out.display()))?;
    }
    Ok(raw)
}

fn check_file(check: &Path, root: &str, holds: &DiskHolds) -> Result<()> {
    let copy = check.join("file");
    dump(root, &holds.path, &copy)?;
    let found = String::from_utf8_lossy(&read(&copy)?).into_owned();
    ensure!(
        found.contains(&holds.text),
        "{} in the guest holds {found:?}, not {:?}",
        holds.path,
        holds.text
    );
    Ok(())
}

/// Takes a VHD out of the data disk and has qemu-img read all of it. (7-Zip calls a disk broken that
/// was cut off between a sector's data and its bit, as it may be.)
pub fn read_vhd(context: &Context, data: &Path, inside: &str) -> Result<()> {
    host::require(&PROGRAMS)?;
    let folder = context.out.join("check");
    create_folder(&folder)?;
    let disk = folder.join("disk.vhd");
    check_file_system(&at(data, DATA_OFFSET)).context("the data partition")?;
    dump(&at(data, DATA_OFFSET), inside, &disk)?;
    qemu_converts("vpc", &disk, &folder.join("disk.raw"))
}

fn qemu_converts(format: &str, disk: &Path, raw: &Path) -> Result<()> {
    let [disk, raw] = [disk, raw].map(text);
    let arguments = ["convert", "-f", format, "-O", "raw", &disk, &raw];
    tool("qemu-img", &arguments)
        .map(drop)
        .context("qemu-img can't read the disk")
}

/// Whether the file system is whole and was closed: nothing is repaired.
fn check_file_system(place: &str) -> Result<()> {
    tool("e2fsck", &["-f", "-n", place]).map(drop)
}

fn dump(place: &str, inside: &str, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_file(to).with_context(|| format!("{} can't be removed", to.display()))?;
    }
    tool(
        "debugfs",
        &["-R", &format!("dump {inside} {}", to.display()), place],
    )?;
    ensure!(to.exists(), "there is no file {inside}");
    Ok(())
}

/// Offset in bytes of the first partition of an MBR (its entry at 446, start sector at 8); 0 where there
/// is no MBR (its mark at 510), for the disk is the file system then.
fn first_partition(raw: &Path) -> Result<u64> {
    use std::io::Read as _;
    let mut sector = [0; 512];
    std::fs::File::open(raw)
        .and_then(|mut file| file.read_exact(&mut sector))
        .with_context(|| format!("{} has no first sector", raw.display()))?;
    if sector[510..] != [0x55, 0xaa] {
        return Ok(0);
    }
    let start = u32::from_le_bytes([sector[454], sector[455], sector[456], sector[457]]);
    ensure!(start > 0, "the guest's disk has no first partition");
    Ok(u64::from(start) * 512)
}

/// A file system inside a file, as e2fsprogs name it.
fn at(file: &Path, offset: u64) -> String {
    format!("{}?offset={offset}", file.display())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    let path = host::find(program).with_context(|| format!("{program} is missing"))?;
    let output = Command::new(path)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} can't be started"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program} {}: {said}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}
