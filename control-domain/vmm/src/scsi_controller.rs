//! A SCSI controller of a machine: disks and DVD drives at 64 places, which come and go while the
//! guest runs.

use crate::disk::MachineDisk;
use crate::machine_file::SCSI_LOCATIONS;
use crate::scsi_media::ScsiMedia;
use crate::storage::{MOST_TRANSFER, disk_unit, dvd_unit};
use disk::Disk;
use guest_memory::GuestMemory;
use management::Place;
use scsi::Unit;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use storvsp::{Attachment, Backplane, Controller, StorageDevice};
use uuid::Uuid;
use vmbus::Device;

/// A controller.
#[derive(Clone)]
pub struct ScsiController {
    number: usize,
    machine: Uuid,
    backplane: Backplane<ScsiMedia>,
}

impl ScsiController {
    /// An empty controller, and the device to be put on the bus. `machine` is the machine's GUID.
    pub fn new(
        number: usize,
        machine: Uuid,
        memory: Arc<GuestMemory>,
        most_subchannels: u16,
    ) -> (Self, Box<dyn Device>) {
        let attachment = Attachment::Scsi {
            instance: Uuid::new_v5(&machine, format!("scsi controller {number}").as_bytes()),
        };
        let controller = Controller::new(attachment, most_subchannels, MOST_TRANSFER);
        let device = StorageDevice::new(controller, ScsiMedia::new(memory));
        let controller = Self {
            number,
            machine,
            backplane: device.backplane(),
        };
        (controller, Box::new(device))
    }

    /// The name of a place, and its number as the controller's units have it.
    fn place(&self, location: usize) -> Result<(String, u8), String> {
        let number = self.number;
        let name = Place::Scsi { number, location }.to_string();
        match u8::try_from(location) {
            Ok(unit) if location < SCSI_LOCATIONS => Ok((name, unit)),
            _ => Err(format!("{name}: there is no such place")),
        }
    }

    /// Attaches a disk.
    ///
    /// # Errors
    /// If there is no such place, or it is taken.
    pub fn add_disk(&self, location: usize, disk: MachineDisk) -> Result<(), String> {
        let (place, number) = self.place(location)?;
        let unit = disk_unit(&disk, &place, self.machine);
        self.add(&place, number, unit, Some(disk))
    }

    /// Attaches a DVD drive with a disc in it, or without.
    ///
    /// # Errors
    /// If there is no such place, or it is taken.
    pub fn add_dvd(&self, location: usize, disc: Option<MachineDisk>) -> Result<(), String> {
        let (place, number) = self.place(location)?;
        let unit = dvd_unit(disc.as_ref(), &place, self.machine);
        self.add(&place, number, unit, disc)
    }

    fn add(
        &self,
        place: &str,
        number: u8,
        unit: Unit,
        disk: Option<MachineDisk>,
    ) -> Result<(), String> {
        let plug = |media: &mut ScsiMedia| {
            if let Some(disk) = disk {
                media.insert(number, disk);
            }
        };
        match self.backplane.add(number, unit, plug) {
            true => Ok(()),
            false => Err(format!("{place} is taken")),
        }
    }

    /// Takes a disk or a drive away, when what is under way there has ended.
    ///
    /// # Errors
    /// If there is none.
    pub fn remove(&self, location: usize) -> Result<(), String> {
        let (place, number) = self.place(location)?;
        let removed = self.backplane.remove(number, |media| media.remove(number));
        removed.ok_or_else(|| format!("{place}: there is nothing"))
    }

    /// Gives a disk another size: what is under way ends, `resize` changes the file, `reopen` opens it. Whatever
    /// fails, the guest has its disk back if it can be opened.
    ///
    /// # Errors
    /// Why it has the old size, or is gone.
    pub fn resize<T>(
        &self,
        location: usize,
        resize: impl FnOnce() -> Result<T, String>,
        reopen: impl FnOnce() -> Result<MachineDisk, String>,
    ) -> Result<(), String> {
        let (place, number) = self.place(location)?;
        let resized = self.backplane.with_unit(number, |unit, media| {
            let Unit::Disk(disk) = unit else {
                return Err(format!("{place}: a DVD drive has no size of its own"));
            };
            media.settle_unit(number)?;
            media.remove(number);
            let resized = resize();
            let open = reopen()?;
            disk.resize(open.size() / u64::from(disk.config().block_size));
            media.insert(number, open);
            resized.map(drop)
        });
        resized.unwrap_or_else(|| Err(format!("{place}: there is nothing")))
    }

    /// Puts another disc into a drive, or takes out the one that is there.
    ///
    /// # Errors
    /// If there is no drive.
    pub fn change_disc(&self, location: usize, disc: Option<MachineDisk>) -> Result<(), String> {
        let (place, number) = self.place(location)?;
        let changed = self.backplane.with_unit(number, |unit, media| {
            let Unit::Dvd(drive) = unit else {
                return false;
            };
            drive.set_medium(disc.as_ref().map(Disk::size));
            match disc {
                Some(disc) => media.insert(number, disc),
                None => media.remove(number),
            }
            true
        });
        match changed {
            Some(true) => Ok(()),
            _ => Err(format!("{place}: there is no DVD drive")),
        }
    }

    /// How its units are.
    pub fn inspect(&self) -> Value {
        let units = self.backplane.inspect(|media, lun, unit| {
            let medium = media.disk(lun).map(|disk| disk.name().to_owned());
            let about = match unit {
                Unit::Disk(disk) => json!({
                    "kind": "disk",
                    "path": medium,
                    "size_bytes": disk.config().blocks * u64::from(disk.config().block_size),
                    "sector_bytes": disk.config().block_size,
                }),
                Unit::Dvd(drive) => json!({
                    "kind": "DVD drive",
                    "disc": medium,
                    "locked": drive.is_locked(),
                }),
            };
            (lun.to_string(), about)
        });
        let under_way = self.backplane.with_media(|media| media.under_way());
        json!({
            "number": self.number,
            "requests_under_way": under_way,
            "units": units.into_iter().collect::<Map<_, _>>(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::machine_file::DiskFormat;
    use disks::ResizeOptions;

    #[test]
    fn a_disk_gets_another_size_and_stays_when_it_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        std::fs::write(&path, vec![7; 64 << 10]).unwrap();
        let open = || {
            let opened = MachineDisk::open(folder.path(), "disk.img".as_ref(), DiskFormat::Raw);
            opened.map(|(disk, _)| disk)
        };
        let resize = |bytes: u64| {
            let options = ResizeOptions {
                format: DiskFormat::Raw.named(),
                ..ResizeOptions::default()
            };
            disks::resize(&path, bytes, &options, &mut |_, _| {}).map_err(|e| e.to_string())
        };
        let memory = Arc::new(GuestMemory::anonymous(1 << 20).unwrap());
        let (controller, _device) = ScsiController::new(0, Uuid::nil(), memory, 0);
        controller.add_disk(3, open().unwrap()).unwrap();
        // The controller has the file: nobody else may change it.
        assert!(resize(128 << 10).unwrap_err().contains("disk.img"));
        controller.resize(3, || resize(128 << 10), open).unwrap();
        let size = || controller.inspect()["units"]["3"]["size_bytes"].as_u64();
        assert_eq!(size(), Some(128 << 10));
        let error = controller.resize(3, || resize(1 << 10), open).unwrap_err();
        assert!(error.contains("behind the new end"), "{error}");
        assert_eq!(size(), Some(128 << 10));
        let error = controller.resize(4, || resize(1 << 10), open).unwrap_err();
        assert!(error.contains("location 4"), "{error}");
    }
}
