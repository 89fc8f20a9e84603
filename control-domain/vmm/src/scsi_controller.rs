//! A SCSI controller of a machine: disks and DVD drives at 64 places, which come and go while the
//! guest runs.

use crate::disk::MachineDisk;
use crate::machine_file::{Controller as Kind, SCSI_LOCATIONS, place_name};
use crate::scsi_media::ScsiMedia;
use crate::storage::{MOST_TRANSFER, disk_unit, dvd_unit};
use disk::Disk;
use guest_memory::GuestMemory;
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
        let name = place_name((Kind::Scsi, self.number, location));
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
