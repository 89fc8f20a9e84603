//! Which memory answers at which guest-physical address of a Generation 2 machine.

use crate::ioapic;
use crate::layout::{HIGH_MEMORY_START, MemorySize, Region, Target};
use crate::vga::{LEGACY_LENGTH, LEGACY_WINDOW};

const PAGE_BYTES: u64 = 4096;

/// First address of a ROM of this size.
pub fn rom_start(rom_bytes: u64) -> u64 {
    HIGH_MEMORY_START - rom_bytes
}

/// What lies where. `variables`: size of the flash in front of the code, and whether its array is
/// readable now. `frame_buffer`: address and size.
pub fn memory_layout(
    memory: MemorySize,
    rom_bytes: u64,
    variables: (u64, bool),
    frame_buffer: Option<(u64, u32)>,
) -> Vec<Region> {
    let legacy_end = LEGACY_WINDOW + LEGACY_LENGTH;
    let mut regions = vec![
        region(0, LEGACY_WINDOW, Target::Ram),
        region(legacy_end, memory.low - legacy_end, Target::Ram),
    ];
    // A window that was placed over something else is not there.
    if let Some((start, bytes)) = frame_buffer.filter(|place| holds_screen(memory, *place)) {
        let target = Target::VideoMemory { offset: 0 };
        regions.push(region(start, bytes.into(), target));
    }
    let (variable_bytes, readable) = variables;
    let rom = rom_start(rom_bytes);
    let code = match readable {
        true => 0,
        false => variable_bytes,
    };
    let target = Target::Rom { offset: code };
    regions.push(region(rom + code, rom_bytes - code, target));
    if memory.high > 0 {
        regions.push(region(HIGH_MEMORY_START, memory.high, Target::Ram));
    }
    regions
}

/// Whether the memory of the screen can be at an address, with its size: it lies on whole pages, below the
/// devices at fixed addresses, and above RAM.
pub fn holds_screen(memory: MemorySize, (start, bytes): (u64, u32)) -> bool {
    let end = start.checked_add(bytes.into());
    start >= memory.low
        && start.is_multiple_of(PAGE_BYTES)
        && end.is_some_and(|end| end <= ioapic::BASE)
}

fn region(start: u64, length: u64, target: Target) -> Region {
    Region {
        start,
        length,
        target,
    }
}
