//! Who may use a file at the same time: one program that writes it, or any number that read it.
//!
//! A disk that is written is locked for its user alone, one that is read, such as every parent, for readers
//! (flock(2), so a program's end ends its locks, and `/proc/locks` names who holds them). A look at what a file is
//! ([`crate::info`], [`crate::chain`]) needs no lock. A VMDK's extents are locked like the file that names them.

use crate::Error;
use crate::detect::Format;
use crate::layer::Layer;
use crate::open::storage;
use disk::FileStorage;
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and after which pauses, a lock is asked for: a program that was killed holds its locks until
/// its last requests have ended.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Files that are locked for as long as the value lives.
#[derive(Default)]
pub(crate) struct Locks(Vec<FileStorage>);

impl Locks {
    /// Locks a file for writing.
    pub fn exclusive(path: &Path) -> Result<Self, Error> {
        let mut locks = Self::default();
        locks.add(path, true)?;
        Ok(locks)
    }

    /// Locks one more file, for writing or for reading.
    pub fn add(&mut self, path: &Path, writable: bool) -> Result<(), Error> {
        let (file, format) = storage(path, None, writable)?;
        lock(path, &file.0, writable)?;
        self.0.push(file.0.clone());
        if format == Format::Vmdk {
            let layer = Layer::read(path, file, format)?;
            layer.lock_extents()?;
            self.0.extend(layer.into_extents());
        }
        Ok(())
    }
}

/// Locks an open file for writing, or for reading.
pub(crate) fn lock(path: &Path, file: &FileStorage, writable: bool) -> Result<(), Error> {
    for tried in 1.. {
        match file.try_lock(writable) {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tried < TRIES => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(in_use(path, file)),
            // A file system that has no locks: nobody else has one either.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => break,
            Err(TryLockError::Error(error)) => return Err(Error::file(path, "lock")(error)),
        }
    }
    // Who held it may have put another file in its place.
    let same = std::fs::metadata(path).is_ok_and(|named| {
        let opened = file.metadata();
        opened.is_ok_and(|opened| (named.dev(), named.ino()) == (opened.dev(), opened.ino()))
    });
    match same {
        true => Ok(()),
        false => Err(Error::refused(
            path,
            "another program replaced the file just now; try again",
        )),
    }
}

fn in_use(path: &Path, file: &FileStorage) -> Error {
    let by = file.metadata().ok().and_then(|metadata| {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        holder(&locks, metadata.dev(), metadata.ino())
    });
    let by = match by {
        Some(pid) => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        }
        None => "another program".into(),
    };
    Error::refused(
        path,
        format!("{by} has it open; end that first, or work on a copy"),
    )
}

/// The process that holds a lock on a file, by the lines of `/proc/locks` (proc_locks(5)):
/// `1: FLOCK ADVISORY WRITE 1234 fd:01:5678 0 EOF`.
fn holder(locks: &str, device: u64, inode: u64) -> Option<u32> {
    // makedev(3).
    let major = device >> 8 & 0xfff | device >> 32 & !0xfff;
    let minor = device & 0xff | device >> 12 & !0xff;
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, of) = (words.next()?, words.nth(2)?, words.next()?);
        let pid = pid.parse().ok().filter(|pid| *pid != 0);
        pid.filter(|_| kind == "FLOCK" && of == file)
    })
}

/// The paths of a chain's files, locked: the first `written` of them for writing.
pub(crate) fn lock_chain(paths: &[PathBuf], written: usize) -> Result<Locks, Error> {
    let mut locks = Locks::default();
    for (depth, path) in paths.iter().enumerate() {
        locks.add(path, depth < written)?;
    }
    Ok(locks)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_replaced_is_not_taken_for_the_new_one() {
        let folder = std::env::temp_dir();
        let [old, new] = ["old", "new"]
            .map(|name| folder.join(format!("replaced-{name}-{}", std::process::id())));
        std::fs::write(&old, [0; 512]).unwrap();
        std::fs::write(&new, [0; 512]).unwrap();
        let file = FileStorage::open(&old, true).unwrap();
        lock(&old, &file, true).unwrap();
        std::fs::rename(&new, &old).unwrap();
        let error = lock(&old, &file, true).unwrap_err().to_string();
        assert!(
            error.ends_with("replaced the file just now; try again"),
            "{error}"
        );
        std::fs::remove_file(old).unwrap();
    }

    #[test]
    fn the_holder_is_found_by_device_and_file() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 11 fd:01:5678 0 EOF
1: -> FLOCK  ADVISORY  WRITE 12 fd:01:5678 0 EOF
2: FLOCK  ADVISORY  READ  0 fd:01:5678 0 EOF
3: FLOCK  ADVISORY  READ  13 103:01:5678 0 EOF
4: FLOCK  ADVISORY  WRITE 14 fd:01:5678 0 EOF
";
        assert_eq!(holder(locks, 0xfd01, 5678), Some(14));
        assert_eq!(holder(locks, 0x1_0301, 5678), Some(13));
        assert_eq!(holder(locks, 0xfd01, 5679), None);
    }
}
