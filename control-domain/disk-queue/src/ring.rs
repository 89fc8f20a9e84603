//! The engine that ships: io_uring. This file holds the crate's unsafe code.
//!
//! The kernel is told addresses, and reads and writes there until it says that it is done. So all that it
//! was told of is kept in a slot until then: the scatter-gather list, which keeps the guest's
//! memory mapped, the file, and the vectors. Where that can't be had, at the very end, the slots are leaked.
//!
//! If the kernel refuses the ring itself, what it had taken is waited for by looking at the ring's memory; what it
//! had not taken, and all that comes later, is done at once by plain reads and writes. No operation is said to
//! be over that the kernel may still be at.

use crate::{Engine, Finished, Operation};
use disk::Access;
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Writes up to this many bytes are made at once. They end in the page cache, which takes no longer than handing
/// them to another thread, as io_uring does where a file system can't promise not to wait (ext4): on two CPUs
/// that took twice the time. Longer ones are handed over: a guest that writes much is slowed down by
/// the kernel sooner or later, and its reads need not be.
const SHORT_WRITE: u64 = 64 << 10;
/// Of reads of at least this many bytes, if there are several, every second is made by another thread of the kernel's:
/// what the page cache has is copied on two CPUs then, which took three quarters of the time.
const LONG_READ: u64 = 64 << 10;
/// So many operations are handed over together where a drive is waited for: of more the kernel would hold back the first
/// until it has looked at all, and the drive would wait (`IO_PLUG_THRESHOLD`). 32 together took a quarter longer.
const HANDED_TO_DRIVE: usize = 2;
/// So many are handed over together where the page cache has what is read: each time costs the way into the kernel.
const HANDED_TO_CACHE: usize = 16;
/// As many pieces as the kernel takes at once (`IOV_MAX`); what is behind them is told afterwards.
const MOST_VECTORS: usize = 1024;
/// Entries that are handed over at once; more are handed over in turn.
const ENTRIES: u32 = 128;

/// After which pause a ring is looked at that the kernel refused.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// An io_uring.
pub struct Ring {
    ring: IoUring,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Slots whose operation the kernel was not told of.
    untold: VecDeque<usize>,
    /// Slots whose operation lies in the kernel's queue, and that it has not taken.
    told: VecDeque<usize>,
    /// Whether the last long read was for another thread.
    elsewhere: bool,
    /// So many are handed over together: [`HANDED_TO_DRIVE`] or [`HANDED_TO_CACHE`], as the last time told.
    together: usize,
    /// Whether the kernel refused the ring, and is asked no more.
    broken: bool,
    /// What is over already.
    over: Vec<Finished>,
    /// Of a write that is made at once.
    vectors: Vec<Vector>,
    event: OwnedFd,
}

/// What the kernel may use.
struct Slot {
    operation: Operation,
    vectors: Vec<Vector>,
    /// Whether another thread of the kernel's makes it (see [`LONG_READ`]).
    elsewhere: bool,
}

/// As `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Vector {
    address: usize,
    length: usize,
}
const _: () = assert!(
    size_of::<Vector>() == size_of::<libc::iovec>()
        && align_of::<Vector>() == align_of::<libc::iovec>()
);

