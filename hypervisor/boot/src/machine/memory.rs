//! The memory map in its forms, and the guests' part of memory.

use super::control_domain::MAP_CAPACITY;
use super::serial::log;
use super::{BootError, firmware};
use hypervisor_boot::command_line;
use hypervisor_boot::e820::E820Entry;
use hypervisor_boot::memory_map::{self, Descriptor, EFI_MEMORY_SP, Override, memory_type};
use hypervisor_boot::pool::{self, GuestPool};
use hypervisor_hal::handoff::{MAX_POOL_RANGES, Range};
use uefi::boot::MemoryType;
use uefi::mem::memory_map::MemoryMap;

const FOUR_GIB: u64 = 4 << 30;
const ONE_MIB: u64 = 1 << 20;

/// Room for the memory map in its forms.
pub struct MapMemory {
    firmware: &'static mut [Descriptor],
    shown: &'static mut [Descriptor],
    e820: &'static mut [E820Entry],
}

impl MapMemory {
    /// Takes the room.
    pub fn allocate() -> Result<Self, BootError> {
        fn array<T: Copy>(value: T) -> Result<&'static mut [T], BootError> {
            let size = (size_of::<T>() * MAP_CAPACITY) as u64;
            let memory =
                firmware::allocate(MemoryType::LOADER_DATA, size, FOUR_GIB)?.start as *mut T;
            // SAFETY: just allocated, page-aligned and long enough; each element is written before
            // the slice is made.
            unsafe {
                for index in 0..MAP_CAPACITY {
                    memory.add(index).write(value);
                }
                Ok(core::slice::from_raw_parts_mut(memory, MAP_CAPACITY))
            }
        }
        let empty = Descriptor::default();
        Ok(Self {
            firmware: array(empty)?,
            shown: array(empty)?,
            e820: array(E820Entry::EMPTY)?,
        })
    }

    /// The firmware's memory map as it is now.
    pub fn preview(&mut self) -> Result<&[Descriptor], BootError> {
        let too_long = BootError::MemoryMapTooLong {
            entries: MAP_CAPACITY,
        };
        let map = uefi::boot::memory_map(MemoryType::LOADER_DATA)?;
        let count = firmware::copy_memory_map(&map, self.firmware).ok_or(too_long)?;
        Ok(self.firmware.get(..count).unwrap_or(&[]))
    }

    /// The final memory map as the control domain is shown it, and room for its old form. `None`
    /// if it is too long.
    pub fn show(
        self,
        map: &impl MemoryMap,
        image: Range,
        pool: &[Range],
    ) -> Option<(&'static [Descriptor], &'static mut [E820Entry])> {
        let reserved = Override {
            range: image,
            kind: memory_type::RESERVED,
            attribute: 0,
        };
        let mut overrides = [reserved; MAX_POOL_RANGES + 1];
        for (slot, range) in overrides.iter_mut().skip(1).zip(pool) {
            *slot = Override {
                range: *range,
                kind: memory_type::CONVENTIONAL,
                attribute: EFI_MEMORY_SP,
            };
        }
        let count = firmware::copy_memory_map(map, self.firmware)?;
        let firmware_map = self.firmware.get_mut(..count)?;
        let overrides = overrides.get(..1 + pool.len())?;
        let count = memory_map::rewrite(firmware_map, overrides, self.shown)?;
        Some((self.shown.get(..count)?, self.e820))
    }
}

/// Chooses and takes the guest pool.
pub fn take_guest_pool(command_line: &str, map: &[Descriptor]) -> Result<GuestPool, BootError> {
    let asked = command_line::option(command_line, "pool_mib").and_then(|v| v.parse::<u64>().ok());
    let size = match asked {
        Some(mib) => mib.saturating_mul(ONE_MIB),
        None => pool::default_guest_pool_size(memory_map::memory_size(map)),
    };
    let granule = pool::granule(command_line::option(command_line, "granule_mib"));
    let chosen = pool::choose_guest_pool(map, size, granule);
    for range in chosen.ranges() {
        firmware::allocate_at(MemoryType::LOADER_DATA, *range)?;
        log!("guest pool {:#x}..{:#x}", range.start, range.end);
    }
    log!(
        "guest pool of {} MiB (wanted {} MiB)",
        chosen.size() / ONE_MIB,
        size / ONE_MIB
    );
    Ok(chosen)
}
