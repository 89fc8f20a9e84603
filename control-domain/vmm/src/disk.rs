//! A disk file behind an emulated drive.
//!
//! When there is no room for what the guest writes, the guest's processor waits in its request, and
//! with it whoever else touches the chipset, until there is room: nothing is lost, and the guest
//! sees a slow disk and no broken one.

use crate::machine_file::DiskFormat;
use devices::{BlockBackend, BlockError};
use disk::{Disk, DiskError, SECTOR_SIZE};
use disks::{Format, OpenOptions};
use std::path::Path;
use std::time::Duration;

/// How long a request that found no room waits before it is tried again.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(1);

/// A disk of a machine.
pub struct MachineDisk {
    disk: Box<dyn Disk>,
    name: String,
    wait_for_room: Duration,
}

impl MachineDisk {
    /// Opens a disk of the machine in `folder`. Answers it with a few words about it.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn open(folder: &Path, path: &Path, format: DiskFormat) -> Result<(Self, String), String> {
        let options = OpenOptions {
            format: match format {
                DiskFormat::Detect => None,
                DiskFormat::Raw => Some(Format::Raw),
            },
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
        let name = path.display().to_string();
        let path = folder.join(path);
        let opened = disks::open(&path, options).map_err(|error| error.to_string())?;
        let sector = opened.disk.logical_sector_size();
        if u64::from(sector) != SECTOR_SIZE {
            return Err(format!(
                "{name}: its sectors are of {sector} bytes, an IDE drive's of {SECTOR_SIZE}; convert it, or attach it to a SCSI controller where there is one"
            ));
        }
        for warning in opened.warnings() {
            eprintln!("entente-vmm: {warning}");
        }
        let about = format!(
            "disk {name} ({}, {} MiB)",
            opened.info().description(),
            opened.disk.size() >> 20
        );
        Ok((
            Self {
                disk: opened.disk,
                name,
                wait_for_room: WAIT_FOR_ROOM,
            },
            about,
        ))
    }

    /// Tries a request again for as long as there is no room for it.
    fn when_there_is_room(
        &mut self,
        mut request: impl FnMut(&mut dyn Disk) -> Result<(), DiskError>,
    ) -> Result<(), BlockError> {
        let mut waiting = false;
        loop {
            match request(self.disk.as_mut()) {
                Err(error) if error.is_out_of_space() => {
                    if !waiting {
                        eprintln!(
                            "entente-vmm: {}: {error}; the guest waits until there is room",
                            self.name
                        );
                    }
                    waiting = true;
                    std::thread::sleep(self.wait_for_room);
                }
                result => {
                    if waiting {
                        eprintln!("entente-vmm: {}: the guest goes on", self.name);
                    }
                    return result.map_err(|error| self.error(&error));
                }
            }
        }
    }

    fn error(&self, error: &DiskError) -> BlockError {
        let reason = format!("{}: {error}", self.name);
        eprintln!("entente-vmm: {reason}");
        BlockError { reason }
    }
}

impl BlockBackend for MachineDisk {
    fn size_sectors(&self) -> u64 {
        self.disk.size() / SECTOR_SIZE
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), BlockError> {
        self.disk
            .read(lba.saturating_mul(SECTOR_SIZE), data)
            .map_err(|e| self.error(&e))
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let offset = lba.saturating_mul(SECTOR_SIZE);
        self.when_there_is_room(|disk| disk.write(offset, data))
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.when_there_is_room(|disk| disk.flush())
    }
}

impl Drop for MachineDisk {
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
    use std::sync::{Arc, Mutex};

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
        let mut disk = MachineDisk {
            disk: Box::new(disk::Raw::open(storage.clone(), true).unwrap()),
            name: "test".into(),
            wait_for_room: Duration::ZERO,
        };
        disk.write(1, &[7; 512]).unwrap();
        let (bytes, refusals) = storage.0.lock().unwrap().clone();
        assert_eq!(refusals, 0);
        assert!(bytes[512..1024] == [7; 512]);
        // Anything else is an error, at once.
        assert!(disk.write(4, &[7; 512]).is_err());
        let Extent { length, .. } = disk.disk.extent(0).unwrap();
        assert_eq!(length, 2048);
    }
}
