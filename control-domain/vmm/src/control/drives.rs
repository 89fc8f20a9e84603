//! Drives that come and go.

use crate::disk::MachineDisk;
use crate::machine_file::{Controller, DiskEntry, DiskFormat, SCSI_LOCATIONS};
use crate::running::{Hardware, Running};
use crate::scsi_controller::ScsiController;
use devices::Disc;
use disks::ResizeOptions;
use management::{Place, What};
use serde_json::{Value, json};
use std::path::PathBuf;

impl Hardware {
    fn scsi(&self, place: Place) -> Result<(&ScsiController, usize), String> {
        match place {
            Place::Ide { .. } => Err(format!(
                "{place}: IDE has no disks that come and go; name a place at a SCSI controller"
            )),
            Place::Scsi { number, location } => self
                .scsi
                .get(number)
                .map(|controller| (controller, location))
                .ok_or_else(|| format!("{place}: there are {} such controllers", self.scsi.len())),
        }
    }

    /// The first free place at a SCSI controller.
    fn free_place(&self) -> Result<Place, String> {
        let taken = self.file.drive_places();
        (0..self.scsi.len())
            .flat_map(|number| (0..SCSI_LOCATIONS).map(move |location| (number, location)))
            .map(|(number, location)| Place::Scsi { number, location })
            .find(|place| !taken.contains(place))
            .ok_or_else(|| "there is no free place at a SCSI controller".into())
    }

    fn first_dvd(&self) -> Result<Place, String> {
        let drive = self.file.dvds.first().ok_or("it has no DVD drive")?;
        Ok(drive.place())
    }
}

pub fn add_disk(running: &Running, place: Option<Place>, path: PathBuf) -> Result<Value, String> {
    let mut hardware = running.hardware();
    let place = place.map_or_else(|| hardware.free_place(), Ok)?;
    let (controller, location) = hardware.scsi(place)?;
    let (disk, about) = running.open_disk(&path, DiskFormat::Detect)?;
    controller.add_disk(location, disk)?;
    let Place::Scsi { number, .. } = place else {
        return Err(format!("{place}: no SCSI controller"));
    };
    let shown = path.display().to_string();
    hardware.file.disks.push(DiskEntry {
        controller: Controller::Scsi,
        number,
        location,
        path,
        format: DiskFormat::Detect,
    });
    running.events().tell(What::DiskAdded {
        place: place.to_string(),
        path: shown,
    });
    Ok(json!({"place": place, "disk": about}))
}

/// Its file is closed meanwhile; the guest's requests wait.
pub fn resize_disk(running: &Running, place: Place, size_bytes: u64) -> Result<Value, String> {
    let hardware = running.hardware();
    let (controller, location) = hardware.scsi(place)?;
    let mut disks = hardware.file.disks.iter();
    let entry = disks.find(|disk| disk.place() == place);
    let entry = entry.ok_or_else(|| format!("{place}: there is no disk"))?;
    let resize = || {
        let options = ResizeOptions {
            format: entry.format.named(),
            ..ResizeOptions::default()
        };
        let path = running.folder().join(&entry.path);
        disks::resize(&path, size_bytes, &options, &mut |_, _| {})
            .map_err(|error| error.to_string())
    };
    let reopen = || {
        running
            .open_disk(&entry.path, entry.format)
            .map(|(disk, _)| disk)
    };
    controller.resize(location, resize, reopen)?;
    let shown = place.to_string();
    running.events().tell(What::DiskResized {
        place: shown,
        size_bytes,
    });
    Ok(json!({"place": place, "size_bytes": size_bytes}))
}

pub fn remove(running: &Running, place: Place) -> Result<Value, String> {
    let mut hardware = running.hardware();
    let (controller, location) = hardware.scsi(place)?;
    controller.remove(location)?;
    hardware.file.disks.retain(|disk| disk.place() != place);
    hardware.file.dvds.retain(|dvd| dvd.place() != place);
    let place = place.to_string();
    running.events().tell(What::DiskRemoved { place });
    Ok(Value::Null)
}

pub fn change_disc(
    running: &Running,
    place: Option<Place>,
    path: Option<PathBuf>,
) -> Result<Value, String> {
    let mut hardware = running.hardware();
    let place = place.map_or_else(|| hardware.first_dvd(), Ok)?;
    let disc = path.as_deref();
    let disc =
        disc.map(|path| MachineDisk::open_disc(running.folder(), path).map(|(disc, _)| disc));
    let disc = disc.transpose()?;
    match place {
        Place::Ide { location } => {
            let machine = running.machine().ok_or("it is just starting")?;
            let disc = disc.map(|disc| Box::new(disc) as Disc);
            let there = machine.with_board(|board, _, _| board.insert_disc(location, disc));
            if !there {
                return Err(format!("{place}: there is no DVD drive"));
            }
        }
        Place::Scsi { .. } => {
            let (controller, location) = hardware.scsi(place)?;
            controller.change_disc(location, disc)?;
        }
    }
    let shown = path.as_ref().map(|path| path.display().to_string());
    for dvd in &mut hardware.file.dvds {
        if dvd.place() == place {
            dvd.path.clone_from(&path);
        }
    }
    running.events().tell(What::DiscChanged {
        place: place.to_string(),
        path: shown,
    });
    Ok(json!({"place": place}))
}
