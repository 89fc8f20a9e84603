//! A machine whose guest has many requests under way, and knows what must come of them.
#![allow(dead_code, clippy::unwrap_used)]

pub mod shuffled;

use disk::Disk;
use disk_queue::{Command, Engine, Queue, Request};
use disk_testing::{Moment, Random, SECTOR, Volatile};
use guest_memory::{GuestMemory, Layout, Mapping, Range, ScatterList};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Memory for one request.
const SLOT: u64 = 256 << 10;
/// Requests under way at most.
const SLOTS: u64 = 16;

/// A guest's write.
pub struct Write {
    /// Before the queue was told.
    begun: Moment,
    offset: u64,
    data: Vec<u8>,
    completed: bool,
    /// When the first flush was done that came after the completion.
    safe: Option<Moment>,
}

/// What becomes of a request.
enum Expected {
    Read(Arc<ScatterList>, Vec<u8>),
    Write(usize),
    Done,
}

/// A queue and the guest above it.
pub struct Machine<E: Engine> {
    pub queue: Queue<E>,
    pub writes: Vec<Write>,
    /// What the disk holds when everything is done.
    pub content: Vec<u8>,
    memory: Arc<GuestMemory>,
    expected: BTreeMap<u64, Expected>,
}

impl<E: Engine> Machine<E> {
    pub fn new(mut disk: Box<dyn Disk>, engine: Option<E>) -> Self {
        let mut content = vec![0; disk.size() as usize];
        disk.read(0, &mut content).unwrap();
        Self::knowing(content, disk, engine)
    }

    /// A machine whose disk holds `content`, and was not read yet.
    pub fn knowing(content: Vec<u8>, disk: Box<dyn Disk>, engine: Option<E>) -> Self {
        let length = SLOT * SLOTS;
        let range = Range {
            gpa: 0,
            length,
            offset: 0,
        };
        let mut layout = Layout::default();
        layout.add(range).unwrap();
        let memory = GuestMemory::new(Mapping::anonymous(length).unwrap(), layout).unwrap();
        Self {
            queue: Queue::with_engine(disk, engine),
            writes: Vec::new(),
            content,
            memory: Arc::new(memory),
            expected: BTreeMap::new(),
        }
    }

    /// Room for a request in up to three pieces of the memory, after waiting for one to be free.
    fn buffer(&mut self, random: &mut Random, length: usize) -> (u64, Arc<ScatterList>) {
        assert!(length as u64 <= SLOT / 2);
        while self.expected.len() as u64 == SLOTS {
            self.queue.wait().unwrap();
            self.take();
        }
        let id = (0..SLOTS).find(|id| !self.expected.contains_key(id));
        let id = id.unwrap();
        let (length, start) = (length as u64, id * SLOT);
        let cut = random.below(length);
        let pieces = [
            (start + SLOT - cut, cut),
            (start, (length - cut) / 2),
            (start + SLOT / 2, length - cut - (length - cut) / 2),
        ];
        let list = ScatterList::new(self.memory.clone(), pieces).unwrap();
        (id, Arc::new(list))
    }

    fn submit(&mut self, id: u64, command: Command, expected: Expected) {
        self.expected.insert(id, expected);
        self.queue.submit(Request { id, command });
        self.take();
    }

    pub fn write(&mut self, random: &mut Random, begun: Moment, offset: u64, data: Vec<u8>) {
        let (id, memory) = self.buffer(random, data.len());
        memory.write(0, &data);
        self.content[offset as usize..][..data.len()].copy_from_slice(&data);
        self.writes.push(Write {
            begun,
            offset,
            data,
            completed: false,
            safe: None,
        });
        let expected = Expected::Write(self.writes.len() - 1);
        self.submit(id, Command::Write { offset, memory }, expected);
    }

    pub fn read(&mut self, random: &mut Random, offset: u64, length: usize) {
        let (id, memory) = self.buffer(random, length);
        memory.write(0, &vec![0xee; length]);
        let bytes = self.content[offset as usize..][..length].to_vec();
        let expected = Expected::Read(memory.clone(), bytes);
        self.submit(id, Command::Read { offset, memory }, expected);
    }

    /// Everything that is completed now is safe from the moment that `moment` tells afterwards.
    pub fn flush(&mut self, moment: impl Fn() -> Moment) {
        let completed = self.writes.iter().enumerate().filter(|(_, w)| w.completed);
        let completed: Vec<usize> = completed.map(|(index, _)| index).collect();
        self.submit(SLOTS, Command::Flush, Expected::Done);
        assert!(
            !self.expected.contains_key(&SLOTS),
            "a flush waits for none"
        );
        for index in completed {
            self.writes[index].safe.get_or_insert(moment());
        }
    }

