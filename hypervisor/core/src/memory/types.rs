//! Memory types of physical memory, as the memory type range registers say (SDM vol. 3 §12.11).
//!
//! Nested tables of a vendor that ignores these registers below itself must repeat what they say.

/// A memory type by its encoding in registers and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MemoryType {
    /// UC
    Uncacheable = 0,
    /// WC
    WriteCombining = 1,
    /// WT
    WriteThrough = 4,
    /// WP
    WriteProtected = 5,
    /// WB
    WriteBack = 6,
}

impl MemoryType {
    /// From a register; reserved encodings are uncacheable, the type that is never wrong.
    pub const fn from_encoding(value: u64) -> Self {
        match value & 0xff {
            1 => Self::WriteCombining,
            4 => Self::WriteThrough,
            5 => Self::WriteProtected,
            6 => Self::WriteBack,
            _ => Self::Uncacheable,
        }
    }

    /// The type where two ranges overlap: the manual names two cases, and all others are undefined.
    const fn with(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a as u8 == b as u8 => a,
            (Self::WriteThrough, Self::WriteBack) | (Self::WriteBack, Self::WriteThrough) => {
                Self::WriteThrough
            }
            _ => Self::Uncacheable,
        }
    }
}

/// Most pairs of base and mask that are looked at (IA32_MTRRCAP counts them in 8 bits; CPUs have 10).
pub const VARIABLE_RANGES: usize = 16;
/// Registers of the fixed ranges, in the order of what they cover: one of 64 KiB pieces, two of
/// 16 KiB, eight of 4 KiB.
pub const FIXED_REGISTERS: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];

const ENABLED: u64 = 1 << 11;
const FIXED_ENABLED: u64 = 1 << 10;
const MASK_VALID: u64 = 1 << 11;
const FIXED_END: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// The registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryTypes {
    /// IA32_MTRR_DEF_TYPE.
    pub default_type: u64,
    /// [`FIXED_REGISTERS`].
    pub fixed: [u64; FIXED_REGISTERS.len()],
    /// Base and mask; those that don't exist are 0.
    pub variable: [(u64, u64); VARIABLE_RANGES],
}

impl MemoryTypes {
    /// The type of all of `[start, start + length)`, `length` a power of two that `start` is a
    /// multiple of; `None` if parts differ. A single page never differs.
    pub fn of(&self, start: u64, length: u64) -> Option<MemoryType> {
        if self.default_type & ENABLED == 0 {
            return Some(MemoryType::Uncacheable);
        }
        if start < FIXED_END && self.default_type & FIXED_ENABLED != 0 {
            if length > PAGE {
                return None;
            }
            return Some(self.fixed_type(start));
        }
        let mut found: Option<MemoryType> = None;
        for (base, mask) in self.variable {
            if mask & MASK_VALID == 0 {
                continue;
            }
            let (base_address, mask_address) = (base & !(PAGE - 1), mask & !(PAGE - 1));
            // Only bits above the page decide whether the page may lie inside; if the mask looks at
            // lower ones too, parts of the page may lie outside.
            let high = mask_address & !(length - 1);
            if (start ^ base_address) & high != 0 {
                continue;
            }
            if mask_address & (length - 1) != 0 {
                return None;
            }
            let this = MemoryType::from_encoding(base);
            found = Some(found.map_or(this, |other| other.with(this)));
        }
        Some(found.unwrap_or(MemoryType::from_encoding(self.default_type)))
    }

    fn fixed_type(&self, address: u64) -> MemoryType {
        let (register, piece) = match address {
            0..0x8_0000 => (0, address >> 16),
            0x8_0000..0xc_0000 => (1 + ((address - 0x8_0000) >> 17), address >> 14 & 7),
            _ => (3 + ((address - 0xc_0000) >> 15), address >> 12 & 7),
        };
        let value = self.fixed.get(register as usize).copied().unwrap_or(0);
        MemoryType::from_encoding(value >> (8 * piece))
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryType::*;
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    /// As OVMF leaves a PC of 6 GiB: write-back but for the hole below 4 GiB.
    fn pc() -> MemoryTypes {
        let mut types = MemoryTypes {
            default_type: 0xc06,
            fixed: [0x0606_0606_0606_0606; 11],
            ..Default::default()
        };
        types.fixed[2] = 0;
        types.fixed[10] = 0x0505_0505_0000_0000;
        types.variable[0] = (0xc000_0000, 0xf_c000_0800);
        types.variable[3] = (0x8000_0001, 0xf_ff00_0800);
        types
    }

    #[test]
    fn ranges_say_the_type_and_parts_that_differ_say_none() {
        let types = pc();
        for (start, length, expected) in [
            (0xc000_0000, GIB, Some(Uncacheable)),
            (0x4000_0000, GIB, Some(WriteBack)),
            (0x1_0000_0000, GIB, Some(WriteBack)),
            (0x8000_0000, GIB, None),
            (0x8000_0000, 2 * MIB, Some(WriteCombining)),
            (0x8100_0000, 2 * MIB, Some(WriteBack)),
            (0, 2 * MIB, None),
            (0, PAGE, Some(WriteBack)),
            (0xa_0000, PAGE, Some(Uncacheable)),
            (0xb_f000, PAGE, Some(Uncacheable)),
            (0xc_0000, PAGE, Some(WriteBack)),
            (0xf_b000, PAGE, Some(Uncacheable)),
            (0xf_c000, PAGE, Some(WriteProtected)),
            (0x10_0000, PAGE, Some(WriteBack)),
        ] {
            assert_eq!(types.of(start, length), expected, "{start:#x} {length:#x}");
        }
    }

    #[test]
    fn everything_is_uncacheable_while_types_are_off() {
        let types = MemoryTypes {
            default_type: 6,
            ..pc()
        };
        assert_eq!(types.of(0, GIB), Some(Uncacheable));
    }

    #[test]
    fn overlaps_follow_the_manual() {
        let mut types = pc();
        types.variable[1] = (4, 0x800);
        assert_eq!(types.of(0x4000_0000, GIB), Some(WriteThrough));
        assert_eq!(types.of(0xc000_0000, GIB), Some(Uncacheable));
        types.variable[2] = (6, 0x800);
        assert_eq!(types.of(0x4000_0000, GIB), Some(WriteThrough));
        assert_eq!(types.of(0x8000_0000, 2 * MIB), Some(Uncacheable));
    }
}
