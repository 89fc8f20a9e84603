//! A disk of a storage controller with many requests under way, by io_uring where the kernel has it.
//!
//! A thread waits for the kernel's word and rings the device's doorbell; everything else happens on the
//! device's own thread.

use crate::disk::{MachineDisk, WAIT_FOR_ROOM};
use disk::DiskError;
use disk_queue::{Command, Queue, Request};
use guest_memory::{GuestMemory, ScatterList};
use rustix::fs::{OFlags, fcntl_setfl};
use scsi::{Failure, Range};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use storvsp::{Completion, Io, Media, perform};
use vmbus::Doorbell;

/// A disk behind a queue.
pub struct QueuedDisk {
    queue: Queue,
    /// The same disk, for what the queue has no command for.
    disk: MachineDisk,
    memory: Arc<GuestMemory>,
    under_way: BTreeMap<u64, UnderWay>,
    next_id: u64,
    ended: VecDeque<(u16, Completion)>,
    doorbell: Option<Doorbell>,
    waiter: Option<Waiter>,
    /// A thread rings in a while: something waits for room on the host.
    will_ring: Arc<AtomicBool>,
    /// It was said that something waits for room.
    told_no_room: bool,
}

/// A request of the guest, and what the queue has to do for it after its present command.
struct UnderWay {
    subchannel: u16,
    io: Box<Io>,
    left: VecDeque<Command>,
}

impl QueuedDisk {
    /// Puts a queue before a disk.
    pub fn new(disk: MachineDisk, memory: Arc<GuestMemory>) -> Self {
        Self {
            queue: Queue::new(Box::new(disk.clone())),
            disk,
            memory,
            under_way: BTreeMap::new(),
            next_id: 0,
            ended: VecDeque::new(),
            doorbell: None,
            waiter: None,
            will_ring: Arc::default(),
            told_no_room: false,
        }
    }

    /// What the queue has to do for a request; none: it has no command for it. An error: the guest's
    /// buffer is no memory.
    fn commands(&self, io: &Io) -> Result<Option<VecDeque<Command>>, ()> {
        let memory = || {
            let pieces = io.buffer.pieces().iter().map(|p| (p.gpa, p.length));
            let list = ScatterList::new(self.memory.clone(), pieces).map_err(|_| ())?;
            Ok(Arc::new(list))
        };
        let commands = match &io.request {
            scsi::Request::Read(Range { offset, .. }) => vec![Command::Read {
                offset: *offset,
                memory: memory()?,
            }],
            scsi::Request::Write { range, durable } => {
                let write = Command::Write {
                    offset: range.offset,
                    memory: memory()?,
                };
                match durable {
                    true => vec![write, Command::Flush],
                    false => vec![write],
                }
            }
            scsi::Request::Flush => vec![Command::Flush],
            scsi::Request::Discard(ranges) => {
                let discard = |range: &Range| Command::Discard {
                    offset: range.offset,
                    length: range.length,
                };
                ranges.iter().map(discard).collect()
            }
            scsi::Request::Fill { .. } | scsi::Request::Verify { .. } => return Ok(None),
        };
        Ok(Some(commands.into()))
    }

    fn submit(&mut self, mut request: UnderWay) {
        match request.left.pop_front() {
            Some(command) => {
                let id = self.next_id;
                self.next_id += 1;
                self.under_way.insert(id, request);
                self.queue.submit(Request { id, command });
            }
            None => self.end(request.subchannel, request.io.finish(Ok(()))),
        }
    }

    fn end(&mut self, subchannel: u16, completion: Option<Completion>) {
        self.ended
            .extend(completion.map(|completion| (subchannel, completion)));
    }

    fn collect(&mut self) {
        while let Some(done) = self.queue.completion() {
            let Some(request) = self.under_way.remove(&done.id) else {
                continue;
            };
            match done.result {
                Ok(()) => self.submit(request),
                Err(error) => {
                    eprintln!("entente-vmm: {}: {error}", self.disk.name());
                    let completion = request.io.finish(Err(failure(&error)));
                    self.end(request.subchannel, completion);
                }
            }
        }
    }

