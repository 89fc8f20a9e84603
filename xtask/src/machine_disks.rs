//! A machine's disks in every kind of file, for the boot rows.
//!
//! Of each disk that stands on others, every layer holds a part of the content, and the layers below hold
//! something else there: a guest that read the wrong layer would not get far.

use crate::context::{EPOCH_SECONDS, create_folder, write};
use crate::image::format_ext4;
use crate::{digest, host};
use anyhow::{Context as _, Result, ensure};
use disks::{Format, Identity, NewDisk, NewKind, OpenOptions};
use qemu_tests::DiskKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of the disks that do not boot.
const FURTHER_BYTES: u64 = 64 << 20;
/// So many disks are the IDE controller's, as on Hyper-V beside a DVD drive; further ones are SCSI disks.
const IDE_DISKS: usize = 2;
/// The file on them, and what it holds.
const GIVEN: (&str, &str) = ("given", "from the base\n");
/// How much of the content goes to one layer before the next one's turn.
const TURN_BYTES: usize = 1 << 20;
/// 2000-01-01T00:00:00Z, from where VHD counts seconds, in seconds since 1970.
pub const VHD_EPOCH_SECONDS: u64 = 946_684_800;

/// A disk of a machine, in the machine's folder.
#[derive(Clone, Debug)]
pub struct MachineDisk {
    /// What it is.
    pub kind: DiskKind,
    /// The file that the machine names.
    pub top: String,
    /// The files that it stands on, with their SHA-256: a run must not change them.
    pub bases: BTreeMap<String, String>,
}

impl MachineDisk {
    /// The disk as a guest's recipe makes it.
    pub fn of_recipe() -> Self {
        Self {
            kind: DiskKind::VhdDynamic,
            top: "disk.vhd".into(),
            bases: BTreeMap::new(),
        }
    }
}

/// Gives the machine in `folder`, as its guest's recipe made it, other disks: the first one is made of the
/// recipe's, the others hold an ext4 file system each. `work` takes what is needed on the way.
pub fn replace(folder: &Path, work: &Path, kinds: &[DiskKind]) -> Result<Vec<MachineDisk>> {
    create_folder(work)?;
    let of_recipe = folder.join(MachineDisk::of_recipe().top);
    let system = work.join("system.vhd");
    std::fs::rename(&of_recipe, &system)
        .with_context(|| format!("{} can't be moved", of_recipe.display()))?;
    let further = further_disk(work)?;
    let mut made = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let source = if number == 0 { &system } else { &further };
        let disk = make(folder, source, number, *kind)
            .with_context(|| format!("disk {number} can't be made as {}", kind.name()))?;
        made.push(disk);
    }
    name_in_machine_file(&folder.join("machine.yaml"), &made)?;
    std::fs::remove_dir_all(work)
        .with_context(|| format!("{} can't be removed", work.display()))?;
    Ok(made)
}

/// A raw disk that is an ext4 file system.
fn further_disk(work: &Path) -> Result<PathBuf> {
    let content = work.join("content");
    write(&content.join(GIVEN.0), GIVEN.1)?;
    let path = work.join("further.img");
    std::fs::File::create(&path)
        .and_then(|file| file.set_len(FURTHER_BYTES))
        .with_context(|| format!("{} can't be made", path.display()))?;
    format_ext4(&path, 0, FURTHER_BYTES, "further disk", &content)?;
    Ok(path)
}

/// The kind of the lowest file, and how many differencing ones stand on it.
fn layers(kind: DiskKind) -> (Option<NewKind>, usize) {
    match kind {
        DiskKind::VhdFixed => (Some(NewKind::VhdFixed), 0),
        DiskKind::VhdDynamic => (Some(NewKind::VhdDynamic), 0),
        DiskKind::VhdDifferencing => (Some(NewKind::VhdDynamic), 1),
        DiskKind::VhdChain => (Some(NewKind::VhdDynamic), 2),
        DiskKind::VhdxFixed => (Some(NewKind::VhdxFixed), 0),
        DiskKind::VhdxDynamic => (Some(NewKind::VhdxDynamic), 0),
        DiskKind::VhdxDifferencing => (Some(NewKind::VhdxDynamic), 1),
        DiskKind::VhdxChain => (Some(NewKind::VhdxDynamic), 2),
        DiskKind::VmdkOverlay => (None, 1),
    }
}

fn make(folder: &Path, source: &Path, number: usize, kind: DiskKind) -> Result<MachineDisk> {
    let (base, children) = layers(kind);
    let extension = match base {
        Some(NewKind::VhdFixed | NewKind::VhdDynamic) => "vhd",
        _ => "vhdx",
    };
    let name = |layer: usize, extension: &str| format!("disk{number}-{layer}.{extension}");
    let mut files = vec![match &base {
        Some(_) => name(0, extension),
        None => name(0, "vmdk"),
    }];
    let lowest = folder.join(&files[0]);
    match base {
        Some(base) => {
            let new = named(base, &files[0])?;
            disks::convert(
                source,
                &options(source, false),
                &lowest,
                &new,
                &mut |_, _| {},
            )?;
            if children > 0 {
                deal(source, &lowest, 0, children + 1)?;
            }
        }
        None => stream_optimized(source, &lowest)?,
    }
    for layer in 1..=children {
        let file = name(layer, extension);
        let parent = folder.join(&files[layer - 1]);
        let kind = match extension {
            "vhd" => NewKind::VhdDifferencing { parent },
            _ => NewKind::VhdxDifferencing { parent },
        };
        disks::create(&folder.join(&file), &named(kind, &file)?)?;
        deal(source, &folder.join(&file), layer, children + 1)?;
        files.push(file);
    }
    let top = files.pop().context("a disk has a file")?;
    let bases = files.into_iter().map(|file| {
        let sum = digest::of_file(&folder.join(&file))?;
        Ok((file, sum))
    });
    Ok(MachineDisk {
        kind,
        top,
        bases: bases.collect::<Result<_>>()?,
    })
}

