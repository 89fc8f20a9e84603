//! The UEFI memory map (UEFI 2.10 §7.2.3 `EFI_MEMORY_DESCRIPTOR`) as the control domain is shown
//! it: the firmware's own, with some ranges given another type.

use crate::bytes;
use hypervisor_hal::handoff::Range;

/// Unit of the map in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Attribute "specific purpose": the kernel leaves such memory to device-DAX.
pub const EFI_MEMORY_SP: u64 = 0x4_0000;

/// Size in bytes of a descriptor that we write.
pub const DESCRIPTOR_SIZE: usize = 40;

/// Version of the descriptors.
pub const DESCRIPTOR_VERSION: u32 = 1;

/// The numbers of `EFI_MEMORY_TYPE`.
#[allow(missing_docs, reason = "the names are the specification's")]
pub mod memory_type {
    pub const RESERVED: u32 = 0;
    pub const LOADER_CODE: u32 = 1;
    pub const LOADER_DATA: u32 = 2;
    pub const BOOT_SERVICES_CODE: u32 = 3;
    pub const BOOT_SERVICES_DATA: u32 = 4;
    pub const RUNTIME_SERVICES_DATA: u32 = 6;
    pub const CONVENTIONAL: u32 = 7;
    pub const UNUSABLE: u32 = 8;
    pub const ACPI_RECLAIM: u32 = 9;
    pub const ACPI_NVS: u32 = 10;
    pub const MEMORY_MAPPED_IO: u32 = 11;
    pub const MEMORY_MAPPED_IO_PORTS: u32 = 12;
    pub const PERSISTENT: u32 = 14;
}

/// One range of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// A [`memory_type`] number.
    pub kind: u32,
    /// Physical address of the first byte.
    pub start: u64,
    /// Length in pages of 4 KiB.
    pub pages: u64,
    /// `EFI_MEMORY_*` bits.
    pub attribute: u64,
}

impl Descriptor {
    /// Reads the descriptor at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            kind: bytes::u32(bytes, 0)?,
            start: bytes::u64(bytes, 8)?,
            pages: bytes::u64(bytes, 24)?,
            attribute: bytes::u64(bytes, 32)?,
        })
    }

    /// As it lies in memory, with no virtual address assigned.
    pub fn to_bytes(self) -> [u8; DESCRIPTOR_SIZE] {
        let mut bytes = [0; DESCRIPTOR_SIZE];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.pages.to_le_bytes());
        bytes[32..].copy_from_slice(&self.attribute.to_le_bytes());
        bytes
    }

    /// The bytes it covers; cut off at the end of the address space.
    pub const fn range(&self) -> Range {
        Range {
            start: self.start,
            end: self
                .start
                .saturating_add(self.pages.saturating_mul(PAGE_SIZE)),
        }
    }
}

/// A range that the control domain shall see with another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// Whole pages.
    pub range: Range,
    /// The type shown.
    pub kind: u32,
    /// Attribute bits added to the firmware's.
    pub attribute: u64,
}

/// Writes to `out` the descriptors of `map`, which is sorted in place, split where an override
/// begins or ends and with its type inside. Overrides must not overlap each other; what of them no
/// descriptor covers is not shown. Returns the number of descriptors, or `None` if `out` is too
/// small: `map.len() + 2 * overrides.len()` always suffices.
pub fn rewrite(
    map: &mut [Descriptor],
    overrides: &[Override],
    out: &mut [Descriptor],
) -> Option<usize> {
    map.sort_unstable_by_key(|d| d.start);
    let mut count = 0;
    for descriptor in map {
        let Range { mut start, end } = descriptor.range();
        while start < end {
            let inside = overrides.iter().find(|o| o.range.contains(start));
            let next = match inside {
                Some(o) => o.range.end,
                None => overrides
                    .iter()
                    .map(|o| o.range.start)
                    .filter(|&s| s > start)
                    .min()
                    .unwrap_or(end),
            };
            let piece_end = next.min(end);
            *out.get_mut(count)? = Descriptor {
                kind: inside.map_or(descriptor.kind, |o| o.kind),
                start,
                pages: (piece_end - start) / PAGE_SIZE,
                attribute: descriptor.attribute | inside.map_or(0, |o| o.attribute),
            };
            count += 1;
            start = piece_end;
        }
    }
    Some(count)
}

