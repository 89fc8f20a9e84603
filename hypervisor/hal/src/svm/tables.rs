//! Entries of nested page tables: the format of ordinary long-mode tables (APM vol. 2 §15.25.5).

use hypervisor_core::hal::{Hpa, NestedEntry};

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
/// Nested walks count as user accesses.
const USER: u64 = 1 << 2;
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Memory type write-back throughout: PAT entry 0, so the guest's own type decides (§15.25.8).
pub fn encode(entry: NestedEntry) -> u64 {
    match entry {
        NestedEntry::Table(address) => {
            address.0 & ADDRESS | PRESENT | WRITE | USER | ACCESSED_DIRTY & !LARGE
        }
        NestedEntry::Page {
            address,
            writable,
            level,
        } => {
            address.0 & ADDRESS
                | PRESENT
                | USER
                | ACCESSED_DIRTY
                | if writable { WRITE } else { 0 }
                | if level > 1 { LARGE } else { 0 }
        }
    }
}

pub fn decode(value: u64, level: u32) -> Option<NestedEntry> {
    if value & PRESENT == 0 {
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
    fn every_level_lets_user_accesses_pass() {
        // A nested walk is a user access (§15.25.5); without U it faults for ever.
        assert_ne!(encode(NestedEntry::Table(Hpa(0x1000))) & USER, 0);
    }
}
