//! A disk file behind an emulated drive, a channel of VMBus, or both at once.
//!
//! When there is no room for what the guest writes, its request waits until there is: on VMBus the
//! device's thread, on an emulated drive the guest's processor, and with it whoever else touches the
//! chipset. Nothing is lost, and the guest sees a slow disk and no broken one.

use crate::events::Events;
use crate::machine_file::DiskFormat;
use devices::{BlockBackend, BlockError};
use disk::{Access, Direct, Disk, DiskError, Extent, SECTOR_SIZE};
use disks::{Format, OpenOptions};
use management::What;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How long a request that found no room waits before it is tried again.
pub const WAIT_FOR_ROOM: Duration = Duration::from_secs(1);

/// A disk of a machine. Clones are the same disk; it is closed with the last of them.
#[derive(Clone)]
pub struct MachineDisk {
    open: Arc<Mutex<OpenDisk>>,
    name: Arc<str>,
    identifier: Option<Uuid>,
    wait_for_room: Duration,
    /// The machine is being turned off: nothing waits any more.
    ending: Arc<AtomicBool>,
    events: Events,
}

struct OpenDisk {
    disk: Box<dyn Disk>,
    name: Arc<str>,
}

impl MachineDisk {
    /// Opens a disk of the machine in `folder`. Answers it with a few words about it.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn open(folder: &Path, path: &Path, format: DiskFormat) -> Result<(Self, String), String> {
        let options = OpenOptions {
            format: format.named(),
            ..OpenOptions::writable()
        };
        Self::open_with(folder, path, &options)
    }

    /// Opens the image of a disc, to read alone.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn open_disc(folder: &Path, path: &Path) -> Result<(Self, String), String> {
        let options = OpenOptions {
            format: Some(Format::Raw),
            ..OpenOptions::default()
        };
        Self::open_with(folder, path, &options)
    }

    fn open_with(
        folder: &Path,
        path: &Path,
        options: &OpenOptions,
    ) -> Result<(Self, String), String> {
        let name: Arc<str> = path.display().to_string().into();
        let path = folder.join(path);
        let opened = disks::open(&path, options).map_err(|error| error.to_string())?;
        for warning in opened.warnings() {
            eprintln!("entente-vmm: {warning}");
        }
        let about = format!(
            "disk {name} ({}, {} MiB)",
            opened.info().description(),
            opened.disk.size() >> 20
        );
        // A checkpoint has an identity of its own, and the guest must not notice.
        let identifier = opened.chain.last().and_then(|base| {
            let identifier = base.identifier.as_deref()?;
            Uuid::parse_str(identifier).ok()
        });
        Ok((Self::new(opened.disk, name, identifier), about))
    }

    /// A disk that is open.
    pub fn new(disk: Box<dyn Disk>, name: Arc<str>, identifier: Option<Uuid>) -> Self {
        Self {
            open: Arc::new(Mutex::new(OpenDisk {
                disk,
                name: name.clone(),
            })),
            name,
            identifier,
            wait_for_room: WAIT_FOR_ROOM,
            ending: Arc::default(),
            events: Events::default(),
        }
    }

    /// The same, which tells the machine's events when there is no room, and waits for some until the machine is `ending`.
    pub fn telling(self, events: &Events, ending: &Arc<AtomicBool>) -> Self {
        Self {
            events: events.clone(),
            ending: ending.clone(),
            ..self
        }
    }

    /// There is no room for what the guest writes.
    pub fn tell_out_of_room(&self, error: &DiskError) {
        let (disk, why) = (self.name.to_string(), error.to_string());
        self.events.tell(What::DiskOutOfRoom { disk, why });
    }

    /// There is room again.
    pub fn tell_has_room(&self) {
        let disk = self.name.to_string();
        self.events.tell(What::DiskHasRoom { disk });
    }

    /// Whether the emulated IDE controller can have it.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn fits_ide(&self) -> Result<(), String> {
        match self.logical_sector_size() {
            sector if u64::from(sector) == SECTOR_SIZE => Ok(()),
            sector => Err(format!(
                "{}: its sectors are of {sector} bytes, an IDE drive's of {SECTOR_SIZE}; attach it to a SCSI controller, or convert it",
                self.name
            )),
        }
    }

    /// What to call it in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity of the disk, which its checkpoints share, if its format has one.
    pub fn identifier(&self) -> Option<Uuid> {
        self.identifier
    }

    fn lock(&self) -> MutexGuard<'_, OpenDisk> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries a request again for as long as there is no room for it.
    fn when_there_is_room(
        &self,
        mut request: impl FnMut(&mut dyn Disk) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let mut waiting = false;
        loop {
            let result = request(self.lock().disk.as_mut());
            match result {
                Err(error) if error.is_out_of_space() && !self.ending.load(SeqCst) => {
                    if !waiting {
                        self.tell_out_of_room(&error);
                    }
                    waiting = true;
                    std::thread::sleep(self.wait_for_room);
                }
                result => {
                    if waiting {
                        self.tell_has_room();
                    }
                    return result.inspect_err(|error| self.report(error));
                }
            }
        }
    }

    fn report(&self, error: &DiskError) {
        eprintln!("entente-vmm: {}: {error}", self.name);
    }

    fn broken(&self, error: &DiskError) -> BlockError {
        let reason = format!("{}: {error}", self.name);
        BlockError { reason }
    }
}