/// Whether a descriptor is memory that can hold data, as opposed to device registers and gaps.
pub const fn is_ram(kind: u32) -> bool {
    !matches!(
        kind,
        memory_type::RESERVED
            | memory_type::UNUSABLE
            | memory_type::MEMORY_MAPPED_IO
            | memory_type::MEMORY_MAPPED_IO_PORTS
    )
}

/// End of the highest memory in bytes.
pub fn memory_end(map: &[Descriptor]) -> u64 {
    map.iter()
        .filter(|d| is_ram(d.kind))
        .map(|d| d.range().end)
        .max()
        .unwrap_or(0)
}

/// Amount of memory in bytes.
pub fn memory_size(map: &[Descriptor]) -> u64 {
    map.iter()
        .filter(|d| is_ram(d.kind))
        .map(|d| d.range().len())
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(kind: u32, start: u64, pages: u64) -> Descriptor {
        Descriptor {
            kind,
            start,
            pages,
            attribute: 0xf,
        }
    }

    #[test]
    fn splits_and_retypes() {
        let mut map = [
            d(7, 0x100_0000, 0x1000),
            d(1, 0x20_0000, 0x10),
            d(3, 0, 0x10),
        ];
        let overrides = [
            Override {
                range: Range {
                    start: 0x100_0000,
                    end: 0x120_0000,
                },
                kind: memory_type::CONVENTIONAL,
                attribute: EFI_MEMORY_SP,
            },
            Override {
                range: Range {
                    start: 0x20_2000,
                    end: 0x20_4000,
                },
                kind: memory_type::RESERVED,
                attribute: 0,
            },
        ];
        let mut out = [Descriptor::default(); 7];
        let count = rewrite(&mut map, &overrides, &mut out).unwrap();
        assert_eq!(
            out[..count],
            [
                d(3, 0, 0x10),
                d(1, 0x20_0000, 2),
                d(0, 0x20_2000, 2),
                d(1, 0x20_4000, 12),
                Descriptor {
                    attribute: 0x4_000f,
                    ..d(7, 0x100_0000, 0x200)
                },
                d(7, 0x120_0000, 0xe00),
            ]
        );
        assert_eq!(rewrite(&mut map, &overrides, &mut out[..3]), None);
    }

    #[test]
    fn an_override_may_cover_several_descriptors() {
        let mut map = [d(7, 0, 2), d(4, 0x2000, 2)];
        let over = [Override {
            range: Range {
                start: 0x1000,
                end: 0x3000,
            },
            kind: 0,
            attribute: 0,
        }];
        let mut out = [Descriptor::default(); 4];
        assert_eq!(rewrite(&mut map, &over, &mut out), Some(4));
        assert_eq!(
            out,
            [
                d(7, 0, 1),
                d(0, 0x1000, 1),
                d(0, 0x2000, 1),
                d(4, 0x3000, 1)
            ]
        );
    }

    #[test]
    fn survives_a_map_at_the_end_of_the_address_space() {
        let mut map = [
            d(7, u64::MAX - 0xfff, u64::MAX),
            d(11, 0x1000, 1),
            d(7, 0x2000, 1),
        ];
        let mut out = [Descriptor::default(); 8];
        assert!(rewrite(&mut map, &[], &mut out).is_some());
        assert_eq!(memory_end(&map), u64::MAX);
        assert_eq!(memory_size(&[d(11, 0, 9), d(7, 0, 1)]), 4096);
    }

    #[test]
    fn descriptors_survive_the_way_through_bytes() {
        let descriptor = d(7, 0x1000, 3);
        assert_eq!(Descriptor::parse(&descriptor.to_bytes()), Some(descriptor));
        assert_eq!(Descriptor::parse(&[0; 39]), None);
    }
}
