//! The disk behind a drive.

/// A disk of 512-byte sectors. Calls are synchronous: the guest's processor waits.
pub trait BlockBackend: Send {
    /// Size in sectors of 512 bytes. Does not change while the disk is attached.
    fn size_sectors(&self) -> u64;
    /// Fills `data`, a whole number of sectors, from sector `lba` on.
    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), BlockError>;
    /// Stores `data`, a whole number of sectors, from sector `lba` on.
    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError>;
    /// Returns when everything written so far would survive a power cut.
    fn flush(&mut self) -> Result<(), BlockError>;
}

/// Why a disk could not do what it was asked. The guest sees an unrecoverable error of the medium;
/// the vmm says the rest to the person.
#[derive(Debug)]
pub struct BlockError {
    /// What went wrong, where, in words.
    pub reason: String,
}

impl std::fmt::Display for BlockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for BlockError {}
