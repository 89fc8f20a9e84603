//! Where requests go.

use crate::io::{Address, Completion, Io};
use crate::perform::perform;
use disk::Disk;
use guest_memory::GuestMemory;
use std::collections::{BTreeMap, VecDeque};
use vmbus::Doorbell;

/// What carries out requests of a controller, at once or on threads and queues of its own.
pub trait Media: Send {
    /// The bell to ring when [`Media::ended`] has something; not needed for what ends within `begin`.
    fn set_doorbell(&mut self, doorbell: Doorbell) {
        drop(doorbell);
    }

    /// Begins a request of a channel.
    fn begin(&mut self, subchannel: u16, io: Box<Io>, memory: &GuestMemory);

    /// Takes the completion of a request that has ended, and its channel.
    fn ended(&mut self) -> Option<(u16, Completion)>;

    /// Waits until nothing that is under way touches guest memory. Completions may be lost.
    fn settle(&mut self) {}

    /// The guest has put out a medium.
    fn ejected(&mut self, address: Address) {
        let _ = address;
    }
}

/// Disks that carry out each request at once, by unit.
#[derive(Default)]
pub struct Disks {
    disks: BTreeMap<u8, Box<dyn Disk>>,
    ended: VecDeque<(u16, Completion)>,
}

impl Disks {
    /// Puts the disk of a unit in.
    pub fn insert(&mut self, lun: u8, disk: Box<dyn Disk>) {
        self.disks.insert(lun, disk);
    }
}

impl Media for Disks {
    fn begin(&mut self, subchannel: u16, io: Box<Io>, memory: &GuestMemory) {
        let completion = match self.disks.get_mut(&io.address.lun) {
            Some(disk) => perform(io, disk.as_mut(), memory),
            None => io.finish(Err(scsi::Failure::Medium)),
        };
        self.ended
            .extend(completion.map(|completion| (subchannel, completion)));
    }

    fn ended(&mut self) -> Option<(u16, Completion)> {
        self.ended.pop_front()
    }
}
