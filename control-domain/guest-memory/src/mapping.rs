//! Granule files mapped into this process, one behind the other.

use hypervisor_abi::FRAME_SIZE;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Mutex, PoisonError};

/// Why a granule can't be mapped.
#[derive(Debug)]
pub struct MapError {
    /// The granule's file.
    pub path: PathBuf,
    /// What was tried.
    pub step: &'static str,
    /// Why it failed.
    pub source: io::Error,
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{}: can't {} the memory granule: {}",
            self.path.display(),
            self.step,
            self.source
        )
    }
}

impl std::error::Error for MapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A contiguous shared mapping, aligned to 2 MiB. All access goes through copies.
#[derive(Debug)]
pub struct Mapping {
    base: usize,
    /// Grows alone; what is below it stays mapped.
    length: AtomicU64,
    /// The most that it can have: the reservation goes as far.
    most: u64,
    growing: Mutex<()>,
    reservation: (usize, usize),
}

impl Mapping {
    /// Maps the granule files in their order. Each must be a multiple of 2 MiB long. `room` bytes of granules
    /// can be added later.
    ///
    /// # Errors
    /// [`MapError`] names the file and the step.
    pub fn open(paths: &[PathBuf], room: u64) -> Result<Self, MapError> {
        let files: Vec<_> = paths
            .iter()
            .map(|path| open(path))
            .collect::<Result<_, _>>()?;
        let name = paths.first().cloned().unwrap_or_default();
        Self::of_files(&files, room).map_err(|source| MapError {
            path: name,
            step: "map",
            source,
        })
    }

    /// Maps another granule file behind the others. Answers its length.
    ///
    /// # Errors
    /// [`MapError`]: it is none, or there is no room for it.
    pub fn extend(&self, path: &Path) -> Result<u64, MapError> {
        let (file, length) = open(path)?;
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = self.length();
        self.map(offset, &file, length).map_err(|source| MapError {
            path: path.to_owned(),
            step: "map",
            source,
        })?;
        self.length.store(offset + length, Release);
        Ok(length)
    }

    /// Ordinary memory of the given length in the place of granules, for tests on a host.
    ///
    /// # Errors
    /// As the system calls fail.
    pub fn anonymous(length: u64) -> io::Result<Self> {
        // SAFETY: the name is a NUL-terminated literal.
        let fd = unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and has no other owner.
        let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
        file.set_len(length)?;
        Self::of_files(&[(file, length)], 0)
    }

    fn of_files(files: &[(File, u64)], room: u64) -> io::Result<Self> {
        let too_long = || io::Error::from(io::ErrorKind::FileTooLarge);
        let length = files
            .iter()
            .try_fold(0u64, |sum, f| sum.checked_add(f.1))
            .ok_or_else(too_long)?;
        let most = length.checked_add(room).ok_or_else(too_long)?;
        let reserve = most
            .checked_add(FRAME_SIZE)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(too_long)?;
        // SAFETY: a new private mapping without access, at an address of the kernel's choice,
        // touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                reserve,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = (start as usize).next_multiple_of(FRAME_SIZE as usize);
        let this = Self {
            base,
            length: length.into(),
            most,
            growing: Mutex::default(),
            reservation: (start as usize, reserve),
        };
        let mut offset = 0;
        for (file, length) in files {
            this.map(offset, file, *length)?;
            offset += length;
        }
        Ok(this)
    }

    /// Maps a file at an offset where nothing is mapped yet.
    fn map(&self, offset: u64, file: &File, length: u64) -> io::Result<()> {
        if offset.checked_add(length).is_none_or(|end| end > self.most) {
            return Err(io::Error::other("there is no room for it"));
        }
        // SAFETY: MAP_FIXED replaces a part of the reservation, which is ours alone: it goes to
        // `most` behind the base. The offset is one at which nothing has been mapped, and nobody uses what lies
        // behind `length`.
        let part = unsafe {
            libc::mmap(
                (self.base + offset as usize) as *mut _,
                length as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                0,
            )
        };
        match part == libc::MAP_FAILED {
            true => Err(io::Error::last_os_error()),
            false => Ok(()),
        }
    }

