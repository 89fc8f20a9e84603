//! Walks page tables in software (APM vol. 2 §5.3; 4 and 5 levels, legacy 32-bit and PAE).

use crate::hal::{Hpa, Paging};

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;

/// Where a linear address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Physical address (of whoever's tables were walked).
    pub address: u64,
    /// Bytes from there to the end of the page.
    pub remaining_bytes: u64,
    /// User accesses pass at every level.
    pub user: bool,
    /// Writes pass at every level.
    pub writable: bool,
}

/// Translates `linear`; `read` gives the eight bytes at an aligned physical address, or `None`
/// where there is no memory. Access rights are reported, not enforced.
pub fn translate(
    paging: &Paging,
    linear: u64,
    read: impl Fn(u64) -> Option<u64>,
) -> Option<Mapping> {
    if paging.cr0 & CR0_PG == 0 {
        let address = linear & 0xffff_ffff;
        return Some(Mapping {
            address,
            remaining_bytes: 4096 - address % 4096,
            user: true,
            writable: true,
        });
    }
    if paging.efer & EFER_LMA != 0 {
        let levels = if paging.cr4 & CR4_LA57 != 0 { 5 } else { 4 };
        let sign_bits = 64 - (12 + 9 * levels);
        if (((linear << sign_bits) as i64) >> sign_bits) as u64 != linear {
            return None;
        }
        descend(paging.cr3 & ADDRESS, levels, linear, true, read)
    } else if let Some(table) = directory_pointer_table(paging) {
        let linear = linear & 0xffff_ffff;
        // The four top entries have no rights of their own.
        let top = read(table + (linear >> 30) * 8)?;
        if top & PRESENT == 0 {
            return None;
        }
        descend(top & ADDRESS, 2, linear, true, read)
    } else {
        legacy(paging, linear & 0xffff_ffff, read)
    }
}

/// Where the four top entries lie that PAE paging keeps in the processor; `None` for other paging.
pub fn directory_pointer_table(paging: &Paging) -> Option<u64> {
    let pae = paging.cr0 & CR0_PG != 0 && paging.cr4 & CR4_PAE != 0 && paging.efer & EFER_LMA == 0;
    pae.then_some(paging.cr3 & 0xffff_ffe0)
}

fn descend(
    root: u64,
    levels: u32,
    linear: u64,
    huge_allowed: bool,
    read: impl Fn(u64) -> Option<u64>,
) -> Option<Mapping> {
    let (mut table, mut user, mut writable) = (root, true, true);
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level - 1);
        let entry = read(table + (linear >> shift & 511) * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        user &= entry & USER != 0;
        writable &= entry & WRITE != 0;
        let large = entry & LARGE != 0 && (level == 2 || level == 3 && huge_allowed);
        if level == 1 || large {
            let size = 1u64 << shift;
            let address = entry & ADDRESS & !(size - 1) | linear & (size - 1);
            return Some(Mapping {
                address,
                remaining_bytes: size - linear % size,
                user,
                writable,
            });
        }
        table = entry & ADDRESS;
    }
    None
}

/// Two levels of 32-bit entries.
fn legacy(paging: &Paging, linear: u64, read: impl Fn(u64) -> Option<u64>) -> Option<Mapping> {
    let entry_at = |address: u64| {
        let word = read(address & !7)?;
        Some(if address & 4 == 0 {
            word & 0xffff_ffff
        } else {
            word >> 32
        })
    };
    let directory = entry_at((paging.cr3 & 0xffff_f000) + (linear >> 22) * 4)?;
    if directory & PRESENT == 0 {
        return None;
    }
    let (mut user, mut writable) = (directory & USER != 0, directory & WRITE != 0);
    if directory & LARGE != 0 && paging.cr4 & CR4_PSE != 0 {
        // PSE-36: bits 20:13 are address bits 39:32.
        let base = directory & 0xffc0_0000 | (directory >> 13 & 0xff) << 32;
        return Some(Mapping {
            address: base | linear & 0x3f_ffff,
            remaining_bytes: (4 << 20) - linear % (4 << 20),
            user,
            writable,
        });
    }
    let entry = entry_at((directory & 0xffff_f000) + (linear >> 12 & 1023) * 4)?;
    if entry & PRESENT == 0 {
        return None;
    }
    user &= entry & USER != 0;
    writable &= entry & WRITE != 0;
    Some(Mapping {
        address: entry & 0xffff_f000 | linear & 0xfff,
        remaining_bytes: 4096 - linear % 4096,
        user,
        writable,
    })
}

