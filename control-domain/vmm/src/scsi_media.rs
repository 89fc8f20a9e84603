//! The media of a SCSI controller: a queue for each unit that has one.

use crate::disk::MachineDisk;
use crate::queued_disk::QueuedDisk;
use guest_memory::GuestMemory;
use scsi::Failure;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use storvsp::{Address, Completion, Io, Media};
use vmbus::Doorbell;

/// The media by unit.
pub struct ScsiMedia {
    memory: Arc<GuestMemory>,
    by_unit: BTreeMap<u8, QueuedDisk>,
    /// Of requests that ended otherwise than by a unit's queue.
    ended: VecDeque<(u16, Completion)>,
    doorbell: Option<Doorbell>,
}

impl ScsiMedia {
    /// None yet.
    pub fn new(memory: Arc<GuestMemory>) -> Self {
        Self {
            memory,
            by_unit: BTreeMap::new(),
            ended: VecDeque::new(),
            doorbell: None,
        }
    }

    /// Puts a unit's medium in.
    pub fn insert(&mut self, unit: u8, disk: MachineDisk) {
        self.remove(unit);
        let mut queue = QueuedDisk::new(disk, self.memory.clone());
        if let Some(doorbell) = &self.doorbell {
            queue.set_doorbell(doorbell.clone());
        }
        self.by_unit.insert(unit, queue);
    }

    /// Takes a unit's medium out, when what is under way there has ended; what waits for room on the
    /// host fails.
    pub fn remove(&mut self, unit: u8) {
        if let Some(mut queue) = self.by_unit.remove(&unit) {
            queue.abandon();
            self.ended.extend(std::iter::from_fn(|| queue.ended()));
        }
    }

    /// Waits for what is under way at a unit.
    ///
    /// # Errors
    /// Something there waits for room on the host.
    pub fn settle_unit(&mut self, unit: u8) -> Result<(), String> {
        let Some(queue) = self.by_unit.get_mut(&unit) else {
            return Ok(());
        };
        queue.settle();
        match queue.under_way() {
            0 => Ok(()),
            _ => Err(format!(
                "{}: a request waits for room on the host; make room first",
                queue.disk().name()
            )),
        }
    }

    /// The medium of a unit.
    pub fn disk(&self, unit: u8) -> Option<&MachineDisk> {
        self.by_unit.get(&unit).map(QueuedDisk::disk)
    }

    /// Requests under way, of all units.
    pub fn under_way(&self) -> usize {
        self.by_unit.values().map(QueuedDisk::under_way).sum()
    }
}

impl Media for ScsiMedia {
    fn set_doorbell(&mut self, doorbell: Doorbell) {
        for queue in self.by_unit.values_mut() {
            queue.set_doorbell(doorbell.clone());
        }
        self.doorbell = Some(doorbell);
    }

    fn begin(&mut self, subchannel: u16, io: Box<Io>, memory: &GuestMemory) {
        match self.by_unit.get_mut(&io.address.lun) {
            Some(queue) => queue.begin(subchannel, io, memory),
            None => {
                let completion = io.finish(Err(Failure::Medium));
                self.ended
                    .extend(completion.map(|completion| (subchannel, completion)));
            }
        }
    }

    fn ended(&mut self) -> Option<(u16, Completion)> {
        let ended = self.ended.pop_front();
        ended.or_else(|| self.by_unit.values_mut().find_map(Media::ended))
    }

    fn settle(&mut self) {
        self.by_unit.values_mut().for_each(Media::settle);
    }

    fn ejected(&mut self, address: Address) {
        self.remove(address.lun);
    }
}