    /// Bytes mapped.
    pub fn length(&self) -> u64 {
        self.length.load(Acquire)
    }

    /// The address in this process of an offset, for the hypervisor.
    ///
    /// # Panics
    /// If the offset is behind the mapping: offsets come from the layout, not from a guest.
    pub fn user_address(&self, offset: u64) -> u64 {
        assert!(
            offset <= self.length(),
            "offset {offset:#x} is behind the mapping"
        );
        self.base as u64 + offset
    }

    /// Whether `length` bytes at `offset` are mapped.
    fn check(&self, offset: u64, length: u64) {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.length()),
            "{length:#x} bytes at {offset:#x} are behind the mapping"
        );
    }

    fn byte(&self, offset: u64) -> &AtomicU8 {
        self.check(offset, 1);
        // SAFETY: checked to be inside the mapping, which lives as long as `self`; a byte has no
        // alignment; all access from this process is atomic, as nothing hands out references.
        unsafe { AtomicU8::from_ptr((self.base + offset as usize) as *mut u8) }
    }

    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        self.check(offset, 8);
        assert!(offset.is_multiple_of(8));
        // SAFETY: as above, and the offset and the base are multiples of 8.
        unsafe { AtomicU64::from_ptr((self.base + offset as usize) as *mut u64) }
    }

    /// The 32-bit word at an offset that is a multiple of 4, for what the guest changes at the same
    /// time: ring indices.
    ///
    /// # Panics
    /// As [`Mapping::read`], or if the offset is not aligned.
    pub(crate) fn word32(&self, offset: u64) -> &AtomicU32 {
        self.check(offset, 4);
        assert!(offset.is_multiple_of(4));
        // SAFETY: as `word`, and the offset and the base are multiples of 4.
        unsafe { AtomicU32::from_ptr((self.base + offset as usize) as *mut u32) }
    }

    /// A part of the mapping as a structure of atomics.
    ///
    /// # Safety
    /// `T` consists of atomics and padding only, so that every bit pattern is valid and shared
    /// writes are allowed.
    pub(crate) unsafe fn structure<T>(&self, offset: u64) -> &T {
        self.check(offset, size_of::<T>() as u64);
        assert!((offset as usize).is_multiple_of(align_of::<T>()));
        // SAFETY: inside the mapping and aligned, as checked; the caller vouches for the type.
        unsafe { &*((self.base + offset as usize) as *const T) }
    }

    /// Copies out of the mapping, by offset. Aligned words are read whole.
    ///
    /// # Panics
    /// If the range is not within the mapping: offsets come from the layout, not from a guest.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        self.check(offset, bytes.len() as u64);
        if bytes.len() == 4 && offset.is_multiple_of(4) {
            // One access, as a device or a descriptor ring expects it.
            let word = self.word(offset & !7).load(Relaxed).to_le_bytes();
            bytes.copy_from_slice(&word[(offset & 4) as usize..][..4]);
            return;
        }
        let head = (offset.next_multiple_of(8) - offset).min(bytes.len() as u64) as usize;
        let (head, rest) = bytes.split_at_mut(head);
        let mut at = offset;
        for byte in head {
            *byte = self.byte(at).load(Relaxed);
            at += 1;
        }
        let mut words = rest.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.word(at).load(Relaxed).to_le_bytes());
            at += 8;
        }
        for byte in words.into_remainder() {
            *byte = self.byte(at).load(Relaxed);
            at += 1;
        }
    }

    /// Copies into the mapping, by offset. Aligned words are written whole.
    ///
    /// # Panics
    /// As [`Mapping::read`].
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.check(offset, bytes.len() as u64);
        let head = (offset.next_multiple_of(8) - offset).min(bytes.len() as u64) as usize;
        let (head, rest) = bytes.split_at(head);
        let mut at = offset;
        for byte in head {
            self.byte(at).store(*byte, Relaxed);
            at += 1;
        }
        let mut words = rest.chunks_exact(8);
        for word in &mut words {
            let word = word
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            self.word(at).store(word, Relaxed);
            at += 8;
        }
        for byte in words.remainder() {
            self.byte(at).store(*byte, Relaxed);
            at += 1;
        }
    }

    /// Makes the kernel enter every frame of a range into this process's page tables, writable,
    /// without changing a bit: the hypervisor takes only memory that is mapped at that moment.
    pub fn touch(&self, offset: u64, length: u64) {
        self.check(offset, length);
        for frame in (offset..offset + length).step_by(FRAME_SIZE as usize) {
            // Atomic, as another's guest may be using it: then the hypervisor refuses it later.
            // An exchange of a byte for itself writes; an OR with 0 is compiled to a read.
            let byte = self.byte(frame);
            let value = byte.load(Relaxed);
            let _ = byte.compare_exchange(value, value, Relaxed, Relaxed);
        }
    }

    /// Writes zeros. Whoever had the granule before must not be read by whoever gets it now.
    pub fn clear(&self, offset: u64, length: u64) {
        self.check(offset, length);
        // SAFETY: inside the mapping, and only numbers of the guest's or ours are there: no
        // reference to plain data exists (see `read`). Called before a guest runs.
        unsafe {
            core::ptr::write_bytes((self.base + offset as usize) as *mut u8, 0, length as usize)
        };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole reservation is ours, and the borrow checker has ended all loans.
        unsafe { libc::munmap(self.reservation.0 as *mut _, self.reservation.1) };
    }
}

