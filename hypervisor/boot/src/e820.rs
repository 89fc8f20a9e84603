//! The memory map in the old form, made from the UEFI memory map so that both agree.

use crate::memory_map::{Descriptor, EFI_MEMORY_SP, PAGE_SIZE, memory_type};

/// Size in bytes of an entry in the boot parameters.
pub const ENTRY_SIZE: usize = 20;

/// What a range is (numbers as in Linux `asm/e820/types.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum E820Type {
    /// Usable.
    Ram = 1,
    /// Not for the system.
    Reserved = 2,
    /// ACPI tables, usable once they were read.
    Acpi = 3,
    /// Belongs to the firmware.
    Nvs = 4,
    /// Defective.
    Unusable = 5,
    /// Persistent memory.
    Persistent = 7,
    /// Set aside for a purpose: the guest pool.
    SoftReserved = 0xefff_ffff,
}

/// One range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct E820Entry {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// What it is.
    pub kind: E820Type,
}

impl E820Entry {
    /// An entry to fill arrays with.
    pub const EMPTY: Self = Self {
        start: 0,
        size: 0,
        kind: E820Type::Reserved,
    };

    /// As it lies in the boot parameters.
    pub fn to_bytes(self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        bytes[..8].copy_from_slice(&self.start.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..].copy_from_slice(&(self.kind as u32).to_le_bytes());
        bytes
    }
}

/// What a UEFI descriptor is in the old form.
pub fn kind(descriptor: &Descriptor) -> E820Type {
    match descriptor.kind {
        memory_type::LOADER_CODE
        | memory_type::LOADER_DATA
        | memory_type::BOOT_SERVICES_CODE
        | memory_type::BOOT_SERVICES_DATA
        | memory_type::CONVENTIONAL => {
            if descriptor.attribute & EFI_MEMORY_SP != 0 {
                E820Type::SoftReserved
            } else {
                E820Type::Ram
            }
        }
        memory_type::UNUSABLE => E820Type::Unusable,
        memory_type::ACPI_RECLAIM => E820Type::Acpi,
        memory_type::ACPI_NVS => E820Type::Nvs,
        memory_type::PERSISTENT => E820Type::Persistent,
        _ => E820Type::Reserved,
    }
}

/// Turns the sorted `map` into `out`, neighbours of one kind joined. Returns the number of
/// entries, or `None` if `out` is too small.
pub fn from_memory_map(map: &[Descriptor], out: &mut [E820Entry]) -> Option<usize> {
    let mut count = 0usize;
    for descriptor in map {
        let kind = kind(descriptor);
        let size = descriptor.pages.checked_mul(PAGE_SIZE)?;
        if size == 0 {
            continue;
        }
        if let Some(last) = count.checked_sub(1).and_then(|i| out.get_mut(i))
            && last.kind == kind
            && last.start.checked_add(last.size) == Some(descriptor.start)
        {
            last.size = last.size.checked_add(size)?;
            continue;
        }
        *out.get_mut(count)? = E820Entry {
            start: descriptor.start,
            size,
            kind,
        };
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_neighbours_and_keeps_the_pool_apart() {
        let d = |kind, start, pages, attribute| Descriptor {
            kind,
            start,
            pages,
            attribute,
        };
        let map = [
            d(memory_type::BOOT_SERVICES_CODE, 0, 0xa0, 0xf),
            d(memory_type::LOADER_DATA, 0x10_0000, 1, 0xf),
            d(memory_type::CONVENTIONAL, 0x10_1000, 0xff, 0xf),
            d(
                memory_type::CONVENTIONAL,
                0x20_0000,
                0x200,
                0xf | EFI_MEMORY_SP,
            ),
            d(memory_type::CONVENTIONAL, 0x40_0000, 0x200, 0xf),
            d(memory_type::RESERVED, 0x60_0000, 1, 0xf),
            d(
                memory_type::RUNTIME_SERVICES_DATA,
                0x60_1000,
                1,
                0xf | 1 << 63,
            ),
            d(memory_type::ACPI_NVS, 0x60_2000, 1, 0xf),
            d(memory_type::PERSISTENT, 0x1_0000_0000, 1, 0xf),
        ];
        let mut out = [E820Entry::EMPTY; 16];
        let count = from_memory_map(&map, &mut out).unwrap();
        let e = |start, size, kind| E820Entry { start, size, kind };
        assert_eq!(
            out[..count],
            [
                e(0, 0xa_0000, E820Type::Ram),
                e(0x10_0000, 0x10_0000, E820Type::Ram),
                e(0x20_0000, 0x20_0000, E820Type::SoftReserved),
                e(0x40_0000, 0x20_0000, E820Type::Ram),
                e(0x60_0000, 0x2000, E820Type::Reserved),
                e(0x60_2000, 0x1000, E820Type::Nvs),
                e(0x1_0000_0000, 0x1000, E820Type::Persistent),
            ]
        );
        assert_eq!(from_memory_map(&map, &mut out[..3]), None);
    }

    /// Whatever the firmware's map: each page that it describes is in both forms once, as the same.
    #[test]
    fn both_forms_agree_on_every_page() {
        use crate::memory_map::{Override, rewrite};
        use hypervisor_hal::handoff::Range;
        let mut seed = 0x5eed_0001u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..200 {
            let (mut map, mut end) = (std::vec::Vec::new(), 0);
            for _ in 0..random(20) {
                let start = end + random(3) * 4096;
                let pages = 1 + random(40);
                let sp = if random(9) == 0 { EFI_MEMORY_SP } else { 0 };
                let kind = random(16) as u32;
                map.push(Descriptor {
                    kind,
                    start,
                    pages,
                    attribute: 0xf | sp,
                });
                end = start + pages * 4096;
            }
            let start = random(100) * 4096;
            let middle = start + (1 + random(50)) * 4096;
            let overrides = [
                Override {
                    range: Range { start, end: middle },
                    kind: memory_type::RESERVED,
                    attribute: 0,
                },
                Override {
                    range: Range {
                        start: middle,
                        end: middle + random(50) * 4096,
                    },
                    kind: memory_type::CONVENTIONAL,
                    attribute: EFI_MEMORY_SP,
                },
            ];
            let described: u64 = map.iter().map(|d| d.pages).sum();
            map.reverse();
            let mut shown = [Descriptor::default(); 64];
            let count = rewrite(&mut map, &overrides, &mut shown).unwrap();
            let shown = &shown[..count];
            let mut out = [E820Entry::EMPTY; 64];
            let count = from_memory_map(shown, &mut out).unwrap();
            let out = &out[..count];
            assert_eq!(shown.iter().map(|d| d.pages).sum::<u64>(), described);
            assert_eq!(
                out.iter().map(|e| e.size / PAGE_SIZE).sum::<u64>(),
                described
            );
            for page in (0..end).step_by(4096) {
                let in_map = shown.iter().find(|d| d.range().contains(page)).map(kind);
                let in_e820 = out
                    .iter()
                    .find(|e| (e.start..e.start + e.size).contains(&page));
                assert_eq!(in_map, in_e820.map(|e| e.kind), "{page:#x}");
                if in_map.is_some() && overrides[0].range.contains(page) {
                    assert_eq!(in_map, Some(E820Type::Reserved));
                }
                if in_map.is_some() && overrides[1].range.contains(page) {
                    assert_eq!(in_map, Some(E820Type::SoftReserved));
                }
            }
        }
    }
}
