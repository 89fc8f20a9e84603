//! Entries of extended page tables (SDM vol. 3 §29.3.2).

use hypervisor_core::hal::{Hpa, NestedEntry};
use hypervisor_core::memory::types::MemoryType;

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const MEMORY_TYPE_SHIFT: u32 = 3;
/// The entry's memory type alone counts, not the guest's page attribute table.
const IGNORE_PAT: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A guest's memory is write-back whatever the guest says: the vmm and devices have it so too.
pub fn encode(entry: NestedEntry) -> u64 {
    match entry {
        NestedEntry::Table(address) => address.0 & ADDRESS | READ | WRITE | EXECUTE,
        NestedEntry::Page {
            address,
            writable,
            level,
        } => page(address, writable, level, MemoryType::WriteBack) | IGNORE_PAT,
    }
}

/// A page of the control domain: its page attribute table works on top of the memory type.
pub fn identity(address: Hpa, level: u32, memory_type: MemoryType) -> u64 {
    page(address, true, level, memory_type)
}

fn page(address: Hpa, writable: bool, level: u32, memory_type: MemoryType) -> u64 {
    address.0 & ADDRESS
        | READ
        | EXECUTE
        | if writable { WRITE } else { 0 }
        | (memory_type as u64) << MEMORY_TYPE_SHIFT
        | if level > 1 { LARGE } else { 0 }
}

pub fn decode(value: u64, level: u32) -> Option<NestedEntry> {
    if value & (READ | WRITE | EXECUTE) == 0 {
        return None;
    }
    let address = Hpa(value & ADDRESS);
    if level > 1 && value & LARGE == 0 {
        return Some(NestedEntry::Table(address));
    }
    Some(NestedEntry::Page {
        address,
        writable: value & WRITE != 0,
        level,
    })
}

/// The EPT pointer of tables at `root`: write-back, four levels, no accessed and dirty flags.
pub fn pointer(root: Hpa) -> u64 {
    root.0 | MemoryType::WriteBack as u64 | (4 - 1) << 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_a_round_trip() {
        let table = NestedEntry::Table(Hpa(0x1234_5000));
        assert_eq!(decode(encode(table), 2), Some(table));
        for level in 1..=3 {
            for writable in [false, true] {
                let page = NestedEntry::Page {
                    address: Hpa(0x8000_0000),
                    writable,
                    level,
                };
                assert_eq!(decode(encode(page), level), Some(page));
            }
        }
        assert_eq!(decode(0, 1), None);
    }

    #[test]
    fn bits_lie_where_the_manual_says() {
        let page = NestedEntry::Page {
            address: Hpa(0x20_0000),
            writable: true,
            level: 2,
        };
        assert_eq!(encode(page), 0x20_0000 | 0b1111_0111);
        assert_eq!(encode(NestedEntry::Table(Hpa(0x3000))), 0x3007);
        let screen = identity(Hpa(0xfd00_0000), 1, MemoryType::Uncacheable);
        assert_eq!(screen, 0xfd00_0007);
        assert_eq!(pointer(Hpa(0x7000)), 0x701e);
    }
}
