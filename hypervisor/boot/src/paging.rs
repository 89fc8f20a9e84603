//! Page tables that map physical memory at its own address (APM vol. 2 §5.3, 4 levels).

use hypervisor_hal::handoff::Range;

/// One table of 512 entries.
pub type Table = [u64; 512];

/// Entry bit: present.
pub const PRESENT: u64 = 1;
/// Entry bit: writable.
pub const WRITABLE: u64 = 1 << 1;
/// Entry bit: not executable (needs `EFER.NXE`).
pub const NO_EXECUTE: u64 = 1 << 63;

const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// End of what 4 levels map at its own address: the lower canonical half.
pub const ADDRESS_END: u64 = 1 << 47;

/// The mapping was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingError {
    /// All tables are used.
    OutOfTables,
    /// The range is not made of whole pages below [`ADDRESS_END`].
    BadRange(Range),
}

impl core::fmt::Display for PagingError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OutOfTables => {
                f.write_str("page tables: too few were set aside; report this machine's memory map")
            }
            Self::BadRange(r) => write!(
                f,
                "page tables: {:#x}..{:#x} can't be mapped",
                r.start, r.end
            ),
        }
    }
}

/// A tree of page tables in a run of consecutive pages.
#[derive(Debug)]
pub struct IdentityMap<'a> {
    tables: &'a mut [Table],
    base: u64,
    used: usize,
    gigabyte_pages: bool,
}

/// Number of tables that suffice to map memory up to `end` and then `remapped` ranges of it again.
pub const fn tables_needed(end: u64, gigabyte_pages: bool, remapped: usize) -> usize {
    let directories = if gigabyte_pages {
        0
    } else {
        end.div_ceil(1 << 30) as usize
    };
    1 + end.div_ceil(1 << 39) as usize + directories + 4 * (remapped + 1)
}

impl<'a> IdentityMap<'a> {
    /// An empty tree in `tables`, which lie at the physical address `base`.
    pub fn new(
        tables: &'a mut [Table],
        base: u64,
        gigabyte_pages: bool,
    ) -> Result<Self, PagingError> {
        tables.first_mut().ok_or(PagingError::OutOfTables)?.fill(0);
        Ok(Self {
            tables,
            base,
            used: 1,
            gigabyte_pages,
        })
    }

    /// Physical address of the root: the value for CR3.
    pub const fn root(&self) -> u64 {
        self.base
    }

    /// Maps `range` with `flags`, in the largest pages that fit; what was mapped there before is
    /// replaced, larger pages are split.
    pub fn map(&mut self, range: Range, flags: u64) -> Result<(), PagingError> {
        Self::check(range)?;
        self.map_level(0, 3, range, flags | PRESENT)
    }

    /// Takes `range` out of the mapping.
    pub fn unmap(&mut self, range: Range) -> Result<(), PagingError> {
        Self::check(range)?;
        self.map_level(0, 3, range, 0)
    }

    fn check(range: Range) -> Result<(), PagingError> {
        let whole_pages = (range.start | range.end) & 0xfff == 0;
        if range.start > range.end || range.end > ADDRESS_END || !whole_pages {
            return Err(PagingError::BadRange(range));
        }
        Ok(())
    }

    fn map_level(
        &mut self,
        table: usize,
        level: u32,
        range: Range,
        flags: u64,
    ) -> Result<(), PagingError> {
        let shift = 12 + 9 * level;
        let size = 1u64 << shift;
        let mut address = range.start;
        while address < range.end {
            let index = (address >> shift) as usize & 511;
            let next = ((address & !(size - 1)) + size).min(range.end);
            let leaf = match level {
                0 => true,
                1 => next - address == size,
                2 => self.gigabyte_pages && next - address == size,
                _ => false,
            };
            if leaf {
                self.tables[table][index] = address | flags | if level > 0 { LARGE } else { 0 };
            } else {
                let child = self.child(table, index, level)?;
                self.map_level(
                    child,
                    level - 1,
                    Range {
                        start: address,
                        end: next,
                    },
                    flags,
                )?;
            }
            address = next;
        }
        Ok(())
    }

