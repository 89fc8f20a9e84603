//! What a disk's bytes lie in.

use crate::{DirectFile, DiskError};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What file systems give back.
const PAGE_SIZE: u64 = 4096;

/// A file, or something that behaves like one. Reads behind the end fail; writes extend.
pub trait Storage: Send {
    /// Fills `data` from `offset` on.
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Stores `data` from `offset` on.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Returns when all writes and the length would survive a power cut.
    fn flush(&mut self) -> io::Result<()>;
    /// Length in bytes.
    fn length(&mut self) -> io::Result<u64>;
    /// Cuts, or extends with zeros.
    fn set_length(&mut self, length: u64) -> io::Result<()>;
    /// Gives the room of a range back where that is possible; the range reads as zeros afterwards.
    /// Answers whether it was done.
    fn punch(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        let _ = (offset, length);
        Ok(false)
    }
    /// A range will be read soon: whoever can fetch several at a time may begin.
    fn will_need(&mut self, offset: u64, length: u64) {
        let _ = (offset, length);
    }
    /// The same bytes for whoever reads and writes past the storage; none if that can't be.
    fn direct(&self) -> Option<Arc<dyn DirectFile>> {
        None
    }
}

/// A file of the control domain. Clones are the same open file, its lock included.
#[derive(Clone, Debug)]
pub struct FileStorage {
    file: Arc<File>,
}

impl FileStorage {
    /// Opens a file or a block device.
    ///
    /// # Errors
    /// As the operating system refuses it.
    pub fn open(path: &Path, writable: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(writable).open(path)?;
        Ok(Self {
            file: Arc::new(file),
        })
    }

    /// What the operating system knows of the file.
    ///
    /// # Errors
    /// As the operating system refuses it.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Locks the file against all other handles, or with `exclusive` false against those that want it for
    /// themselves, until this one and its clones are gone.
    ///
    /// # Errors
    /// If another handle holds a lock that forbids it, or the file system has none.
    pub fn try_lock(&self, exclusive: bool) -> Result<(), TryLockError> {
        match exclusive {
            true => self.file.try_lock(),
            false => self.file.try_lock_shared(),
        }
    }
}

impl Storage for FileStorage {
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        // fdatasync: writes out the length too where it matters for reading the data back.
        self.file.sync_data()
    }

    fn length(&mut self) -> io::Result<u64> {
        // Seeking, because the metadata of a block device says 0.
        io::Seek::seek(&mut &*self.file, io::SeekFrom::End(0))
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&*self.file, hole, offset, length) {
            Ok(()) => Ok(true),
            // Not every file system has holes.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn will_need(&mut self, offset: u64, length: u64) {
        // It is advice: where it is not taken, the read itself does the work.
        let _ = fadvise(
            &*self.file,
            offset,
            NonZeroU64::new(length),
            Advice::WillNeed,
        );
    }

    fn direct(&self) -> Option<Arc<dyn DirectFile>> {
        Some(self.file.clone())
    }
}

/// A storage whose errors say where they happened.
pub struct Checked<S>(
    /// The storage itself.
    pub S,
);

impl<S: Storage> Checked<S> {
    /// Fills `data` from `offset` on.
    ///
    /// # Errors
    /// What failed, and where.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        self.0
            .read_at(offset, data)
            .map_err(|source| DiskError::Io {
                what: "read",
                offset,
                source,
            })
    }

    /// Stores `data` from `offset` on.
    ///
    /// # Errors
    /// What failed, and where.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.0
            .write_at(offset, data)
            .map_err(|source| DiskError::Io {
                what: "write",
                offset,
                source,
            })
    }

    /// See [`Storage::flush`].
    ///
    /// # Errors
    /// What failed, and where.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        self.0.flush().map_err(|source| DiskError::Io {
            what: "flush",
            offset: 0,
            source,
        })
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// What failed, and where.
    pub fn length(&mut self) -> Result<u64, DiskError> {
        self.0.length().map_err(|source| DiskError::Io {
            what: "find the length",
            offset: 0,
            source,
        })
    }

    /// See [`Storage::punch`]. That it can't be done is no error: the room stays taken.
    pub fn punch(&mut self, offset: u64, length: u64) -> bool {
        length > 0 && matches!(self.0.punch(offset, length), Ok(true))
    }

    /// Makes a hole of the whole pages within a range: less than one gives no room back.
    pub fn punch_pages(&mut self, offset: u64, length: u64) -> bool {
        let end = offset.saturating_add(length) / PAGE_SIZE * PAGE_SIZE;
        let start = offset.next_multiple_of(PAGE_SIZE);
        start < end && self.punch(start, end - start)
    }

    /// Cuts, or extends with zeros.
    ///
    /// # Errors
    /// What failed, and where.
    pub fn set_length(&mut self, length: u64) -> Result<(), DiskError> {
        self.0.set_length(length).map_err(|source| DiskError::Io {
            what: "set the length",
            offset: length,
            source,
        })
    }
}
