//! The pool's memory and the guest's memory map: which piece of the machine's granules lies at
//! which guest-physical address, and what to change when the chipset moves something.
//!
//! The granules hold, in this order: the control frame (2 MiB), low RAM, high RAM, the BIOS image,
//! video memory, and in granules of its own what RAM the machine gets later. Each begins on a 2 MiB boundary, and RAM has the same offset within 2 MiB here as
//! in the guest, so that large pages fit.

use devices::{Region, Target};
use hypervisor_abi::{Access, FRAME_SIZE};
use std::ops::Range;

/// Where RAM behind the window for devices begins.
const HIGH_MEMORY: u64 = 4 << 30;

/// Where each part lies in the granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    low_bytes: u64,
    high_bytes: u64,
    /// Offset of the BIOS image.
    pub rom: u64,
    /// Offset of video memory.
    pub video: u64,
    /// Bytes of granules that the machine needs.
    pub total: u64,
    /// Where memory lies that it gets later.
    growth: Option<u64>,
}

/// Guests add memory in blocks that begin at multiples of this: Linux on x86-64 in 128 MiB.
const GROWTH_ALIGNMENT: u64 = 128 << 20;

impl PoolPlan {
    /// Plans a machine. RAM beyond `low_limit` lies from 4 GiB on. Sizes are at most 1 TiB.
    pub fn new(memory_bytes: u64, low_limit: u64, rom_bytes: u64, video_bytes: u64) -> Self {
        let low_bytes = memory_bytes.min(low_limit);
        let high_bytes = memory_bytes - low_bytes;
        let rom = FRAME_SIZE
            + low_bytes.next_multiple_of(FRAME_SIZE)
            + high_bytes.next_multiple_of(FRAME_SIZE);
        let video = rom + rom_bytes.next_multiple_of(FRAME_SIZE);
        let total = video + video_bytes.next_multiple_of(FRAME_SIZE);
        Self {
            low_bytes,
            high_bytes,
            rom,
            video,
            total,
            growth: None,
        }
    }

    /// The same, with room for more memory from an offset on.
    pub fn growing_from(self, offset: u64) -> Self {
        let growth = Some(offset);
        Self { growth, ..self }
    }

    /// Where memory that the machine gets later lies: its guest-physical address and its offset in the granules.
    pub fn growth(&self) -> Option<(u64, u64)> {
        let end = HIGH_MEMORY + self.high_bytes;
        Some((end.next_multiple_of(GROWTH_ALIGNMENT), self.growth?))
    }

    /// What the guest has of RAM at first, by guest-physical address.
    pub fn ram_ranges(&self) -> Vec<Range<u64>> {
        let high = HIGH_MEMORY..HIGH_MEMORY + self.high_bytes;
        let mut ranges = vec![0..self.low_bytes, high];
        ranges.retain(|range| !range.is_empty());
        ranges
    }

    /// RAM by guest-physical address.
    ///
    /// # Errors
    /// If the machine has no memory.
    pub fn ram(&self) -> Result<guest_memory::Layout, guest_memory::LayoutError> {
        let mut layout = guest_memory::Layout::default();
        for range in self.ram_ranges() {
            layout.add(guest_memory::Range {
                gpa: range.start,
                length: range.end - range.start,
                offset: self.ram_offset(range.start),
            })?;
        }
        if let Some((gpa, offset)) = self.growth() {
            layout.grow_from(gpa, offset);
        }
        Ok(layout)
    }

    fn ram_offset(&self, gpa: u64) -> u64 {
        if let Some((first, offset)) = self.growth()
            && gpa >= first
        {
            return offset + (gpa - first);
        }
        match gpa.checked_sub(HIGH_MEMORY) {
            Some(inside) => FRAME_SIZE + self.low_bytes.next_multiple_of(FRAME_SIZE) + inside,
            None => FRAME_SIZE + gpa,
        }
    }

    fn backing(&self, region: &Region, gpa: u64) -> (u64, Access) {
        let inside = gpa - region.start;
        match region.target {
            Target::Ram => (self.ram_offset(gpa), Access::Write),
            Target::RamReadOnly => (self.ram_offset(gpa), Access::Read),
            Target::Rom { offset } => (self.rom + offset + inside, Access::Read),
            Target::VideoMemory { offset } => {
                (self.video + u64::from(offset) + inside, Access::Write)
            }
        }
    }

    /// Offset in the granules and access of what is mapped at `gpa`.
    pub fn find(&self, regions: &[Region], gpa: u64) -> Option<(u64, Access)> {
        let region = regions
            .iter()
            .find(|r| gpa >= r.start && gpa - r.start < r.length)?;
        Some(self.backing(region, gpa))
    }

