//! Real files by io_uring, and by the disk alone, against an array: the same must come of both.
#![allow(clippy::unwrap_used)]

mod machine;

use disk_queue::{Command, Engine, Finished, Operation, Queue, Request, Ring};
use disk_testing::{Moment, Random};
use disks::{NewDisk, NewKind, OpenOptions};
use guest_memory::{GuestMemory, Layout, Mapping, Range, ScatterList};
use machine::Machine;
use machine::shuffled::Shuffled;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 6 * MIB;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("disk-queue-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn create(&self, name: &str, kind: NewKind) -> PathBuf {
        let path = self.0.join(name);
        let mut new = NewDisk::new(kind, SIZE);
        if !matches!(new.kind, NewKind::Raw | NewKind::VhdFixed) {
            new.block_size_bytes = Some(MIB as u32);
        }
        disks::create(&path, &new).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Box<dyn disk::Disk> {
    let raw = path.extension().is_some_and(|name| name == "img");
    let options = OpenOptions {
        format: raw.then_some(disks::Format::Raw),
        ..OpenOptions::writable()
    };
    disks::open(path, &options).unwrap().disk
}

/// What a guest does with a disk, twice, with what it left in between.
fn use_disk<E: Engine>(path: &Path, engine: impl Fn() -> Option<E>) {
    let mut random = Random::new(1);
    let mut expected = None;
    for _ in 0..2 {
        let mut machine = Machine::new(open(path), engine());
        if let Some(expected) = expected {
            assert!(machine.content == expected, "{}", path.display());
        }
        for _ in 0..150 {
            let length = match random.below(4) {
                0 => 1 + random.below(128 << 10),
                _ => 512 * (1 + random.below(16)),
            };
            let offset = random.below(SIZE - length) / 512 * 512;
            match random.below(10) {
                0 => machine.flush(Moment::default),
                1 => {
                    let block = offset / MIB * MIB;
                    machine.discard(Moment::default(), block, MIB);
                }
                2..5 => machine.read(&mut random, offset, length as usize),
                _ => {
                    let data = (0..length).map(|at| (at / 5) as u8 ^ offset as u8);
                    let data = data.collect();
                    machine.write(&mut random, Moment::default(), offset, data);
                }
            }
            if random.below(4) == 0 {
                machine.queue.advance().unwrap();
                machine.take();
            }
        }
        machine.drain();
        machine.queue.close().unwrap();
        expected = Some(machine.content);
    }
}

/// All kinds of disk, in a folder.
fn disks_of(folder: &Folder) -> Vec<PathBuf> {
    let mut paths = vec![
        folder.create("raw.img", NewKind::Raw),
        folder.create("fixed.vhd", NewKind::VhdFixed),
        folder.create("dynamic.vhd", NewKind::VhdDynamic),
        folder.create("dynamic.vhdx", NewKind::VhdxDynamic),
    ];
    for (base, child) in [("base.vhd", "child.vhd"), ("base.vhdx", "child.vhdx")] {
        let (kind, of_child): (_, fn(PathBuf) -> NewKind) = match base {
            "base.vhd" => (NewKind::VhdDynamic, |parent| NewKind::VhdDifferencing {
                parent,
            }),
            _ => (NewKind::VhdxDynamic, |parent| NewKind::VhdxDifferencing {
                parent,
            }),
        };
        let base = folder.create(base, kind);
        let mut disk = open(&base);
        disk.write(MIB / 2, &vec![7; 3 * MIB as usize]).unwrap();
        disk.close().unwrap();
        drop(disk);
        paths.push(folder.create(child, of_child(base)));
    }
    paths
}

#[test]
fn io_uring_does_what_the_disk_does() {
    if let Err(error) = Ring::new() {
        eprintln!("skipped: no io_uring on this host: {error}");
        return;
    }
    let folder = Folder::new("ring");
    for path in disks_of(&folder) {
        use_disk(&path, || Some(Ring::new().unwrap()));
    }
}

#[test]
fn without_an_engine_the_disk_does_it_all() {
    let folder = Folder::new("alone");
    for path in disks_of(&folder) {
        use_disk(&path, || None::<Shuffled>);
    }
}

#[test]
fn the_event_tells_of_what_is_done_behind_the_callers_back() {
    let folder = Folder::new("event");
    let mut queue = Queue::new(open(&folder.create("raw.img", NewKind::Raw)));
    if let Some(error) = queue.refused() {
        eprintln!("skipped: no io_uring on this host: {error}");
        return;
    }
    let mut layout = Layout::default();
    let length = 2 * MIB;
    let range = Range {
        gpa: 0,
        length,
        offset: 0,
    };
    layout.add(range).unwrap();
    let memory = GuestMemory::new(Mapping::anonymous(length).unwrap(), layout).unwrap();
    let list = ScatterList::new(Arc::new(memory), [(0, length)]).unwrap();
    let memory = Arc::new(list);
    // Long writes are handed to the kernel.
    queue.submit(Request {
        id: 5,
        command: Command::Write { offset: 0, memory },
    });
    queue.advance().unwrap();
    let completion = match queue.completion() {
        Some(completion) => completion,
        None => {
            let event = queue.event().unwrap();
            let mut waits = [rustix::event::PollFd::new(
                &event,
                rustix::event::PollFlags::IN,
            )];
            let timeout = rustix::event::Timespec {
                tv_sec: 60,
                tv_nsec: 0,
            };
            assert_eq!(rustix::event::poll(&mut waits, Some(&timeout)).unwrap(), 1);
            queue.advance().unwrap();
            queue.completion().unwrap()
        }
    };
    assert_eq!(completion.id, 5);
    completion.result.unwrap();
}

/// Moves a sector of each operation at a time, at once, and rings for nothing.
#[derive(Default)]
struct Short(Vec<Operation>);

impl Engine for Short {
    fn start(&mut self, operation: Operation) {
        self.0.push(operation);
    }

    fn advance(&mut self, _: bool, finished: &mut Vec<Finished>) -> std::io::Result<()> {
        for operation in self.0.drain(..) {
            let mut sector = [0; 512];
            operation.memory.read(operation.at, &mut sector);
            operation
                .file
                .write_at(operation.file_offset, &sector)
                .unwrap();
            finished.push(Finished {
                operation,
                result: Ok(512),
            });
        }
        Ok(())
    }
}

#[test]
fn what_is_begun_while_completions_are_taken_is_handed_over_too() {
    let folder = Folder::new("short");
    let disk = open(&folder.create("raw.img", NewKind::Raw));
    let memory = Arc::new(GuestMemory::anonymous(2 << 20).unwrap());
    let mut queue = Queue::with_engine(disk, Some(Short::default()));
    for id in 0..2 {
        // The second one waits for the first: they write to the same place.
        let memory = ScatterList::new(memory.clone(), [(0, 4096)]).unwrap();
        let command = Command::Write {
            offset: 0,
            memory: Arc::new(memory),
        };
        queue.submit(Request { id, command });
    }
    queue.advance().unwrap();
    let done: Vec<u64> = std::iter::from_fn(|| queue.completion())
        .map(|completion| completion.id)
        .collect();
    assert_eq!(done, [0, 1]);
}

/// Data that lies where a block's bitmap does not vouch for it is not the disk's.
#[test]
fn what_a_bitmap_denies_is_not_read() {
    let folder = Folder::new("presumed");
    let path = folder.create("dynamic.vhd", NewKind::VhdDynamic);
    let mut disk = open(&path);
    disk.write(0, &vec![7; SIZE as usize]).unwrap();
    disk.close().unwrap();
    drop(disk);
    // Sectors 2 to 9 of the second block were never written, says its bitmap.
    let mut file = std::fs::read(&path).unwrap();
    let entry = u32::from_be_bytes(file[1536 + 4..][..4].try_into().unwrap());
    let bitmap = entry as usize * 512;
    assert_eq!(file[bitmap..bitmap + 256], [0xff; 256]);
    file[bitmap..bitmap + 2].copy_from_slice(&[0xc0, 0x3f]);
    std::fs::write(&path, &file).unwrap();
    let mut random = Random::new(3);
    let denied = MIB as usize + 1024..MIB as usize + 5120;
    let mut content = vec![7; SIZE as usize];
    content[denied].fill(0);
    for round in 0..20 {
        let engine = Some(Shuffled::new(round));
        let mut machine = Machine::knowing(content.clone(), open(&path), engine);
        for _ in 0..40 {
            let offset = MIB - 4096 + random.below(16) * 512;
            machine.read(&mut random, offset, 4096);
        }
        machine.drain();
    }
}
