//! What does the copying.

use guest_memory::GuestMemory;
use std::fmt;

/// Guest-physical memory. Methods take `&self`: the guest's processors write to it at the same time.
pub trait Memory {
    /// Fills `data` from `gpa` on.
    ///
    /// # Errors
    /// If it is not all memory.
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), OutsideMemory>;

    /// Stores `data` from `gpa` on.
    ///
    /// # Errors
    /// If it is not all memory; some may be stored.
    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), OutsideMemory>;
}

/// There is no memory at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideMemory(pub u64);

impl fmt::Display for OutsideMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory at guest-physical address {:#x}", self.0)
    }
}

impl std::error::Error for OutsideMemory {}

impl Memory for GuestMemory {
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), OutsideMemory> {
        GuestMemory::read(self, gpa, data).map_err(|outside| OutsideMemory(outside.0))
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), OutsideMemory> {
        GuestMemory::write(self, gpa, data).map_err(|outside| OutsideMemory(outside.0))
    }
}