fn named(kind: NewKind, name: &str) -> Result<NewDisk> {
    Ok(NewDisk {
        identity: Some(Identity {
            unique_id: digest::derived_uuid("disk of a row", name),
            timestamp: u32::try_from(EPOCH_SECONDS - VHD_EPOCH_SECONDS)?,
        }),
        ..NewDisk::new(kind, 0)
    })
}

fn options(path: &Path, writable: bool) -> OpenOptions {
    OpenOptions {
        format: path
            .extension()
            .filter(|e| *e == "img")
            .map(|_| Format::Raw),
        writable,
        ..OpenOptions::default()
    }
}

/// Writes into layer `turn` of `layers` what is its part of the content. The lowest one gets something else
/// at the others' parts instead, since it has all already.
fn deal(source: &Path, layer: &Path, turn: usize, layers: usize) -> Result<()> {
    let mut from = disks::open(source, &options(source, false))?.disk;
    let mut to = disks::open(layer, &options(layer, true))?.disk;
    let mut data = vec![0; TURN_BYTES];
    let size = from.size();
    for (number, offset) in (0..size).step_by(TURN_BYTES).enumerate() {
        let its_turn = number % layers == turn;
        let data = &mut data[..TURN_BYTES.min((size - offset) as usize)];
        from.read(offset, data)?;
        if data.iter().all(|byte| *byte == 0) {
            continue;
        }
        match (turn, its_turn) {
            (0, true) => {}
            (0, false) => to.write(offset, &vec![0xee; data.len()])?,
            (_, true) => to.write(offset, data)?,
            (_, false) => {}
        }
    }
    to.close()?;
    Ok(())
}

/// Makes a streamOptimized VMDK, which only others write.
fn stream_optimized(source: &Path, target: &Path) -> Result<()> {
    host::require(&["qemu-img"])?;
    let format = match source
        .extension()
        .is_some_and(|extension| extension == "img")
    {
        true => "raw",
        false => "vpc",
    };
    let output = Command::new("qemu-img")
        .args(["convert", "-f", format, "-O", "vmdk"])
        .args(["-o", "subformat=streamOptimized"])
        .args([source, target])
        .output()
        .context("qemu-img can't be started")?;
    ensure!(
        output.status.success(),
        "qemu-img makes no VMDK: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// A disk's entry in machine.yaml.
#[derive(Serialize, Deserialize)]
struct DiskEntry {
    controller: String,
    location: usize,
    path: String,
}

fn name_in_machine_file(path: &Path, disks: &[MachineDisk]) -> Result<()> {
    let text = crate::context::read(path)?;
    let mut machine: BTreeMap<String, serde_yaml::Value> =
        serde_yaml::from_slice(&text).with_context(|| format!("{} is no map", path.display()))?;
    let entries = disks.iter().enumerate().map(|(number, disk)| {
        let (controller, location) = match number.checked_sub(IDE_DISKS) {
            None => ("ide", number),
            Some(location) => ("scsi", location),
        };
        DiskEntry {
            controller: controller.into(),
            location,
            path: disk.top.clone(),
        }
    });
    let entries: Vec<_> = entries.collect();
    if entries.len() > IDE_DISKS {
        machine.insert("scsi_controllers".into(), 1.into());
    }
    machine.insert("disks".into(), serde_yaml::to_value(entries)?);
    write(path, serde_yaml::to_string(&machine)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same content through every kind, from layers that hold something else below.
    #[test]
    fn each_kind_reads_as_its_source() {
        let base = std::env::temp_dir().join(format!("machine-disks-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let source = base.join("source.img");
        let mut content = vec![0; 9 << 20];
        for (number, sector) in content.chunks_mut(512).enumerate() {
            sector[..8].copy_from_slice(&(number as u64).to_le_bytes());
        }
        content[4 << 20..5 << 20].fill(0);
        std::fs::write(&source, &content).unwrap();
        for kind in DiskKind::ALL {
            if kind == DiskKind::VmdkOverlay && host::find("qemu-img").is_none() {
                eprintln!("skipped: qemu-img is not installed");
                continue;
            }
            let folder = base.join(kind.name());
            std::fs::create_dir_all(&folder).unwrap();
            let disk = make(&folder, &source, 0, kind).unwrap();
            assert_eq!(disk.bases.len(), layers(kind).1);
            let mut read = vec![0; content.len()];
            let mut opened =
                disks::open(&folder.join(&disk.top), &OpenOptions::read_only()).unwrap();
            opened.disk.read(0, &mut read).unwrap();
            assert!(read == content, "{}", kind.name());
        }
        std::fs::remove_dir_all(base).unwrap();
    }
}
