//! What moves bytes between files and memory, many pieces at once.

use disk::{Access, DirectFile};
use guest_memory::ScatterList;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Bytes to be moved between a file and a part of a scatter-gather list.
#[derive(Clone)]
pub struct Operation {
    /// The queue's name for it.
    pub token: usize,
    /// Whether the file is read or written.
    pub access: Access,
    /// The file.
    pub file: Arc<dyn DirectFile>,
    /// First byte in the file.
    pub file_offset: u64,
    /// The memory.
    pub memory: Arc<ScatterList>,
    /// First byte of the transfer that is meant.
    pub at: u64,
    /// Number of bytes.
    pub length: u64,
}

/// An operation that is over, and how many bytes were moved.
pub struct Finished {
    /// What it was.
    pub operation: Operation,
    /// Bytes, from its start; fewer than were asked for if the kernel had enough of it.
    pub result: io::Result<u64>,
}

/// Moves bytes. Dropping it waits for what it has begun.
pub trait Engine: Send {
    /// Takes an operation. It need not begin before the next [`Engine::advance`].
    fn start(&mut self, operation: Operation);

    /// Begins what was taken, and appends what is over; if `wait` is set and anything was begun, not
    /// before there is something.
    ///
    /// # Errors
    /// If the kernel takes nothing any more.
    fn advance(&mut self, wait: bool, finished: &mut Vec<Finished>) -> io::Result<()>;

    /// Becomes readable when something may be over; none if nothing ever is behind the caller's back.
    fn event(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