    /// Hands over what was submitted, and takes what is done. Answers whether more may come.
    ///
    /// What the kernel has is never given back to the guest before the kernel is done with it: the guest would use
    /// the memory for something else.
    fn advance(&mut self, wait: bool) -> bool {
        let result = match wait {
            true => self.queue.wait(),
            false => self.queue.advance(),
        };
        if let Err(error) = &result {
            eprintln!(
                "entente-vmm: {}: {error}; what is under way stays so",
                self.disk.name()
            );
        }
        self.collect();
        if self.queue.stalled().is_some() && !self.will_ring.load(SeqCst) {
            self.queue.retry();
            self.collect();
            self.ring_if_stalled();
        }
        if self.told_no_room && self.queue.stalled().is_none() {
            self.told_no_room = false;
            self.disk.tell_has_room();
        }
        result.is_ok()
    }

    /// Nobody else says when there is room: it is looked for again after a while.
    fn ring_if_stalled(&mut self) {
        let (Some(error), Some(doorbell)) = (self.queue.stalled(), &self.doorbell) else {
            return;
        };
        if !std::mem::replace(&mut self.told_no_room, true) {
            self.disk.tell_out_of_room(error);
        }
        let (doorbell, will_ring) = (doorbell.clone(), self.will_ring.clone());
        will_ring.store(true, SeqCst);
        let ring = move || {
            std::thread::sleep(WAIT_FOR_ROOM);
            will_ring.store(false, SeqCst);
            doorbell.ring();
        };
        let thread = std::thread::Builder::new().name("disk without room".into());
        if thread.spawn(ring).is_err() {
            // Then with the guest's next request.
            self.will_ring.store(false, SeqCst);
        }
    }

    /// The disk.
    pub fn disk(&self) -> &MachineDisk {
        &self.disk
    }

    /// Number of requests that have not ended.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Ends everything: what is under way when it is done, what waits for room on the host by an error.
    pub fn abandon(&mut self) {
        self.wait_for_all();
        self.fail_all();
    }

    fn fail_all(&mut self) {
        for (_, request) in std::mem::take(&mut self.under_way) {
            let completion = request.io.finish(Err(Failure::Medium));
            self.end(request.subchannel, completion);
        }
    }

    fn wait_for_all(&mut self) {
        while !self.under_way.is_empty() && self.queue.stalled().is_none() {
            if !self.advance(true) {
                break;
            }
        }
    }
}

fn failure(error: &DiskError) -> Failure {
    match error {
        DiskError::ReadOnly => Failure::ReadOnly,
        _ => Failure::Medium,
    }
}

impl Media for QueuedDisk {
    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.doorbell = Some(doorbell.clone());
        let event = self.queue.event().map(|event| event.try_clone_to_owned());
        self.waiter = match event.transpose() {
            Ok(event) => event.and_then(|event| Waiter::start(event, doorbell).ok()),
            Err(_) => None,
        };
    }

    fn begin(&mut self, subchannel: u16, io: Box<Io>, _: &GuestMemory) {
        match self.commands(&io) {
            Ok(Some(left)) => self.submit(UnderWay {
                subchannel,
                io,
                left,
            }),
            Ok(None) => {
                self.wait_for_all();
                let completion = perform(io, &mut self.disk, &*self.memory);
                self.end(subchannel, completion);
            }
            Err(()) => self.end(subchannel, io.refuse()),
        }
    }

    fn ended(&mut self) -> Option<(u16, Completion)> {
        if self.ended.is_empty() {
            // Without a thread that says when there is something, it is waited for here.
            let wait = self.waiter.is_none() && self.queue.event().is_some();
            self.advance(wait && !self.under_way.is_empty());
        }
        self.ended.pop_front()
    }

    fn settle(&mut self) {
        self.wait_for_all();
    }
}