/// A granule's file and its length.
fn open(path: &Path) -> Result<(File, u64), MapError> {
    let fail = |step| {
        move |source| MapError {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(fail("open"))?;
    let length = granule_bytes(&file).map_err(fail("find the size of"))?;
    if length == 0 || length % FRAME_SIZE != 0 {
        return Err(fail("use")(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("its size {length:#x} is not a multiple of 2 MiB"),
        )));
    }
    Ok((file, length))
}

/// Bytes of a granule: a device-DAX node says them in sysfs, anything else by its length.
///
/// # Errors
/// As the system calls fail, or the kernel says no number.
pub fn granule_bytes(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if !metadata.file_type().is_char_device() {
        return Ok(metadata.len());
    }
    let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    let path = Path::new("/sys/dev/char").join(format!("{major}:{minor}/size"));
    let text = std::fs::read_to_string(&path)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    text.trim().parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} says {text:?}", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_at_every_alignment_and_length() {
        let mapping = Mapping::anonymous(FRAME_SIZE).unwrap();
        assert_eq!(mapping.user_address(0) % FRAME_SIZE, 0);
        for start in 0..9 {
            for length in 0..40usize {
                let bytes: Vec<u8> = (1..=length as u8).collect();
                mapping.clear(0, 64);
                mapping.write(start, &bytes);
                let mut back = vec![0; 64];
                mapping.read(0, &mut back);
                let mut expected = vec![0; 64];
                expected[start as usize..][..length].copy_from_slice(&bytes);
                assert_eq!(back, expected);
                let mut part = vec![0; length];
                mapping.read(start, &mut part);
                assert_eq!(part, bytes);
            }
        }
    }

    #[test]
    fn several_files_lie_one_behind_the_other() {
        let folder = std::env::temp_dir().join(format!("granules-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let paths: Vec<_> = (0..3).map(|n| folder.join(n.to_string())).collect();
        for path in &paths {
            File::create(path).unwrap().set_len(FRAME_SIZE).unwrap();
        }
        let mapping = Mapping::open(&paths[..2], FRAME_SIZE).unwrap();
        mapping.write(FRAME_SIZE - 2, &[1, 2, 3, 4]);
        assert_eq!(std::fs::read(&paths[1]).unwrap()[..2], [3, 4]);
        assert_eq!(mapping.extend(&paths[2]).unwrap(), FRAME_SIZE);
        assert_eq!(mapping.length(), 3 * FRAME_SIZE);
        mapping.write(FRAME_SIZE * 2 - 2, &[1, 2, 5, 6]);
        assert_eq!(std::fs::read(&paths[2]).unwrap()[..2], [5, 6]);
        let error = mapping.extend(&paths[0]).unwrap_err().to_string();
        assert!(error.contains("no room"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_is_no_granule_is_refused_by_name() {
        let error = Mapping::open(&["/dev/null".into()], 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("/dev/null"), "{error}");
    }
}