    /// What to do so that `new` is mapped where `old` was: removals first.
    pub fn changes(&self, old: &[Region], new: &[Region]) -> Vec<Change> {
        let mut edges: Vec<u64> = old
            .iter()
            .chain(new)
            .flat_map(|r| [r.start, r.start.saturating_add(r.length)])
            .collect();
        edges.sort_unstable();
        edges.dedup();
        let at = |regions: &[Region], gpa: u64| {
            let region = regions
                .iter()
                .find(|r| gpa >= r.start && gpa - r.start < r.length)?;
            Some(self.backing(region, gpa))
        };
        let (mut removals, mut others) = (Vec::new(), Vec::new());
        for pair in edges.windows(2) {
            let (gpa, length) = (pair[0], pair[1] - pair[0]);
            match (at(old, gpa), at(new, gpa)) {
                (before, after) if before == after => {}
                (Some((a, _)), Some((b, access))) if a == b => {
                    others.push(Change::Protect {
                        gpa,
                        length,
                        access,
                    });
                }
                (before, after) => {
                    if before.is_some() {
                        removals.push(Change::Remove { gpa, length });
                    }
                    if let Some((offset, access)) = after {
                        others.push(Change::Add {
                            gpa,
                            length,
                            offset,
                            access,
                        });
                    }
                }
            }
        }
        removals.append(&mut others);
        removals
    }
}

/// One change of the guest's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Unmap.
    Remove {
        /// Guest-physical address.
        gpa: u64,
        /// Length in bytes.
        length: u64,
    },
    /// Change the access.
    Protect {
        /// Guest-physical address.
        gpa: u64,
        /// Length in bytes.
        length: u64,
        /// The access from now on.
        access: Access,
    },
    /// Map.
    Add {
        /// Guest-physical address.
        gpa: u64,
        /// Length in bytes.
        length: u64,
        /// Offset in the granules.
        offset: u64,
        /// The access.
        access: Access,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn region(start: u64, length: u64, target: Target) -> Region {
        Region {
            start,
            length,
            target,
        }
    }

    #[test]
    fn parts_lie_apart_and_ram_keeps_its_place_within_2_mib() {
        let plan = PoolPlan::new(5 << 30, 3 << 30, 256 << 10, 16 * MIB);
        assert_eq!(plan.rom, 2 * MIB + (5 << 30));
        assert_eq!(plan.video, plan.rom + 2 * MIB);
        assert_eq!(plan.total, plan.video + 16 * MIB);
        let ram = plan.ram().unwrap();
        assert_eq!(ram.find(4 << 30), Some((2 * MIB + (3 << 30), 2 << 30)));
        assert_eq!(ram.find(3 << 30), None);
    }

    #[test]
    fn memory_grows_behind_all_other() {
        let plan = PoolPlan::new(5 << 30, 3 << 30, 256 << 10, 16 * MIB).growing_from(6 << 30);
        assert_eq!(plan.growth(), Some((6 << 30, 6 << 30)));
        let plan = PoolPlan::new(100 * MIB, 3 << 30, 256 << 10, 16 * MIB).growing_from(256 * MIB);
        assert_eq!(plan.growth(), Some((4 << 30, 256 * MIB)));
        let ram = plan.ram().unwrap();
        assert_eq!(ram.find(4 << 30), None);
        ram.set_growth(2 * MIB);
        assert_eq!(ram.find(4 << 30), Some((256 * MIB, 2 * MIB)));
        let grown = region(4 << 30, 2 * MIB, Target::Ram);
        let add = Change::Add {
            gpa: 4 << 30,
            length: 2 * MIB,
            offset: 256 * MIB,
            access: Access::Write,
        };
        assert_eq!(plan.changes(&[], &[grown]), [add]);
    }

    #[test]
    fn only_what_differs_is_touched() {
        let plan = PoolPlan::new(16 * MIB, 3 << 30, 256 << 10, 16 * MIB);
        let old = [
            region(0, 0xc0000, Target::Ram),
            region(0xe0000, 0x20000, Target::Rom { offset: 0x20000 }),
            region(MIB, 15 * MIB, Target::Ram),
        ];
        let new = [
            region(0, 0xc0000, Target::Ram),
            region(0xe0000, 0x10000, Target::Rom { offset: 0x20000 }),
            region(0xf0000, 0x10000, Target::RamReadOnly),
            region(MIB, 15 * MIB, Target::Ram),
            region(0xe000_0000, 16 * MIB, Target::VideoMemory { offset: 0 }),
        ];
        assert_eq!(
            plan.changes(&old, &new),
            [
                Change::Remove {
                    gpa: 0xf0000,
                    length: 0x10000
                },
                Change::Add {
                    gpa: 0xf0000,
                    length: 0x10000,
                    offset: 2 * MIB + 0xf0000,
                    access: Access::Read
                },
                Change::Add {
                    gpa: 0xe000_0000,
                    length: 16 * MIB,
                    offset: plan.video,
                    access: Access::Write
                },
            ]
        );
        let mut writable = new;
        writable[2].target = Target::Ram;
        assert_eq!(
            plan.changes(&new, &writable),
            [Change::Protect {
                gpa: 0xf0000,
                length: 0x10000,
                access: Access::Write
            }]
        );
        assert_eq!(plan.changes(&new, &new), []);
        assert_eq!(plan.changes(&[], &new).len(), new.len());
    }
}