impl Disk for MachineDisk {
    fn size(&self) -> u64 {
        self.lock().disk.size()
    }

    fn logical_sector_size(&self) -> u32 {
        self.lock().disk.logical_sector_size()
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let result = self.lock().disk.read(offset, data);
        result.inspect_err(|error| self.report(error))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.when_there_is_room(|disk| disk.write(offset, data))
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.when_there_is_room(|disk| disk.flush())
    }

    fn discard(&mut self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.when_there_is_room(|disk| disk.discard(offset, length))
    }

    fn extent(&mut self, offset: u64) -> Result<Extent, DiskError> {
        self.lock().disk.extent(offset)
    }

    fn direct(&mut self, offset: u64, length: u64, access: Access) -> Result<Direct, DiskError> {
        self.lock().disk.direct(offset, length, access)
    }

    fn presumed(&mut self, offset: u64, length: u64) -> Result<Option<Direct>, DiskError> {
        self.lock().disk.presumed(offset, length)
    }
}

impl BlockBackend for MachineDisk {
    fn size_sectors(&self) -> u64 {
        self.size() / SECTOR_SIZE
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), BlockError> {
        let result = Disk::read(self, lba.saturating_mul(SECTOR_SIZE), data);
        result.map_err(|error| self.broken(&error))
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let result = Disk::write(self, lba.saturating_mul(SECTOR_SIZE), data);
        result.map_err(|error| self.broken(&error))
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Disk::flush(self).map_err(|error| self.broken(&error))
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        if let Err(error) = self.disk.close() {
            eprintln!("entente-vmm: {}: can't close the disk: {error}", self.name);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use disk::{Extent, Storage};
    use std::io;

    /// A file in memory that has no room for the first few writes.
    #[derive(Clone)]
    struct Full(Arc<Mutex<(Vec<u8>, u32)>>);

    impl Storage for Full {
        fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
            let start = offset as usize;
            data.copy_from_slice(&self.0.lock().unwrap().0[start..start + data.len()]);
            Ok(())
        }
        fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
            let (bytes, refusals) = &mut *self.0.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes[offset as usize..][..data.len()].copy_from_slice(data);
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn length(&mut self) -> io::Result<u64> {
            Ok(self.0.lock().unwrap().0.len() as u64)
        }
        fn set_length(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_without_room_waits_and_goes_on() {
        let storage = Full(Arc::new(Mutex::new((vec![0; 2048], 3))));
        let raw = disk::Raw::open(storage.clone(), true).unwrap();
        let mut disk = MachineDisk::new(Box::new(raw), "test".into(), None);
        disk.wait_for_room = Duration::ZERO;
        BlockBackend::write(&mut disk, 1, &[7; 512]).unwrap();
        let (bytes, refusals) = storage.0.lock().unwrap().clone();
        assert_eq!(refusals, 0);
        assert!(bytes[512..1024] == [7; 512]);
        // Anything else is an error, at once.
        assert!(BlockBackend::write(&mut disk, 4, &[7; 512]).is_err());
        let Extent { length, .. } = disk.extent(0).unwrap();
        assert_eq!(length, 2048);
    }

    #[test]
    fn a_write_without_room_ends_with_the_machine() {
        let storage = Full(Arc::new(Mutex::new((vec![0; 512], u32::MAX))));
        let raw = disk::Raw::open(storage.clone(), true).unwrap();
        let mut disk = MachineDisk::new(Box::new(raw), "test".into(), None);
        disk.wait_for_room = Duration::ZERO;
        let ending = disk.ending.clone();
        let writer = std::thread::spawn(move || BlockBackend::write(&mut disk, 0, &[7; 512]));
        while storage.0.lock().unwrap().1 > u32::MAX - 3 {
            std::thread::yield_now();
        }
        assert!(!writer.is_finished());
        ending.store(true, SeqCst);
        assert!(writer.join().unwrap().is_err());
    }
}