/// The page in the caller's memory at `linear`, if the caller may read and write it in user mode.
pub fn user_writable(
    paging: &Paging,
    linear: u64,
    read: impl Fn(Hpa) -> Option<u64>,
) -> Option<(Hpa, u64)> {
    if paging.cr0 & CR0_PG == 0 {
        return None;
    }
    let mapping = translate(paging, linear, |address| read(Hpa(address)))?;
    (mapping.user && mapping.writable).then_some((Hpa(mapping.address), mapping.remaining_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const LONG: Paging = Paging {
        cr0: CR0_PG | 1,
        cr3: 0x1000,
        cr4: CR4_PAE,
        efer: EFER_LMA,
    };

    fn walk(tables: &[(u64, u64)], paging: Paging, linear: u64) -> Option<Mapping> {
        let tables: HashMap<_, _> = tables.iter().copied().collect();
        translate(&paging, linear, |a| {
            Some(tables.get(&a).copied().unwrap_or(0))
        })
    }

    #[test]
    fn four_levels_lead_to_a_page_with_the_rights_of_all_levels() {
        let linear = 0x7f12_3456_7abcu64;
        let index = |level: u32| (linear >> (12 + 9 * (level - 1)) & 511) * 8;
        let tables = |leaf: u64, middle: u64| {
            vec![
                (0x1000 + index(4), 0x2000 | 7),
                (0x2000 + index(3), 0x3000 | 7),
                (0x3000 + index(2), 0x4000 | middle),
                (0x4000 + index(1), 0x9_9000 | leaf),
            ]
        };
        let all = walk(&tables(7, 7), LONG, linear).unwrap();
        assert_eq!(
            all,
            Mapping {
                address: 0x9_9abc,
                remaining_bytes: 0x544,
                user: true,
                writable: true
            }
        );
        assert!(!walk(&tables(7, 3), LONG, linear).unwrap().user);
        assert!(!walk(&tables(5, 7), LONG, linear).unwrap().writable);
        assert_eq!(walk(&tables(6, 7), LONG, linear), None);
        assert_eq!(
            walk(&tables(7, 7), LONG, linear | 1 << 48),
            None,
            "not canonical"
        );
    }

    #[test]
    fn large_pages_end_the_walk_early() {
        let tables = [
            (0x1000, 0x2007),
            (0x2000, 0x4000_0087),
            (0x2008, 0x3007),
            (0x3000 + 8, 0x60_0087),
        ];
        assert_eq!(walk(&tables, LONG, 0x12_3456).unwrap().address, 0x4012_3456);
        let m = walk(&tables, LONG, 0x4020_0010).unwrap();
        assert_eq!(
            (m.address, m.remaining_bytes),
            (0x60_0010, (2 << 20) - 0x10)
        );
    }

    #[test]
    fn five_levels_take_57_bits() {
        let paging = Paging {
            cr4: CR4_PAE | CR4_LA57,
            ..LONG
        };
        let linear = 1u64 << 48;
        let tables = [
            (0x1000 + 8, 0x2007),
            (0x2000, 0x3007),
            (0x3000, 0x8000_0087),
        ];
        assert_eq!(walk(&tables, paging, linear).unwrap().address, 0x8000_0000);
    }

    #[test]
    fn legacy_tables_with_small_and_large_pages() {
        let paging = Paging {
            cr0: CR0_PG | 1,
            cr3: 0x1000,
            cr4: CR4_PSE,
            efer: 0,
        };
        // Two 32-bit entries in one word: directory 0 -> table 0x2000, directory 1 -> 4 MiB page.
        let tables = [(0x1000, 0x2007 | (0x0080_0087 << 32)), (0x2008, 0x5_0007)];
        assert_eq!(walk(&tables, paging, 0x2123).unwrap().address, 0x5_0123);
        assert_eq!(walk(&tables, paging, 0x40_1234).unwrap().address, 0x80_1234);
    }

    #[test]
    fn pae_has_four_entries_at_the_top() {
        let paging = Paging {
            cr0: CR0_PG | 1,
            cr3: 0x1020,
            cr4: CR4_PAE,
            efer: 0,
        };
        let tables = [
            (0x1020 + 8, 0x2001),
            (0x2000, 0x3007),
            (0x3000 + 5 * 8, 0x1_2345_6007),
        ];
        assert_eq!(
            walk(&tables, paging, 0x4000_5008).unwrap().address,
            0x1_2345_6008
        );
    }

    #[test]
    fn without_paging_nothing_is_the_callers_to_give() {
        let paging = Paging {
            cr0: 1,
            cr3: 0,
            cr4: 0,
            efer: 0,
        };
        assert_eq!(user_writable(&paging, 0x1000, |_| Some(7)), None);
    }
}
