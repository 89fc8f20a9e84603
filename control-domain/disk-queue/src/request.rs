//! What a guest asks of a disk, and what it hears.

use disk::DiskError;
use guest_memory::ScatterList;
use std::sync::Arc;

/// A request, by a number of the caller's choice.
#[derive(Clone, Debug)]
pub struct Request {
    /// Comes back in the completion; it means nothing here.
    pub id: u64,
    /// What to do.
    pub command: Command,
}

/// What to do. Offsets are those of the disk, in bytes.
#[derive(Clone, Debug)]
pub enum Command {
    /// Fills the memory with what lies from `offset` on.
    Read {
        /// First byte.
        offset: u64,
        /// Where to; its length is the request's.
        memory: Arc<ScatterList>,
    },
    /// Stores what is in the memory, at some time before the completion.
    Write {
        /// First byte.
        offset: u64,
        /// Where from; its length is the request's.
        memory: Arc<ScatterList>,
    },
    /// Makes safe from a power cut what was completed. A write with FUA is a write, and when that is
    /// completed a flush.
    Flush,
    /// The guest has no more use for a range (TRIM, UNMAP); see [`disk::Disk::discard`].
    Discard {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// The end of a request.
#[derive(Debug)]
pub struct Completion {
    /// The request's number.
    pub id: u64,
    /// How it went. Want of room is no error: see [`Queue::stalled`](crate::Queue::stalled).
    pub result: Result<(), DiskError>,
}
