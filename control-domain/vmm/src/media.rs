//! What the machine reads and writes, opened.

use crate::disk::MachineDisk;
use crate::machine_file::{Controller, DiskFormat, MachineFile};
use crate::memory::BusMemory;
use crate::running::{Hardware, Running};
use crate::scsi_controller::ScsiController;
use devices::{Disc, Diskette, Drive};
use vmbus::Device;

/// What the machine reads and writes.
#[derive(Default)]
pub struct Media {
    /// Drives of the emulated IDE controller, by place.
    pub drives: [Option<Drive>; 4],
    /// Those of them that are disks, with their location, to be offered on VMBus too.
    pub disks: Vec<(usize, MachineDisk)>,
    /// Disks of SCSI controllers, in the order of the machine file: what UEFI firmware boots from.
    pub scsi_disks: Vec<MachineDisk>,
    /// Discs in their DVD drives, likewise.
    pub scsi_discs: Vec<MachineDisk>,
    /// What is in the floppy drive.
    pub diskette: Option<Diskette>,
}

/// The machine's SCSI controllers, empty, and their devices for the bus.
pub fn scsi_controllers(
    file: &MachineFile,
    memory: &BusMemory,
) -> (Vec<ScsiController>, Vec<Box<dyn Device>>) {
    let subchannels = file.processors.saturating_sub(1) as u16;
    (0..file.scsi_controllers)
        .map(|number| ScsiController::new(number, file.guid(), memory.0.clone(), subchannels))
        .unzip()
}

/// Opens what the machine has; SCSI drives are attached already. Answers a few words about each.
///
/// # Errors
/// One sentence with the file's name.
pub fn open(running: &Running, hardware: &Hardware) -> Result<(Media, Vec<String>), String> {
    let mut media = Media::default();
    let mut about = Vec::new();
    let (Hardware { file, scsi }, folder) = (hardware, running.folder());
    for entry in &file.disks {
        let (disk, words) = running.open_disk(&entry.path, entry.format)?;
        match entry.controller {
            Controller::Ide => {
                disk.fits_ide()?;
                media.disks.push((entry.location, disk.clone()));
                media.drives[entry.location] = Some(Drive::Disk(Box::new(disk)));
            }
            Controller::Scsi => {
                media.scsi_disks.push(disk.clone());
                scsi[entry.number].add_disk(entry.location, disk)?;
            }
        }
        about.push(words);
    }
    for entry in &file.dvds {
        let mut disc = None;
        if let Some(path) = &entry.path {
            let (image, words) = MachineDisk::open_disc(folder, path)?;
            disc = Some(image);
            about.push(words);
        }
        match entry.controller {
            Controller::Ide => {
                let disc = disc.map(|disc| Box::new(disc) as Disc);
                media.drives[entry.location] = Some(Drive::Dvd(disc));
            }
            Controller::Scsi => {
                media.scsi_discs.extend(disc.clone());
                scsi[entry.number].add_dvd(entry.location, disc)?;
            }
        }
    }
    if let Some(path) = &file.floppy {
        let (image, words) = running.open_disk(path, DiskFormat::Raw)?;
        let diskette = Diskette::new(Box::new(image), false)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        media.diskette = Some(diskette);
        about.push(words);
    }
    if about.is_empty() {
        about.push("no disk".into());
    }
    Ok((media, about))
}
