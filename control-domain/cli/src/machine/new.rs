//! A machine of bare disks: the machine file that is written for it.

use super::add_disk::absolute;
use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where machines of bare disks have their folders, until the control domain ends.
const FOLDER: &str = "/run/entente/bare";
const USUAL_MEMORY_MIB: u64 = 1024;
/// Places of the IDE controller for disks, and for DVDs, in the order in which they are used; Hyper-V's
/// first DVD drive is at 2.
const IDE_DISKS: [usize; 3] = [0, 1, 3];
const IDE_DVDS: [usize; 1] = [2];

/// What the person wants of the machine.
pub struct Wanted {
    /// Its name, if not as its first disk's.
    pub name: Option<String>,
    /// Its memory.
    pub memory_mib: Option<u64>,
    /// Its processors.
    pub processors: Option<usize>,
}

#[derive(Serialize)]
struct MachineFile {
    name: String,
    generation: u32,
    processors: usize,
    memory_mib: u64,
    scsi_controllers: usize,
    disks: Vec<Drive>,
    dvds: Vec<Drive>,
    network_adapters: [NetworkAdapter; 1],
}

/// An adapter as the machine file has it where nothing is said of it: on the Default Switch.
#[derive(Serialize)]
struct NetworkAdapter {}

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Drive {
    controller: &'static str,
    location: usize,
    path: PathBuf,
}

/// Writes the machine file of a machine with these disks. Answers its folder and its name.
pub fn of_disks(disks: &[&Path], wanted: &Wanted) -> Result<(PathBuf, String), Failure> {
    let Some(first) = disks.first() else {
        return Err(Failure::usage(
            "WHAT is missing; see `entente run --help`".into(),
        ));
    };
    for disk in disks {
        if !disk.is_file() {
            let what = "there is no such file, and no machine of that name or in that folder";
            return Err(Failure::Failed(format!("{}: {what}", disk.display())));
        }
    }
    let stem = first
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let name = wanted.name.clone().or(stem).unwrap_or_default();
    management::check_name(&name).map_err(Failure::Failed)?;
    let (disks, dvds) = places(disks)?;
    let file = MachineFile {
        name: name.clone(),
        generation: 1,
        processors: wanted.processors.unwrap_or(1),
        memory_mib: wanted.memory_mib.unwrap_or(USUAL_MEMORY_MIB),
        scsi_controllers: 1,
        disks,
        dvds,
        network_adapters: [NetworkAdapter {}],
    };
    let folder = Path::new(FOLDER).join(&name);
    let path = folder.join("machine.yaml");
    let fail = |error: String| Failure::Failed(format!("{}: {error}", path.display()));
    let text = serde_yaml::to_string(&file).map_err(|error| fail(error.to_string()))?;
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
    written.map_err(|error| fail(error.to_string()))?;
    Ok((folder, name))
}

/// Where each disk goes: IDE first, from where every guest boots, then SCSI.
fn places(files: &[&Path]) -> Result<(Vec<Drive>, Vec<Drive>), Failure> {
    let (mut disks, mut dvds) = (Vec::new(), Vec::new());
    let mut scsi = 0..;
    for file in files {
        let is_dvd = file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("iso"));
        let (list, ide): (_, &[usize]) = match is_dvd {
            true => (&mut dvds, &IDE_DVDS),
            false => (&mut disks, &IDE_DISKS),
        };
        let (controller, location) = match ide.get(list.len()) {
            Some(location) => ("ide", *location),
            None => ("scsi", scsi.next().unwrap_or(0)),
        };
        let path = absolute(file)?;
        list.push(Drive {
            controller,
            location,
            path,
        });
    }
    Ok((disks, dvds))
}

/// The name of the machine in a folder.
pub fn name_in(folder: &Path) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let path = folder.join("machine.yaml");
    let fail = |error: String| Failure::Failed(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| fail(error.to_string()))?;
    let named: Named = serde_yaml::from_str(&text).map_err(|error| fail(error.to_string()))?;
    Ok(named.name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_at_ide_while_there_is_room() {
        let files = [
            "/a.vhd", "/b.vhdx", "/c.ISO", "/d.vmdk", "/e.vhdx", "/f.iso", "/g.vhd",
        ];
        let files: Vec<_> = files.iter().map(Path::new).collect();
        let (disks, dvds) = places(&files).unwrap();
        let at = |drives: &[Drive]| {
            let places = drives
                .iter()
                .map(|drive| (drive.controller, drive.location));
            places.collect::<Vec<_>>()
        };
        let expected = [("ide", 0), ("ide", 1), ("ide", 3), ("scsi", 0), ("scsi", 2)];
        assert_eq!(at(&disks), expected);
        assert_eq!(at(&dvds), [("ide", 2), ("scsi", 1)]);
    }
}
