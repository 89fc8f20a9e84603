//! The engine that ships: io_uring. This file holds the crate's unsafe code.
//!
//! The kernel is told addresses, and reads and writes there until it says that it is done. So all that it
//! was told of is kept in a slot until then: the scatter-gather list, which keeps the guest's
//! memory mapped, the file, and the vectors. Where that can't be had, at the very end, the slots are leaked.

use crate::{Engine, Finished, Operation};
use disk::Access;
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Writes up to this many bytes are made at once. They end in the page cache, which takes no longer than handing
/// them to another thread, as io_uring does where a file system can't promise not to wait (ext4): on two CPUs
/// that took twice the time. Longer ones are handed over: a guest that writes much is slowed down by
/// the kernel sooner or later, and its reads need not be.
const SHORT_WRITE: u64 = 64 << 10;
/// As many pieces as the kernel takes at once (`IOV_MAX`); what is behind them is told afterwards.
const MOST_VECTORS: usize = 1024;
/// Entries that are handed over at once; more are handed over in turn.
const ENTRIES: u32 = 128;

/// An io_uring.
pub struct Ring {
    ring: IoUring,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Slots whose operation the kernel was not told of.
    untold: VecDeque<usize>,
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
            let Some(entry) = self.slots[index].as_ref().and_then(Slot::entry) else {
                continue;
            };
            // SAFETY: the entry's descriptor is of a file, its addresses are of vectors and of guest memory, that the slot
            // owns or keeps alive; the slot is emptied only in `collect`, when the kernel has said that it is done with
            // it, and `drop` waits for that. Guest memory is only ever accessed by atomics and by copies.
            let pushed = unsafe { queue.push(&entry.user_data(index as u64)) };
            debug_assert!(pushed.is_ok(), "there was room");
        }
        !queue.is_empty()
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

/// Stores guest memory in a file, and answers how many bytes of it.
fn write(file: BorrowedFd<'_>, vectors: &[Vector], offset: u64) -> io::Result<u64> {
    let count = vectors.len().min(MOST_VECTORS);
    // SAFETY: the vectors are laid out as `iovec` (asserted above), and lie in guest memory that stays mapped while
    // the operation is borrowed by the caller. The kernel only reads there, as another processor might.
    let written = unsafe {
        libc::pwritev(
            file.as_raw_fd(),
            vectors.as_ptr().cast(),
            count as libc::c_int,
            offset as libc::off_t,
        )
    };
    u64::try_from(written).map_err(|_| io::Error::last_os_error())
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
        let at_once = match operation.file.descriptor() {
            Some(file) if operation.access == Access::Write && operation.length <= SHORT_WRITE => {
                self.vectors.clear();
                self.vectors.extend(Vector::of(&operation));
                Some(write(file, &self.vectors, operation.file_offset))
            }
            Some(_) => None,
            None => Some(Err(io::ErrorKind::Unsupported.into())),
        };
        if let Some(result) = at_once {
            self.over.push(Finished { operation, result });
            return;
        }
        let slot = Some(Slot {
            vectors: Vector::of(&operation).collect(),
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
    }

    fn advance(&mut self, wait: bool, finished: &mut Vec<Finished>) -> io::Result<()> {
        let before = finished.len();
        finished.append(&mut self.over);
        loop {
            let something = self.fill();
            let wait = wait && self.under_way() > 0 && finished.len() == before;
            if something || wait {
                match self.ring.submit_and_wait(usize::from(wait)) {
                    Ok(_) => {}
                    // Its queue of completions is full, or it is short of memory: it can go on when some were taken.
                    Err(error)
                        if matches!(
                            error.raw_os_error(),
                            Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                        ) => {}
                    Err(error) => return Err(error),
                }
            }
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
