//! Which memory answers at which guest-physical address, below the PCI window's end at 4 GiB.

/// A range of guest-physical addresses and what the vmm maps there. Ranges are page aligned,
/// sorted, and don't overlap; what no range covers is left unmapped and ends in
/// [`crate::Chipset::mmio_read`] and [`crate::Chipset::mmio_write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First guest-physical address.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
    /// What answers.
    pub target: Target,
}

/// What answers in a [`Region`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// RAM at the same address, to read and write.
    Ram,
    /// RAM at the same address, read only: writes end in [`crate::Chipset::mmio_write`], which drops them.
    RamReadOnly,
    /// The BIOS image from this byte offset on, read only. Writes end in
    /// [`crate::Chipset::mmio_write`], which drops them or, while the bridge sends writes of the
    /// segment to memory, stores them to [`crate::GuestMemory`] at the same address.
    Rom {
        /// Byte offset in the BIOS image.
        offset: u64,
    },
    /// Video memory from this byte offset on, to read and write.
    VideoMemory {
        /// Byte offset in the video memory.
        offset: u32,
    },
}