    /// The table below an entry; made, or split off a large page, if there is none yet.
    fn child(&mut self, table: usize, index: usize, level: u32) -> Result<usize, PagingError> {
        let entry = self.tables[table][index];
        if entry & (PRESENT | LARGE) == PRESENT {
            return Ok(((entry & ADDRESS) - self.base) as usize / size_of::<Table>());
        }
        let child = self.used;
        let new = self.tables.get_mut(child).ok_or(PagingError::OutOfTables)?;
        new.fill(0);
        if entry & PRESENT != 0 {
            let size = 1u64 << (12 + 9 * (level - 1));
            let kept = if level - 1 == 0 {
                entry & !LARGE
            } else {
                entry
            };
            for (slot, offset) in new.iter_mut().zip((0..).step_by(size as usize)) {
                *slot = kept + offset;
            }
        }
        self.used += 1;
        self.tables[table][index] =
            (self.base + (child * size_of::<Table>()) as u64) | PRESENT | WRITABLE;
        Ok(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const BASE: u64 = 0x7654_3000;

    /// What the processor would do: physical address and flags.
    fn walk(tables: &[Table], address: u64) -> Option<(u64, u64)> {
        let mut table = 0;
        for level in (0..4).rev() {
            let shift = 12 + 9 * level;
            let entry = tables[table][(address >> shift) as usize & 511];
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                let mask = (1u64 << shift) - 1;
                return Some((
                    entry & ADDRESS & !mask | address & mask,
                    entry & (WRITABLE | NO_EXECUTE),
                ));
            }
            table = ((entry & ADDRESS) - BASE) as usize / 4096;
        }
        None
    }

    fn check(gigabyte_pages: bool) {
        let end = 0x1_4000_0000;
        let count = tables_needed(end, gigabyte_pages, 2);
        let mut tables: Vec<Table> = std::vec![[!0; 512]; count];
        let mut map = IdentityMap::new(&mut tables, BASE, gigabyte_pages).unwrap();
        map.map(Range { start: 0x1000, end }, WRITABLE | NO_EXECUTE)
            .unwrap();
        map.map(
            Range {
                start: 0x7fe0_3000,
                end: 0x7fe0_5000,
            },
            0,
        )
        .unwrap();
        map.unmap(Range {
            start: 0x9000_0000,
            end: 0x9000_1000,
        })
        .unwrap();
        assert_eq!(map.root(), BASE);
        assert_eq!(walk(&tables, 0x9000_0fff), None);
        assert_eq!(
            walk(&tables, 0x9000_1000),
            Some((0x9000_1000, WRITABLE | NO_EXECUTE))
        );
        assert_eq!(walk(&tables, 0xfff), None);
        assert_eq!(walk(&tables, end), None);
        for address in [
            0x1000,
            0x20_0123,
            0x3fff_ffff,
            0x7fe0_2fff,
            0x7fe0_5000,
            0xfee0_0300,
            0x1_3fff_ffff,
        ] {
            assert_eq!(
                walk(&tables, address),
                Some((address, WRITABLE | NO_EXECUTE)),
                "{address:#x}"
            );
        }
        assert_eq!(walk(&tables, 0x7fe0_4abc), Some((0x7fe0_4abc, 0)));
    }

    #[test]
    fn maps_everything_at_its_own_address() {
        check(true);
        check(false);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut tables = [[0; 512]; 2];
        let mut map = IdentityMap::new(&mut tables, BASE, false).unwrap();
        assert_eq!(
            map.map(
                Range {
                    start: 0,
                    end: 4096
                },
                0
            ),
            Err(PagingError::OutOfTables)
        );
        let odd = Range {
            start: 1,
            end: 4096,
        };
        assert_eq!(map.map(odd, 0), Err(PagingError::BadRange(odd)));
        assert!(
            map.map(
                Range {
                    start: 0,
                    end: ADDRESS_END + 4096
                },
                0
            )
            .is_err()
        );
        assert!(IdentityMap::new(&mut [], BASE, false).is_err());
    }
}