impl Ring {
    /// A new ring.
    ///
    /// # Errors
    /// If the kernel has none, or allows none.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        Ok(Self {
            ring,
            slots: Vec::new(),
            free: Vec::new(),
            untold: VecDeque::new(),
            told: VecDeque::new(),
            elsewhere: false,
            together: HANDED_TO_DRIVE,
            broken: false,
            over: Vec::new(),
            vectors: Vec::new(),
            event,
        })
    }

    /// Operations that the kernel has, or is to have.
    fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts what fits into the kernel's queue. Answers whether there is anything to hand over.
    fn fill(&mut self) -> bool {
        let mut queue = self.ring.submission();
        while !queue.is_full()
            && let Some(index) = self.untold.pop_front()
        {
            let Some(slot) = &self.slots[index] else {
                continue;
            };
            let Some(entry) = slot.entry() else {
                continue;
            };
            let entry = match slot.elsewhere {
                true => entry.flags(Flags::ASYNC),
                false => entry,
            };
            // SAFETY: the entry's descriptor is of a file, its addresses are of vectors and of guest memory, that the slot
            // owns or keeps alive; the slot is emptied only in `collect`, when the kernel has said that it is done with
            // it, and `drop` waits for that. Guest memory is only ever accessed by atomics and by copies.
            let pushed = unsafe { queue.push(&entry.user_data(index as u64)) };
            debug_assert!(pushed.is_ok(), "there was room");
            self.told.push_back(index);
        }
        !queue.is_empty()
    }

    /// Lets the kernel take what is in its queue, and waits for the end of an operation if that is wanted.
    fn enter(&mut self, wait: bool) {
        match self.ring.submit_and_wait(usize::from(wait)) {
            Ok(_) => {}
            // Its queue of completions is full, or it is short of memory: it can go on when some were taken.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) => {}
            Err(_) => self.broken = true,
        }
        // It takes entries in turn.
        let left = self.ring.submission().len();
        let taken = self.told.len().saturating_sub(left);
        self.told.drain(..taken);
        if self.broken {
            let not_taken: Vec<usize> = self.told.drain(..).chain(self.untold.drain(..)).collect();
            for index in not_taken {
                if let Some(Slot {
                    operation, vectors, ..
                }) = self.slots[index].take()
                {
                    self.free.push(index);
                    let result = at_once(&operation, &vectors);
                    self.over.push(Finished { operation, result });
                }
            }
        }
    }

    /// Lets the kernel have what it was not told of, and sees whether that waits for a drive.
    fn hand_over(&mut self) {
        let is_here = |index: &usize| self.slots[*index].as_ref().is_some_and(|s| !s.elsewhere);
        let one = self.untold.iter().copied().find(is_here);
        self.fill();
        self.enter(false);
        let mut finished = core::mem::take(&mut self.over);
        self.collect(&mut finished);
        self.over = finished;
        if let Some(one) = one {
            self.together = match self.slots[one] {
                None => HANDED_TO_CACHE,
                Some(_) => HANDED_TO_DRIVE,
            };
        }
    }

    /// Takes what the kernel is done with.
    fn collect(&mut self, finished: &mut Vec<Finished>) {
        for entry in self.ring.completion() {
            let index = entry.user_data() as usize;
            let Some(Slot { operation, .. }) = self.slots[index].take() else {
                continue;
            };
            self.free.push(index);
            let result = match entry.result() {
                error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
                bytes => Ok(bytes as u64),
            };
            finished.push(Finished { operation, result });
        }
    }
}

impl Vector {
    /// Where the bytes of an operation lie.
    fn of(operation: &Operation) -> impl Iterator<Item = Self> {
        operation
            .memory
            .addresses(operation.at, operation.length)
            .map(|(address, length)| Self {
                address: address as usize,
                length: length as usize,
            })
    }
}

/// Moves the bytes of an operation, whose vectors these are, without the ring. Answers how many.
fn at_once(operation: &Operation, vectors: &[Vector]) -> io::Result<u64> {
    let Some(file) = operation.file.descriptor() else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let move_bytes = match operation.access {
        Access::Read => libc::preadv,
        Access::Write => libc::pwritev,
    };
    let count = vectors.len().min(MOST_VECTORS);
    // SAFETY: the vectors are laid out as `iovec` (asserted above), and lie in guest memory that stays mapped while
    // the operation is borrowed from the caller. The kernel reads or writes there as another processor might, and
    // is done when the call returns.
    let moved = unsafe {
        move_bytes(
            file.as_raw_fd(),
            vectors.as_ptr().cast(),
            count as libc::c_int,
            operation.file_offset as libc::off_t,
        )
    };
    u64::try_from(moved).map_err(|_| io::Error::last_os_error())
}

impl Slot {
    /// For the kernel; none if the file has no descriptor.
    fn entry(&self) -> Option<Entry> {
        let Operation {
            access,
            file,
            file_offset: offset,
            ..
        } = &self.operation;
        let file = types::Fd(file.descriptor()?.as_raw_fd());
        let vectors = &self.vectors[..self.vectors.len().min(MOST_VECTORS)];
        Some(match (vectors, access) {
            ([Vector { address, length }], Access::Read) => {
                opcode::Read::new(file, *address as *mut u8, *length as u32)
                    .offset(*offset)
                    .build()
            }
            ([Vector { address, length }], Access::Write) => {
                opcode::Write::new(file, *address as *const u8, *length as u32)
                    .offset(*offset)
                    .build()
            }
            (vectors, Access::Read) => {
                opcode::Readv::new(file, vectors.as_ptr().cast(), vectors.len() as u32)
                    .offset(*offset)
                    .build()
            }
            (vectors, Access::Write) => {
                opcode::Writev::new(file, vectors.as_ptr().cast(), vectors.len() as u32)
                    .offset(*offset)
                    .build()
            }
        })
    }
}

