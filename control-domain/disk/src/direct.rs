//! Going to a file past the disk that lies in it, for whoever moves much data at a time.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What is to be done past a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Bytes are read.
    Read,
    /// Bytes are stored.
    Write,
}

/// A file that several may read and write at once.
pub trait DirectFile: Send + Sync {
    /// The operating system's name for it; none if it has none.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    /// Fills `data` from `offset` on.
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Stores `data` from `offset` on.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
}

impl DirectFile for File {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(data, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }
}

/// How to get at a stretch of a disk ([`Disk::direct`](crate::Disk::direct)).
#[derive(Clone)]
pub struct Direct {
    /// For how many bytes it holds; at least 1 if any were asked for.
    pub length: u64,
    /// The file and the offset in it; none if only the disk itself can do it.
    pub place: Option<(Arc<dyn DirectFile>, u64)>,
}

impl Direct {
    /// Whether `other` says that all the bytes lie where this says it.
    pub fn is_confirmed_by(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Some((file, offset)), Some((other_file, other_offset))) => {
                std::ptr::addr_eq(Arc::as_ptr(file), Arc::as_ptr(other_file))
                    && offset == other_offset
                    && self.length <= other.length
            }
            _ => false,
        }
    }

    /// Only the disk itself can do it, for so many bytes.
    pub fn by_the_disk(length: u64) -> Self {
        Self {
            length,
            place: None,
        }
    }
}
