//! A disk file behind an emulated drive.

use crate::machine_file::{DiskEntry, DiskFormat};
use devices::{BlockBackend, BlockError};
use disk::{Disk, DiskError, SECTOR_SIZE};
use disks::{Format, OpenOptions};
use std::path::Path;

/// A disk of a machine.
pub struct MachineDisk {
    disk: Box<dyn Disk>,
    name: String,
}

impl MachineDisk {
    /// Opens a disk of the machine in `folder`. Answers it with a few words about it.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn open(folder: &Path, entry: &DiskEntry) -> Result<(Self, String), String> {
        let path = folder.join(&entry.path);
        let options = OpenOptions {
            format: match entry.format {
                DiskFormat::Detect => None,
                DiskFormat::Raw => Some(Format::Raw),
            },
            ..OpenOptions::writable()
        };
        let opened = disks::open(&path, &options).map_err(|error| error.to_string())?;
        let name = entry.path.display().to_string();
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
            },
            about,
        ))
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
        self.disk
            .write(lba.saturating_mul(SECTOR_SIZE), data)
            .map_err(|e| self.error(&e))
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.disk.flush().map_err(|e| self.error(&e))
    }
}

impl Drop for MachineDisk {
    fn drop(&mut self) {
        if let Err(error) = self.disk.close() {
            eprintln!("entente-vmm: {}: can't close the disk: {error}", self.name);
        }
    }
}
