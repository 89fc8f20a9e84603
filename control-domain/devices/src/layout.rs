//! Which memory answers at which guest-physical address.

use crate::ioapic;
use crate::pci::host_bridge::{HostBridge, SHADOW_END, SHADOW_START, Shadow};

/// Guest-physical address where low memory ends at the latest; the rest of the memory begins at
/// 4 GiB. Between them lie the PCI window, the I/O APIC, the local APICs and the BIOS.
pub const LOW_MEMORY_LIMIT: u64 = 0xc000_0000;
/// Guest-physical address of the memory that does not fit below.
pub const HIGH_MEMORY_START: u64 = 1 << 32;
const LEGACY_VIDEO_START: u64 = 0xa_0000;
/// Pieces of the shadow area that are ruled together.
const SHADOW_PIECE: u64 = 0x4000;
/// The end of the BIOS also shows from here to 1 MiB.
const BIOS_SEGMENT_START: u64 = 0xe_0000;

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

/// The part of the legacy video window that is plain memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextWindow {
    /// First guest-physical address.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
    /// Byte offset in the video memory.
    pub offset: u32,
}

/// How much memory lies where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySize {
    /// Bytes from address 0 on.
    pub low: u64,
    /// Bytes from 4 GiB on.
    pub high: u64,
}

impl MemorySize {
    /// Splits `bytes` of memory.
    pub fn of(bytes: u64) -> Self {
        let low = bytes.min(LOW_MEMORY_LIMIT);
        MemorySize {
            low,
            high: bytes - low,
        }
    }

    /// First address behind all memory, at least 4 GiB.
    pub fn high_end(self) -> u64 {
        HIGH_MEMORY_START + self.high
    }
}

/// The map of memory for firmware: 20 bytes an entry, address, length, type 1 = RAM.
pub fn e820(memory: MemorySize) -> Vec<u8> {
    let mut entries = Vec::new();
    for (start, length) in [(0, memory.low), (HIGH_MEMORY_START, memory.high)] {
        if length > 0 {
            entries.extend(u64::to_le_bytes(start));
            entries.extend(u64::to_le_bytes(length));
            entries.extend(1u32.to_le_bytes());
        }
    }
    entries
}

/// What lies where.
pub fn memory_layout(
    memory: MemorySize,
    bios_bytes: u64,
    bridge: &HostBridge,
    video_window: Option<u64>,
    video_bytes: u32,
    text: Option<TextWindow>,
) -> Vec<Region> {
    let mut regions = vec![Region {
        start: 0,
        length: LEGACY_VIDEO_START,
        target: Target::Ram,
    }];
    if let Some(TextWindow {
        start,
        length,
        offset,
    }) = text
    {
        regions.push(Region {
            start,
            length,
            target: Target::VideoMemory { offset },
        });
    }
    let mut start = SHADOW_START;
    while start < SHADOW_END {
        if let Some(target) = shadow_target(bridge.shadow(start), start, bios_bytes) {
            push_merged(
                &mut regions,
                Region {
                    start,
                    length: SHADOW_PIECE,
                    target,
                },
            );
        }
        start += SHADOW_PIECE;
    }
    push_merged(
        &mut regions,
        Region {
            start: SHADOW_END,
            length: memory.low.saturating_sub(SHADOW_END),
            target: Target::Ram,
        },
    );
    // A window that software placed over something else is not there.
    if let Some(start) = video_window
        && start >= memory.low
        && start + u64::from(video_bytes) <= ioapic::BASE
    {
        let target = Target::VideoMemory { offset: 0 };
        regions.push(Region {
            start,
            length: video_bytes.into(),
            target,
        });
    }
    let target = Target::Rom { offset: 0 };
    regions.push(Region {
        start: HIGH_MEMORY_START - bios_bytes,
        length: bios_bytes,
        target,
    });
    if memory.high > 0 {
        regions.push(Region {
            start: HIGH_MEMORY_START,
            length: memory.high,
            target: Target::Ram,
        });
    }
    regions
}

fn shadow_target(shadow: Shadow, start: u64, bios_bytes: u64) -> Option<Target> {
    match shadow {
        Shadow {
            read_ram: true,
            write_ram: true,
        } => Some(Target::Ram),
        Shadow {
            read_ram: true,
            write_ram: false,
        } => Some(Target::RamReadOnly),
        Shadow {
            read_ram: false, ..
        } if start >= BIOS_SEGMENT_START => {
            let offset = bios_bytes.checked_sub(SHADOW_END - start)?;
            Some(Target::Rom { offset })
        }
        // Nothing answers behind the rest.
        _ => None,
    }
}

/// Adds a region to its predecessor where it continues it.
fn push_merged(regions: &mut Vec<Region>, region: Region) {
    if let Some(last) = regions.last_mut()
        && last.start + last.length == region.start
    {
        let continues = match (last.target, region.target) {
            (Target::Rom { offset: a }, Target::Rom { offset: b }) => a + last.length == b,
            (a, b) => a == b,
        };
        if continues {
            last.length += region.length;
            return;
        }
    }
    regions.push(region);
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
