//! A machine's disks as units of storage controllers on VMBus.

use crate::disk::MachineDisk;
use crate::queued_disk::QueuedDisk;
use disk::Disk;
use guest_memory::GuestMemory;
use scsi::{DiskConfig, DiskUnit, DvdUnit, Identity, Unit};
use std::sync::Arc;
use storvsp::{Attachment, Controller, StorageDevice};
use uuid::Uuid;
use vmbus::Device;

/// The most bytes that one request may move.
pub const MOST_TRANSFER: u32 = 1 << 20;
/// What disks of today write at once.
const PHYSICAL_BLOCK_SIZE: u32 = 4096;

/// A disk of the emulated IDE controller by the shorter way, under which drivers for Hyper-V look for
/// it. `machine` is the machine's GUID, of which the identity of a disk without one is made.
pub fn ide_disk(
    location: usize,
    disk: MachineDisk,
    memory: Arc<GuestMemory>,
    machine: Uuid,
) -> Box<dyn Device> {
    let unit = disk_unit(&disk, &format!("ide {location}"), machine);
    let attachment = Attachment::Ide {
        channel: (location / 2) as u8,
        drive: (location % 2) as u8,
    };
    let mut controller = Controller::new(attachment, 0, MOST_TRANSFER);
    controller.add(0, unit);
    Box::new(StorageDevice::new(
        controller,
        QueuedDisk::new(disk, memory),
    ))
}

/// The unit for a disk. `place` names it within the machine, if it has no identity of its own.
pub fn disk_unit(disk: &MachineDisk, place: &str, machine: Uuid) -> Unit {
    let identity = disk
        .identifier()
        .unwrap_or_else(|| Uuid::new_v5(&machine, place.as_bytes()));
    let block_size = disk.logical_sector_size();
    Unit::Disk(DiskUnit::new(DiskConfig {
        identity: Identity(identity.into_bytes()),
        block_size,
        physical_block_size: PHYSICAL_BLOCK_SIZE,
        blocks: disk.size() / u64::from(block_size),
        read_only: false,
        thin: true,
        most_transfer: MOST_TRANSFER,
    }))
}

/// The unit for a DVD drive with a disc, or without.
pub fn dvd_unit(disc: Option<&MachineDisk>, place: &str, machine: Uuid) -> Unit {
    let identity = Identity(Uuid::new_v5(&machine, place.as_bytes()).into_bytes());
    Unit::Dvd(DvdUnit::new(identity, disc.map(Disk::size)))
}
