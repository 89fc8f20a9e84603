//! The control domain's nested tables: all physical memory at its own address, but what the
//! hypervisor keeps to itself.

use crate::hal::{Hal, Hpa, Memory, NestedEntry};
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// Addresses that four levels of tables can map.
const ADDRESS_END: u64 = 1 << 48;
/// Addresses mapped at start; what lies above is mapped when it is first touched.
const EAGER_END: u64 = 512 << 30;

/// Those tables.
pub struct IdentityTables {
    root: Hpa,
    gigabyte_pages: bool,
}

impl IdentityTables {
    /// Maps everything below 512 GiB except the `hidden` ranges.
    pub fn new<H: Hal>(hal: &H, hidden: &[Range<u64>], gigabyte_pages: bool) -> Option<Self> {
        let tables = Self {
            root: hal.memory().allocate_page()?,
            gigabyte_pages,
        };
        let mut at = 0;
        while at < EAGER_END {
            tables.map_gigabyte(hal, hidden, at)?;
            at += 1 << 30;
        }
        Some(tables)
    }

    /// Root table, for the world switch.
    pub fn root(&self) -> Hpa {
        self.root
    }

    /// Maps the gigabyte around `address`. `None`: out of pages, or no table reaches there. Mapping
    /// twice changes nothing.
    pub fn map_gigabyte<H: Hal>(&self, hal: &H, hidden: &[Range<u64>], address: u64) -> Option<()> {
        if address >= ADDRESS_END {
            return None;
        }
        self.fill(
            hal,
            hidden,
            self.root,
            4,
            address & !((1 << 30) - 1),
            1 << 30,
        )
    }

    /// Fills the entries of `table` at `level` for `[address, address + length)`.
    fn fill<H: Hal>(
        &self,
        hal: &H,
        hidden: &[Range<u64>],
        table: Hpa,
        level: u32,
        address: u64,
        length: u64,
    ) -> Option<()> {
        let memory = hal.memory();
        let size = 1u64 << (12 + 9 * (level - 1));
        let mut at = address;
        while at < address + length {
            let word = &memory.page(table)[(at / size % 512) as usize];
            let overlaps = |r: &Range<u64>| r.start < at + size && at < r.end;
            let touched = hidden.iter().any(|r| !r.is_empty() && overlaps(r));
            let page_exists = level == 1 || level == 2 || level == 3 && self.gigabyte_pages;
            let page = if page_exists && !touched {
                hal.identity_entry(Hpa(at), level)
            } else {
                None
            };
            if let Some(entry) = page {
                word.store(entry, Relaxed);
            } else if level > 1 {
                let next = match H::decode_nested_entry(word.load(Relaxed), level) {
                    Some(NestedEntry::Table(next)) => next,
                    _ => {
                        let next = memory.allocate_page()?;
                        word.store(H::nested_entry(NestedEntry::Table(next)), Relaxed);
                        next
                    }
                };
                self.fill(hal, hidden, next, level - 1, at, length.min(size))?;
            }
            at += size;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hal::fake::{FakeHal, FakeMemory};

    fn leaf(memory: &'static FakeMemory, root: Hpa, address: u64) -> Option<u64> {
        let mut table = root;
        for level in (1..=4).rev() {
            let shift = 12 + 9 * (level - 1);
            let word = (&memory).page(table)[(address >> shift & 511) as usize].load(Relaxed);
            match FakeHal::decode_nested_entry(word, level)? {
                NestedEntry::Table(next) => table = next,
                NestedEntry::Page { address: base, .. } => {
                    return Some(base.0 + (address & ((1 << shift) - 1)));
                }
            }
        }
        None
    }

    #[test]
    fn everything_is_where_it_is_but_the_hidden_ranges() {
        for gigabyte_pages in [true, false] {
            let hal = FakeHal::leaked(600, 1);
            let memory = hal.memory;
            let hidden = [0x4012_3000..0x4012_5000, 0x8000_0000..0x8040_0000, 0..0];
            let tables = IdentityTables::new(hal, &hidden, gigabyte_pages).unwrap();
            for address in [
                0,
                0xfee0_0000,
                0x3fff_ffff,
                0x4012_2fff,
                0x4012_5000,
                0x4020_0000,
                0x7fff_ffff,
                0x8040_0000,
                EAGER_END - 1,
            ] {
                assert_eq!(
                    leaf(memory, tables.root(), address),
                    Some(address),
                    "{address:#x}"
                );
            }
            for address in [0x4012_3000, 0x4012_4fff, 0x8000_0000, 0x803f_ffff] {
                assert_eq!(leaf(memory, tables.root(), address), None, "{address:#x}");
            }
            assert_eq!(leaf(memory, tables.root(), EAGER_END), None);
            tables.map_gigabyte(hal, &hidden, EAGER_END + 5).unwrap();
            assert_eq!(
                leaf(memory, tables.root(), EAGER_END + 0x1234),
                Some(EAGER_END + 0x1234)
            );
            // Tables of four levels would take these for addresses 48 bits lower.
            for address in [ADDRESS_END, ADDRESS_END + 0x8000_0000, u64::MAX] {
                let mapped = tables.map_gigabyte(hal, &hidden, address);
                assert_eq!(mapped, None, "{address:#x}");
            }
            assert_eq!(leaf(memory, tables.root(), 0), Some(0));
            assert_eq!(leaf(memory, tables.root(), 0x8000_0000), None);
        }
    }
}
