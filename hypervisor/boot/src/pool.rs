//! How much memory is set aside, and where: the guest pool and the hypervisor's own pages.

use crate::memory_map::{Descriptor, EFI_MEMORY_SP, memory_type};
use hypervisor_hal::handoff::{MAX_POOL_RANGES, Range};

const MIB: u64 = 1 << 20;

/// All pools start and end on this many bytes.
pub const ALIGNMENT: u64 = 2 * MIB;

/// The guest pool starts no lower: what lies below is for the control domain's kernel.
const LOWEST_START: u64 = 64 * MIB;

/// Memory that the control domain keeps at least.
pub const CONTROL_DOMAIN_MINIMUM: u64 = 384 * MIB;

/// "Write-back" in the attributes of a descriptor.
const EFI_MEMORY_WB: u64 = 8;

/// The guest pool's size in bytes, if the command line does not say: half of all memory.
pub const fn default_guest_pool_size(memory_size: u64) -> u64 {
    memory_size / 2
}

/// Size in bytes of the hypervisor's page pool: 8 MiB, and a 512th of all memory (nested page
/// tables that map all of it in 4 KiB pages need as much), and 256 KiB a CPU.
pub const fn page_pool_size(memory_size: u64, cpu_count: usize) -> u64 {
    let size = 8 * MIB + memory_size / 512 + cpu_count as u64 * (MIB / 4);
    size.next_multiple_of(ALIGNMENT)
}

/// The chosen ranges of the guest pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestPool {
    /// The ranges, ascending; only the first `count` are used.
    pub ranges: [Range; MAX_POOL_RANGES],
    /// How many ranges.
    pub count: usize,
}

impl GuestPool {
    /// The ranges, ascending.
    pub fn ranges(&self) -> &[Range] {
        self.ranges.get(..self.count).unwrap_or(&[])
    }

    /// Size in bytes of all ranges.
    pub fn size(&self) -> u64 {
        self.ranges().iter().map(Range::len).sum()
    }
}

/// The part of a descriptor that a pool can be cut from.
fn usable(descriptor: &Descriptor) -> Range {
    let free = descriptor.kind == memory_type::CONVENTIONAL
        && descriptor.attribute & EFI_MEMORY_SP == 0
        && descriptor.attribute & EFI_MEMORY_WB != 0;
    if !free {
        return Range::default();
    }
    let Range { start, end } = descriptor.range();
    match start.max(LOWEST_START).checked_next_multiple_of(ALIGNMENT) {
        Some(start) => Range {
            start,
            end: end & !(ALIGNMENT - 1),
        },
        None => Range::default(),
    }
}

/// The unit in bytes that the control domain cuts the guest pool into, from the option
/// `entente.granule_mib`: an even number of MiB, 256 by default.
pub fn granule(option: Option<&str>) -> u64 {
    let asked = option.and_then(|value| value.parse::<u64>().ok());
    let mib = asked.filter(|mib| *mib > 0 && mib.is_multiple_of(2) && *mib <= 1 << 20);
    mib.unwrap_or(256) * MIB
}

/// Chooses up to `size` bytes of free memory for the guests, in ranges of whole granules, from the
/// top down, so that what a device with 32-bit addresses can reach is left to the control domain.
/// Takes less if the control domain would keep less than [`CONTROL_DOMAIN_MINIMUM`].
pub fn choose_guest_pool(map: &[Descriptor], size: u64, granule: u64) -> GuestPool {
    let free = map
        .iter()
        .filter(|d| d.kind == memory_type::CONVENTIONAL)
        .map(|d| d.range().len());
    let available = free
        .fold(0, u64::saturating_add)
        .saturating_sub(CONTROL_DOMAIN_MINIMUM);
    let whole_granules = |bytes: u64| bytes - bytes % granule.max(ALIGNMENT);
    let mut wanted = whole_granules(size.min(available));
    let mut pool = GuestPool::default();
    let mut below = u64::MAX;
    while wanted > 0 {
        let candidates = map.iter().map(usable);
        let highest = candidates
            .filter(|r| r.end <= below && whole_granules(r.len()) > 0)
            .max_by_key(|r| r.start);
        let (Some(range), Some(slot)) = (highest, pool.ranges.get_mut(pool.count)) else {
            break;
        };
        let taken = wanted.min(whole_granules(range.len()));
        *slot = Range {
            start: range.end - taken,
            end: range.end,
        };
        pool.count += 1;
        wanted -= taken;
        below = range.start;
    }
    if let Some(used) = pool.ranges.get_mut(..pool.count) {
        used.reverse();
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(start: u64, end: u64) -> Descriptor {
        Descriptor {
            kind: memory_type::CONVENTIONAL,
            start,
            pages: (end - start) / 4096,
            attribute: 0xf,
        }
    }

    #[test]
    fn takes_the_top_first_and_what_is_missing_below() {
        let map = [
            free(0x10_0000, 0x6000_1000),
            free(0x1_0000_0000, 0x1_1000_0000),
            free(0x7000_0000, 0x7010_0000),
        ];
        let pool = choose_guest_pool(&map, 520 * MIB, 256 * MIB);
        assert_eq!(
            pool.ranges(),
            [
                Range {
                    start: 0x5000_0000,
                    end: 0x6000_0000
                },
                Range {
                    start: 0x1_0000_0000,
                    end: 0x1_1000_0000
                }
            ]
        );
        assert_eq!(pool.size(), 512 * MIB);
    }

    #[test]
    fn leaves_the_control_domain_its_part() {
        let map = [free(0, 1024 * MIB)];
        assert_eq!(
            choose_guest_pool(&map, u64::MAX, 64 * MIB).size(),
            640 * MIB
        );
        assert_eq!(
            choose_guest_pool(&[free(0, 300 * MIB)], 64 * MIB, 2 * MIB).count,
            0
        );
    }

    #[test]
    fn never_takes_what_is_not_free_write_back_memory() {
        let mut uncached = free(1 << 30, 2 << 30);
        uncached.attribute = 1;
        let loader = Descriptor {
            kind: memory_type::LOADER_DATA,
            ..free(2 << 30, 3 << 30)
        };
        let special = Descriptor {
            attribute: 0xf | EFI_MEMORY_SP,
            ..free(3 << 30, 4 << 30)
        };
        assert_eq!(
            choose_guest_pool(&[uncached, loader, special], 512 * MIB, 2 * MIB).count,
            0
        );
    }

    #[test]
    fn every_range_is_whole_granules() {
        let map = [
            free(0x1000_0000, 0x6100_0000),
            free(0x1_0000_0000, 0x1_1800_0000),
        ];
        let pool = choose_guest_pool(&map, u64::MAX, 256 * MIB);
        assert_eq!(pool.count, 2);
        assert!(pool.ranges().iter().all(|r| r.len() % (256 * MIB) == 0));
        assert_eq!(pool.size(), 1280 * MIB);
        assert_eq!(granule(None), 256 * MIB);
        assert_eq!(granule(Some("64")), 64 * MIB);
        for nonsense in ["0", "3", "x", "-2", "18446744073709551616"] {
            assert_eq!(granule(Some(nonsense)), 256 * MIB);
        }
    }

    #[test]
    fn the_page_pool_follows_its_formula() {
        assert_eq!(page_pool_size(2048 * MIB, 2), 14 * MIB);
        assert_eq!(page_pool_size(64 << 30, 16), 140 * MIB);
    }
}