impl Engine for Ring {
    fn start(&mut self, operation: Operation) {
        let is_short_write = operation.access == Access::Write && operation.length <= SHORT_WRITE;
        if self.broken || is_short_write || operation.file.descriptor().is_none() {
            self.vectors.clear();
            self.vectors.extend(Vector::of(&operation));
            let result = at_once(&operation, &self.vectors);
            self.over.push(Finished { operation, result });
            return;
        }
        let is_long_read = operation.access == Access::Read && operation.length >= LONG_READ;
        if is_long_read {
            self.elsewhere = !self.elsewhere && self.under_way() > 0;
        }
        let slot = Some(Slot {
            vectors: Vector::of(&operation).collect(),
            elsewhere: is_long_read && self.elsewhere,
            operation,
        });
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.untold.push_back(index);
        if self.untold.len() >= self.together {
            self.hand_over();
        }
    }

    fn advance(&mut self, wait: bool, finished: &mut Vec<Finished>) -> io::Result<()> {
        let before = finished.len();
        loop {
            finished.append(&mut self.over);
            let something = !self.broken && self.fill();
            let wait = wait && self.under_way() > 0 && finished.len() == before;
            match self.broken {
                false if something || wait => self.enter(wait),
                true if wait => std::thread::sleep(LOOK_AGAIN),
                _ => {}
            }
            finished.append(&mut self.over);
            self.collect(finished);
            if self.untold.is_empty() && (!wait || finished.len() > before) {
                return Ok(());
            }
        }
    }

    fn event(&self) -> Option<BorrowedFd<'_>> {
        Some(self.event.as_fd())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // What the kernel was not told of needs no waiting, but it may be in its queue already.
        for index in core::mem::take(&mut self.untold) {
            self.slots[index] = None;
            self.free.push(index);
        }
        let mut finished = Vec::new();
        while self.under_way() > 0 {
            if self.advance(true, &mut finished).is_err() {
                // The kernel may still use it.
                core::mem::forget(core::mem::take(&mut self.slots));
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use guest_memory::{GuestMemory, ScatterList};
    use std::fs::File;
    use std::io::Write;
    use std::sync::Arc;

    /// From now on the kernel refuses the ring.
    fn break_ring(ring: &Ring) {
        let null = File::open("/dev/null").unwrap();
        // SAFETY: another file takes the descriptor's place; the ring's memory stays mapped, which keeps the ring.
        let replaced = unsafe { libc::dup2(null.as_raw_fd(), ring.ring.as_raw_fd()) };
        assert!(replaced >= 0);
    }

    fn read(token: usize, file: Arc<File>, memory: &Arc<GuestMemory>) -> Operation {
        let pieces = [(token as u64 * 4096, 5)];
        Operation {
            token,
            access: Access::Read,
            file,
            file_offset: 0,
            memory: Arc::new(ScatterList::new(memory.clone(), pieces).unwrap()),
            at: 0,
            length: 5,
        }
    }

    #[test]
    fn a_ring_that_the_kernel_refuses_goes_on_and_waits_for_what_the_kernel_has() {
        let Ok(mut ring) = Ring::new() else {
            eprintln!("skipped: the kernel gives no io_uring");
            return;
        };
        let memory = Arc::new(GuestMemory::anonymous(2 << 20).unwrap());
        let path = std::env::temp_dir().join(format!("broken-ring-{}", std::process::id()));
        std::fs::write(&path, b"plain").unwrap();
        let plain = Arc::new(File::open(&path).unwrap());
        let (reader, mut writer) = std::io::pipe().unwrap();
        let late = Arc::new(File::from(OwnedFd::from(reader)));
        let mut finished = Vec::new();
        // The kernel takes the first, and waits for the pipe; then it takes nothing more.
        ring.start(read(1, late, &memory));
        ring.advance(false, &mut finished).unwrap();
        assert!(finished.is_empty());
        break_ring(&ring);
        ring.start(read(2, plain.clone(), &memory));
        ring.advance(true, &mut finished).unwrap();
        ring.start(read(3, plain, &memory));
        ring.advance(true, &mut finished).unwrap();
        // Those are done all the same, and nothing is said of what the kernel has.
        let tokens = |finished: &[Finished]| -> Vec<usize> {
            let done = finished.iter().inspect(|one| {
                assert_eq!(*one.result.as_ref().unwrap(), 5);
            });
            done.map(|one| one.operation.token).collect()
        };
        assert_eq!(tokens(&finished), [2, 3]);
        writer.write_all(b"later").unwrap();
        while finished.len() < 3 {
            ring.advance(true, &mut finished).unwrap();
        }
        assert_eq!(tokens(&finished), [2, 3, 1]);
        for (token, expected) in [(1, b"later"), (2, b"plain"), (3, b"plain")] {
            let mut data = [0; 5];
            memory.read(token * 4096, &mut data).unwrap();
            assert_eq!(&data, expected);
        }
        std::fs::remove_file(path).unwrap();
    }
}