    /// What a discard leaves is taken from the disk.
    pub fn discard(&mut self, begun: Moment, offset: u64, length: u64) {
        let id = SLOTS + 1;
        self.submit(id, Command::Discard { offset, length }, Expected::Done);
        self.drain();
        let list = ScatterList::new(self.memory.clone(), [(0, SLOT)]).unwrap();
        let memory = Arc::new(list);
        let mut data = vec![0; length as usize];
        for (number, part) in data.chunks_mut(SLOT as usize).enumerate() {
            let part_list = [(0, part.len() as u64)];
            let list = ScatterList::new(self.memory.clone(), part_list).unwrap();
            let command = Command::Read {
                offset: offset + number as u64 * SLOT,
                memory: Arc::new(list),
            };
            self.submit(id, command, Expected::Done);
            self.drain();
            memory.read(0, part);
        }
        for (now, before) in data.iter().zip(&self.content[offset as usize..]) {
            assert!(now == before || *now == 0);
        }
        self.content[offset as usize..][..data.len()].copy_from_slice(&data);
        self.writes.push(Write {
            begun,
            offset,
            data,
            completed: true,
            safe: None,
        });
    }

    /// Looks at what is done.
    pub fn take(&mut self) {
        while let Some(completion) = self.queue.completion() {
            completion.result.unwrap();
            match self.expected.remove(&completion.id).unwrap() {
                Expected::Read(memory, expected) => {
                    let mut found = vec![0; expected.len()];
                    memory.read(0, &mut found);
                    assert!(found == expected);
                }
                Expected::Write(index) => self.writes[index].completed = true,
                Expected::Done => {}
            }
        }
    }

    /// Waits for everything.
    pub fn drain(&mut self) {
        while !self.expected.is_empty() {
            // There is room now, but there may have been none when it was tried.
            self.queue.retry();
            self.queue.wait().unwrap();
            self.take();
        }
    }
}

/// A sector over time: since when it may be so, since when it must be, and the bytes.
type Versions = Vec<(Moment, Option<Moment>, [u8; SECTOR as usize])>;

/// All writes, sector by sector, in their order.
pub struct Sectors {
    /// What was on the disk before.
    start: Vec<u8>,
    written: BTreeMap<u64, Versions>,
}

impl Sectors {
    /// `start` is what was on the disk before.
    pub fn new(start: Vec<u8>, writes: &[Write]) -> Self {
        let mut written: BTreeMap<u64, Versions> = BTreeMap::new();
        for write in writes {
            let end = write.offset + write.data.len() as u64;
            let first = write.offset / SECTOR * SECTOR;
            for sector in (first..end).step_by(SECTOR as usize) {
                let versions = written.entry(sector).or_insert_with(|| {
                    let bytes = start[sector as usize..][..SECTOR as usize].try_into();
                    let moment = Moment::default();
                    vec![(moment, Some(moment), bytes.unwrap())]
                });
                let mut bytes = versions.last().unwrap().2;
                let (from, to) = (sector.max(write.offset), (sector + SECTOR).min(end));
                bytes[(from - sector) as usize..(to - sector) as usize].copy_from_slice(
                    &write.data[(from - write.offset) as usize..(to - write.offset) as usize],
                );
                versions.push((write.begun, write.safe, bytes));
            }
        }
        Self { start, written }
    }

    /// Whether a disk that was opened after a cut at `moment` holds what it must: each sector as the
    /// last write left it that was completed before a flush, or as one of the writes since then did.
    pub fn judge(&self, moment: Moment, disk: &mut dyn Disk) -> Result<(), String> {
        let mut content = vec![0; disk.size() as usize];
        disk.read(0, &mut content).map_err(|e| e.to_string())?;
        for (sector, versions) in &self.written {
            let here = *sector as usize..(*sector + SECTOR) as usize;
            let safe = |(_, safe, _): &_| matches!(safe, Some(safe) if *safe <= moment);
            let kept = versions.iter().rposition(safe).unwrap_or(0);
            let mut allowed = versions[kept..]
                .iter()
                .filter(|(begun, ..)| *begun <= moment);
            if !allowed.any(|(_, _, bytes)| *bytes == content[here.clone()]) {
                return Err(format!(
                    "the sector at {sector:#x} is neither as it was flushed nor as it was written since"
                ));
            }
            content[here.clone()].copy_from_slice(&self.start[here]);
        }
        match content == self.start {
            true => Ok(()),
            false => Err("a sector has changed that was never written".into()),
        }
    }
}

/// Waits for everything, making room again if that was what was missing. Answers whether it was.
pub fn with_room<E: Engine>(machine: &mut Machine<E>, storage: &Volatile) -> bool {
    storage.limit_writes(None);
    let stalled = machine.queue.stalled().is_some();
    machine.queue.retry();
    machine.take();
    stalled
}
