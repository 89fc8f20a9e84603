//! A guest's disk after a run, read by others: qemu-img, 7-Zip, e2fsck and debugfs.

use crate::context::{Context, create_folder, read};
use crate::host;
use crate::image::DATA_OFFSET;
use anyhow::{Context as _, Result, ensure};
use qemu_tests::DiskHolds;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Looks at a machine's disk and a file in it with programs that know nothing of ours.
pub fn run(context: &Context, data: &Path, machine: &str, holds: &DiskHolds) -> Result<()> {
    let raw = read_vhd(context, data, &format!("/machines/{machine}/disk.vhd"))?;
    let disk = context.out.join("check/disk.vhd");
    tool("7z", &["t", &text(&disk)]).context("7-Zip finds the disk broken")?;
    let root = at(&raw, first_partition(&raw)?);
    check_file_system(&root).context("the guest's root file system")?;
    let copy = context.out.join("check/file");
    dump(&root, &holds.path, &copy)?;
    let found = String::from_utf8_lossy(&read(&copy)?).into_owned();
    ensure!(
        found.contains(&holds.text),
        "{} in the guest holds {found:?}, not {:?}",
        holds.path,
        holds.text
    );
    Ok(())
}

/// Takes a VHD out of the data disk and has qemu-img read all of it. Answers its content as a raw
/// disk. (7-Zip calls a disk broken that was cut off between a sector's data and its bit, as it may be.)
pub fn read_vhd(context: &Context, data: &Path, inside: &str) -> Result<PathBuf> {
    host::require(&["debugfs", "e2fsck", "qemu-img", "7z"])?;
    let folder = context.out.join("check");
    create_folder(&folder)?;
    let disk = folder.join("disk.vhd");
    check_file_system(&at(data, DATA_OFFSET)).context("the data partition")?;
    dump(&at(data, DATA_OFFSET), inside, &disk)?;
    let raw = folder.join("disk.raw");
    let arguments = [
        "convert",
        "-f",
        "vpc",
        "-O",
        "raw",
        &text(&disk),
        &text(&raw),
    ];
    tool("qemu-img", &arguments).context("qemu-img can't read the disk")?;
    Ok(raw)
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

/// Offset in bytes of the first partition of an MBR (its entry at 446, start sector at 8).
fn first_partition(raw: &Path) -> Result<u64> {
    use std::io::Read as _;
    let mut sector = [0; 512];
    std::fs::File::open(raw)
        .and_then(|mut file| file.read_exact(&mut sector))
        .with_context(|| format!("{} has no first sector", raw.display()))?;
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