/// The thread that waits for the kernel's word.
struct Waiter {
    event: OwnedFd,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Waiter {
    fn start(event: OwnedFd, doorbell: Doorbell) -> io::Result<Self> {
        // Who reads it sleeps until the kernel has written to it; only this thread reads it.
        fcntl_setfl(&event, OFlags::empty())?;
        let over = Arc::new(AtomicBool::new(false));
        let (own, ends) = (event.try_clone()?, over.clone());
        let thread = std::thread::Builder::new()
            .name("disk events".into())
            .spawn(move || {
                let mut count = [0; 8];
                while rustix::io::read(&own, &mut count).is_ok() && !ends.load(SeqCst) {
                    doorbell.ring();
                }
            })?;
        Ok(Self {
            event,
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let woken = rustix::io::write(&self.event, &1u64.to_ne_bytes()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use guest_buffer::{Buffer, Piece};
    use scsi::{DiskConfig, DiskUnit, Identity, Unit};
    use storvsp::{Attachment, Controller, Outcome, Packet};

    const BLOCKS: u64 = 4096;

    /// READ (10) or WRITE (10) of `count` blocks, to or from `gpa`.
    fn request(
        controller: &mut Controller,
        opcode: u8,
        first: u8,
        count: u8,
        gpa: u64,
        memory: &GuestMemory,
    ) -> Box<Io> {
        let mut payload = [0; 64];
        payload[0] = 3;
        payload[20..22].copy_from_slice(&[10, 20]);
        let length = u64::from(count) * 512;
        payload[24..28].copy_from_slice(&(length as u32).to_le_bytes());
        payload[28..38].copy_from_slice(&[opcode, 8, 0, 0, 0, first, 0, 0, count, 0]);
        let packet = Packet {
            transaction_id: first.into(),
            wants_completion: true,
            payload: &payload,
            buffer: Buffer::new([Piece { gpa, length }]),
        };
        match controller.receive(packet, memory) {
            Outcome::Start(io) => io,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_end_in_any_order_and_ring_the_bell() {
        let path = std::env::temp_dir().join(format!("queued-disk-{}", std::process::id()));
        std::fs::write(&path, vec![0; BLOCKS as usize * 512]).unwrap();
        let options = disks::OpenOptions {
            format: Some(disks::Format::Raw),
            ..disks::OpenOptions::writable()
        };
        let raw = disks::open(&path, &options).unwrap();
        let disk = MachineDisk::new(raw.disk, "test".into(), None);
        let memory = Arc::new(GuestMemory::anonymous(2 << 20).unwrap());
        let mut controller = Controller::new(
            Attachment::Ide {
                channel: 0,
                drive: 0,
            },
            0,
            1 << 20,
        );
        controller.add(
            0,
            Unit::Disk(DiskUnit::new(DiskConfig {
                identity: Identity([1; 16]),
                block_size: 512,
                physical_block_size: 4096,
                blocks: BLOCKS,
                read_only: false,
                thin: true,
                most_transfer: 1 << 20,
            })),
        );
        for (operation, version) in [(7, 0), (9, 0x602u16), (10, 0), (8, 0)] {
            let mut payload = [0; 64];
            payload[0] = operation;
            payload[12..14].copy_from_slice(&version.to_le_bytes());
            let packet = Packet {
                transaction_id: 0,
                wants_completion: false,
                payload: &payload,
                buffer: Buffer::default(),
            };
            controller.receive(packet, &*memory);
        }
        let mut media = QueuedDisk::new(disk, memory.clone());
        let doorbell = Doorbell::default();
        media.set_doorbell(doorbell.clone());
        let finish = |media: &mut QueuedDisk, count: usize| {
            let mut done = Vec::new();
            while done.len() < count {
                while let Some((subchannel, completion)) = media.ended() {
                    assert_eq!((subchannel, completion.payload[14]), (0, 1));
                    done.push(completion.transaction_id);
                }
                if done.len() < count {
                    assert!(doorbell.wait(Some(std::time::Duration::from_secs(30))));
                }
            }
            done.sort_unstable();
            done
        };
        let data: Vec<u8> = (0..64 * 512).map(|i| (i / 512 + i) as u8).collect();
        memory.write(0x1000, &data).unwrap();
        for first in 0..64 {
            let gpa = 0x1000 + u64::from(first) * 512;
            let io = request(&mut controller, 0x2a, first, 1, gpa, &memory);
            media.begin(0, io, &memory);
        }
        assert_eq!(finish(&mut media, 64), (0..64).collect::<Vec<u64>>());
        let io = request(&mut controller, 0x28, 0, 64, 0x10_0000, &memory);
        media.begin(0, io, &memory);
        finish(&mut media, 1);
        let mut back = vec![0; data.len()];
        memory.read(0x10_0000, &mut back).unwrap();
        assert!(back == data);
        media.settle();
        drop(media);
        assert!(std::fs::read(&path).unwrap()[..data.len()] == data);
        std::fs::remove_file(path).unwrap();
    }
}
