//! What a guest sees at which guest-physical address: the nested page tables of one machine.
//!
//! Four levels, 2 MiB pages wherever address and length allow, split on demand. Overlay pages of
//! the hypervisor (hypercall page, SynIC pages …) lie over the guest's memory and give it back
//! unchanged.

use crate::hal::{Gpa, Hal, Hpa, Memory, NestedEntry};
use core::marker::PhantomData;
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::{FRAME_SIZE, PAGE_SIZE, Status};

/// Addresses a guest may use: 48 bits.
const GUEST_ADDRESS_END: u64 = 1 << 48;
/// Most entries one call changes, so that it stays bounded.
const ENTRIES_PER_CALL: u64 = 512;
/// Most overlays at a time: two a machine and three a processor.
const MAX_OVERLAYS: usize = 2 + 3 * hypervisor_abi::MAX_PROCESSORS;

/// Nested page tables.
pub struct NestedTables<H: Hal> {
    root: Hpa,
    pages_used: usize,
    quota_pages: usize,
    overlays: [Option<Overlay>; MAX_OVERLAYS],
    overlay_count: usize,
    hal: PhantomData<fn(H)>,
}

#[derive(Clone, Copy)]
struct Overlay {
    gpa: u64,
    /// The entry that was there, 0 if none.
    below: u64,
}

impl<H: Hal> NestedTables<H> {
    /// Maps nothing. The tables never take more than `quota_pages` of the pool.
    pub fn new(memory: &H::Memory, quota_pages: usize) -> Option<Self> {
        let root = memory.allocate_page()?;
        Some(Self {
            root,
            pages_used: 1,
            quota_pages,
            overlays: [None; MAX_OVERLAYS],
            overlay_count: 0,
            hal: PhantomData,
        })
    }

    /// Root table, for the world switch.
    pub fn root(&self) -> Hpa {
        self.root
    }

    /// Maps `length` bytes of host memory at `host`, contiguous, to `gpa`. Answers how many bytes
    /// it did; the rest is for the next call.
    pub fn map(
        &mut self,
        memory: &H::Memory,
        gpa: Gpa,
        host: Hpa,
        length: u64,
        writable: bool,
    ) -> Result<u64, Status> {
        check_range(gpa, length)?;
        let mut done = 0;
        let mut entries = 0;
        while done < length && entries < ENTRIES_PER_CALL {
            let (at, from) = (gpa.0 + done, host.0 + done);
            let large =
                at % FRAME_SIZE == 0 && from % FRAME_SIZE == 0 && length - done >= FRAME_SIZE;
            let level = if large { 2 } else { 1 };
            match self.map_one(
                memory,
                at,
                NestedEntry::Page {
                    address: Hpa(from),
                    writable,
                    level,
                },
                level,
            ) {
                Ok(()) => {}
                Err(status) if done == 0 => return Err(status),
                Err(_) => break,
            }
            done += if large { FRAME_SIZE } else { PAGE_SIZE };
            entries += 1;
        }
        Ok(done)
    }

    fn map_one(
        &mut self,
        memory: &H::Memory,
        gpa: u64,
        entry: NestedEntry,
        level: u32,
    ) -> Result<(), Status> {
        if level == 1
            && let Some(overlay) = self.overlay_at(gpa)
        {
            if overlay.below != 0 {
                return Err(Status::Overlap);
            }
            overlay.below = H::nested_entry(entry);
            return Ok(());
        }
        let (table, index) = self.slot(memory, gpa, level, true)?;
        let word = &memory.page(table)[index];
        match H::decode_nested_entry(word.load(Relaxed), level) {
            None => word.store(H::nested_entry(entry), Relaxed),
            // A lower table may be there, left by an earlier life: then page by page.
            Some(NestedEntry::Table(_)) if level == 2 => {
                let NestedEntry::Page {
                    address, writable, ..
                } = entry
                else {
                    return Err(Status::InvalidArgument);
                };
                for page in 0..512 {
                    let gpa = gpa + page * PAGE_SIZE;
                    let taken = match self.overlay_at(gpa) {
                        Some(overlay) => overlay.below != 0,
                        None => self.leaf(memory, gpa).is_some(),
                    };
                    if taken {
                        return Err(Status::Overlap);
                    }
                }
                for page in 0..512 {
                    let address = Hpa(address.0 + page * PAGE_SIZE);
                    self.map_one(
                        memory,
                        gpa + page * PAGE_SIZE,
                        NestedEntry::Page {
                            address,
                            writable,
                            level: 1,
                        },
                        1,
                    )?;
                }
            }
            Some(_) => return Err(Status::Overlap),
        }
        Ok(())
    }

    /// Takes memory away. Answers how many bytes it did; holes are skipped.
    pub fn unmap(&mut self, memory: &H::Memory, gpa: Gpa, length: u64) -> Result<u64, Status> {
        self.change(memory, gpa, length, |_| None)
    }

    /// Makes mapped memory writable or not. `NotPresent` at the first hole, if nothing was done yet.
    pub fn protect(
        &mut self,
        memory: &H::Memory,
        gpa: Gpa,
        length: u64,
        writable: bool,
    ) -> Result<u64, Status> {
        check_range(gpa, length)?;
        if self.leaf(memory, gpa.0).is_none() {
            return Err(Status::NotPresent);
        }
        self.change(memory, gpa, length, |(address, level)| {
            Some(NestedEntry::Page {
                address,
                writable,
                level,
            })
        })
    }

    fn change(
        &mut self,
        memory: &H::Memory,
        gpa: Gpa,
        length: u64,
        new: impl Fn((Hpa, u32)) -> Option<NestedEntry>,
    ) -> Result<u64, Status> {
        check_range(gpa, length)?;
        let mut done = 0;
        let mut entries = 0;
        while done < length && entries < ENTRIES_PER_CALL {
            let at = gpa.0 + done;
            entries += 1;
            if let Some(overlay) = self.overlay_at(at) {
                if let Some(NestedEntry::Page { address, .. }) =
                    H::decode_nested_entry(overlay.below, 1)
                {
                    overlay.below = new((address, 1)).map_or(0, H::nested_entry);
                }
                done += PAGE_SIZE;
                continue;
            }
            let Some((address, level)) = self.leaf(memory, at) else {
                done += if at.is_multiple_of(FRAME_SIZE) && self.frame_is_hole(memory, at) {
                    FRAME_SIZE.min(length - done)
                } else {
                    PAGE_SIZE
                };
                continue;
            };
            let whole = at.is_multiple_of(FRAME_SIZE) && length - done >= FRAME_SIZE;
            let level = if level == 2 && !whole {
                match self.split(memory, at) {
                    Ok(()) => {}
                    Err(status) if done == 0 => return Err(status),
                    // What was done counts: the caller must tell the processors of it.
                    Err(_) => break,
                }
                1
            } else {
                level
            };
            let size = if level == 2 { FRAME_SIZE } else { PAGE_SIZE };
            let (table, index) = self.slot(memory, at, level, false)?;
            let base = Hpa(address.0 & !(size - 1));
            memory.page(table)[index].store(new((base, level)).map_or(0, H::nested_entry), Relaxed);
            done += size;
        }
        Ok(done.min(length))
    }

    /// Where `gpa` leads, whether it may be written, and the page's level.
    pub fn translate(&self, memory: &H::Memory, gpa: Gpa) -> Option<Hpa> {
        self.leaf(memory, gpa.0).map(|(address, _)| address)
    }

    /// The page at `gpa` as words, be it the guest's or an overlay.
    pub fn words(&self, memory: &H::Memory, gpa: Gpa) -> Option<crate::fetch::Words> {
        let address = self.translate(memory, gpa)?;
        // What is mapped and not in the guest pool is a page of ours.
        Some(
            memory
                .guest_page(address)
                .unwrap_or_else(|| memory.page(Hpa(address.0 & !(PAGE_SIZE - 1)))),
        )
    }

    /// Lays a page of the hypervisor over `gpa`.
    pub fn place_overlay(
        &mut self,
        memory: &H::Memory,
        gpa: Gpa,
        page: Hpa,
        writable: bool,
    ) -> Result<(), Status> {
        check_range(gpa, PAGE_SIZE)?;
        if let Some((_, 2)) = self.leaf(memory, gpa.0) {
            self.split(memory, gpa.0)?;
        }
        let (table, index) = self.slot(memory, gpa.0, 1, true)?;
        let word = &memory.page(table)[index];
        if self.overlay_at(gpa.0).is_none() {
            let free = self
                .overlays
                .iter_mut()
                .find(|o| o.is_none())
                .ok_or(Status::OutOfPages)?;
            *free = Some(Overlay {
                gpa: gpa.0,
                below: word.load(Relaxed),
            });
            self.overlay_count += 1;
        }
        word.store(
            H::nested_entry(NestedEntry::Page {
                address: page,
                writable,
                level: 1,
            }),
            Relaxed,
        );
        Ok(())
    }

    /// Takes the overlay at `gpa` away; the memory below shows again.
    pub fn remove_overlay(&mut self, memory: &H::Memory, gpa: Gpa) {
        let Some(place) = self
            .overlays
            .iter_mut()
            .find(|o| o.is_some_and(|o| o.gpa == gpa.0))
        else {
            return;
        };
        let Some(overlay) = place.take() else { return };
        self.overlay_count -= 1;
        if let Ok((table, index)) = self.slot(memory, gpa.0, 1, false) {
            memory.page(table)[index].store(overlay.below, Relaxed);
        }
    }

    /// Gives all tables back. The machine has no processor any more.
    pub fn destroy(&mut self, memory: &H::Memory) {
        free_table::<H>(memory, self.root, 4);
        self.pages_used = 0;
    }

    fn overlay_at(&mut self, gpa: u64) -> Option<&mut Overlay> {
        if self.overlay_count == 0 {
            return None;
        }
        self.overlays
            .iter_mut()
            .flatten()
            .find(|o| o.gpa == gpa & !(PAGE_SIZE - 1))
    }

    /// Address and level of the page that maps `gpa`, the offset applied.
    fn leaf(&self, memory: &H::Memory, gpa: u64) -> Option<(Hpa, u32)> {
        if gpa >= GUEST_ADDRESS_END {
            return None;
        }
        let mut table = self.root;
        for level in (1..=4).rev() {
            let shift = 12 + 9 * (level - 1);
            let word = memory.page(table)[(gpa >> shift & 511) as usize].load(Relaxed);
            match H::decode_nested_entry(word, level)? {
                NestedEntry::Table(next) => table = next,
                NestedEntry::Page { address, .. } => {
                    return Some((Hpa(address.0 + (gpa & ((1 << shift) - 1))), level));
                }
            }
        }
        None
    }

    fn frame_is_hole(&self, memory: &H::Memory, gpa: u64) -> bool {
        let mut table = self.root;
        for level in (2..=4).rev() {
            let word =
                memory.page(table)[(gpa >> (12 + 9 * (level - 1)) & 511) as usize].load(Relaxed);
            match H::decode_nested_entry(word, level) {
                None => return true,
                Some(NestedEntry::Table(next)) => table = next,
                Some(_) => return false,
            }
        }
        false
    }

    /// The table and index of the entry for `gpa` at `level`; makes the tables above if `make`.
    fn slot(
        &mut self,
        memory: &H::Memory,
        gpa: u64,
        level: u32,
        make: bool,
    ) -> Result<(Hpa, usize), Status> {
        let mut table = self.root;
        for above in (level + 1..=4).rev() {
            let word = &memory.page(table)[(gpa >> (12 + 9 * (above - 1)) & 511) as usize];
            table = match H::decode_nested_entry(word.load(Relaxed), above) {
                Some(NestedEntry::Table(next)) => next,
                Some(NestedEntry::Page { .. }) => return Err(Status::Overlap),
                None if make => {
                    let next = self.new_table(memory)?;
                    word.store(H::nested_entry(NestedEntry::Table(next)), Relaxed);
                    next
                }
                None => return Err(Status::NotPresent),
            };
        }
        Ok((table, (gpa >> (12 + 9 * (level - 1)) & 511) as usize))
    }

    /// Turns the 2 MiB page that maps `gpa` into 512 small ones with the same rights.
    fn split(&mut self, memory: &H::Memory, gpa: u64) -> Result<(), Status> {
        let (table, index) = self.slot(memory, gpa, 2, false)?;
        let word = &memory.page(table)[index];
        let Some(NestedEntry::Page {
            address, writable, ..
        }) = H::decode_nested_entry(word.load(Relaxed), 2)
        else {
            return Ok(());
        };
        let small = self.new_table(memory)?;
        for (i, entry) in memory.page(small).iter().enumerate() {
            let address = Hpa(address.0 + i as u64 * PAGE_SIZE);
            entry.store(
                H::nested_entry(NestedEntry::Page {
                    address,
                    writable,
                    level: 1,
                }),
                Relaxed,
            );
        }
        // One store: a processor that walks meanwhile sees the old page or the new ones, alike.
        word.store(H::nested_entry(NestedEntry::Table(small)), Relaxed);
        Ok(())
    }

    fn new_table(&mut self, memory: &H::Memory) -> Result<Hpa, Status> {
        if self.pages_used >= self.quota_pages {
            return Err(Status::OutOfPages);
        }
        let page = memory.allocate_page().ok_or(Status::OutOfPages)?;
        self.pages_used += 1;
        Ok(page)
    }
}

fn free_table<H: Hal>(memory: &H::Memory, table: Hpa, level: u32) {
    if level > 1 {
        for word in memory.page(table) {
            if let Some(NestedEntry::Table(next)) =
                H::decode_nested_entry(word.load(Relaxed), level)
            {
                free_table::<H>(memory, next, level - 1);
            }
        }
    }
    memory.free_page(table);
}

/// Can a guest have `length` bytes at `gpa`? `InvalidArgument` if not, or if they are no pages.
pub fn check_range(gpa: Gpa, length: u64) -> Result<(), Status> {
    let aligned =
        gpa.0.is_multiple_of(PAGE_SIZE) && length.is_multiple_of(PAGE_SIZE) && length != 0;
    let inside = gpa
        .0
        .checked_add(length)
        .is_some_and(|end| end <= GUEST_ADDRESS_END);
    if aligned && inside {
        Ok(())
    } else {
        Err(Status::InvalidArgument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hal::fake::{FakeHal, FakeMemory};

    fn tables(memory: &'static FakeMemory) -> NestedTables<FakeHal> {
        NestedTables::new(&memory, 100).unwrap()
    }

    fn at(t: &NestedTables<FakeHal>, memory: &'static FakeMemory, gpa: u64) -> Option<u64> {
        t.translate(&memory, Gpa(gpa)).map(|h| h.0)
    }

    #[test]
    fn large_where_aligned_small_elsewhere() {
        let memory = FakeMemory::leaked(64, 4);
        let mut t = tables(memory);
        let host = Hpa(0x4000_0000);
        let mut done = 0;
        while done < 3 * FRAME_SIZE {
            done += t
                .map(
                    &memory,
                    Gpa(done),
                    Hpa(host.0 + done),
                    3 * FRAME_SIZE - done,
                    true,
                )
                .unwrap();
        }
        assert_eq!(at(&t, memory, 0), Some(host.0));
        assert_eq!(
            at(&t, memory, 2 * FRAME_SIZE + 0x1234),
            Some(host.0 + 2 * FRAME_SIZE + 0x1234)
        );
        assert_eq!(at(&t, memory, 3 * FRAME_SIZE), None);
        assert_eq!(
            t.pages_used, 3,
            "root and two levels of tables above large pages"
        );
        assert_eq!(
            t.map(&memory, Gpa(0x1000), host, PAGE_SIZE, true),
            Err(Status::Overlap)
        );
    }

    #[test]
    fn protecting_a_part_splits_and_keeps_the_rest() {
        let memory = FakeMemory::leaked(64, 4);
        let mut t = tables(memory);
        t.map(&memory, Gpa(0), Hpa(0x4000_0000), FRAME_SIZE, true)
            .unwrap();
        assert_eq!(t.protect(&memory, Gpa(0xc_0000), 0x4000, false), Ok(0x4000));
        assert_eq!(at(&t, memory, 0xc_0000), Some(0x400c_0000));
        let (table, index) = t.slot(&memory, 0xc_0000, 1, false).unwrap();
        let entry =
            |i: usize| FakeHal::decode_nested_entry((&memory).page(table)[i].load(Relaxed), 1);
        assert!(matches!(
            entry(index),
            Some(NestedEntry::Page {
                writable: false,
                ..
            })
        ));
        assert!(matches!(
            entry(index + 4),
            Some(NestedEntry::Page { writable: true, .. })
        ));
        assert_eq!(t.unmap(&memory, Gpa(0xc_0000), 0x1000), Ok(0x1000));
        assert_eq!(at(&t, memory, 0xc_0000), None);
        assert_eq!(at(&t, memory, 0xc_1000), Some(0x400c_1000));
        assert_eq!(
            t.protect(&memory, Gpa(0xc_0000), 0x1000, true),
            Err(Status::NotPresent)
        );
    }

    #[test]
    fn an_overlay_gives_back_what_was_below() {
        let memory = FakeMemory::leaked(64, 4);
        let mut t = tables(memory);
        t.map(&memory, Gpa(0), Hpa(0x4000_0000), FRAME_SIZE, true)
            .unwrap();
        t.place_overlay(&memory, Gpa(0x5000), Hpa(0x9000), false)
            .unwrap();
        assert_eq!(at(&t, memory, 0x5008), Some(0x9008));
        // The vmm takes the memory below away and the overlay stays.
        t.unmap(&memory, Gpa(0x5000), PAGE_SIZE).unwrap();
        assert_eq!(at(&t, memory, 0x5008), Some(0x9008));
        t.map(&memory, Gpa(0x5000), Hpa(0x4100_0000), PAGE_SIZE, true)
            .unwrap();
        t.remove_overlay(&memory, Gpa(0x5000));
        assert_eq!(at(&t, memory, 0x5008), Some(0x4100_0008));
    }

    #[test]
    fn the_quota_holds_and_all_pages_come_back() {
        let memory = FakeMemory::leaked(64, 4);
        let free = memory.free_pages();
        let mut t = NestedTables::<FakeHal>::new(&memory, 5).unwrap();
        t.map(&memory, Gpa(0), Hpa(0x4000_0000), PAGE_SIZE, true)
            .unwrap();
        assert_eq!(
            t.map(&memory, Gpa(1 << 40), Hpa(0x4000_1000), PAGE_SIZE, true),
            Err(Status::OutOfPages)
        );
        t.destroy(&memory);
        assert_eq!(memory.free_pages(), free);
    }

    #[test]
    fn odd_ranges_are_refused() {
        let memory = FakeMemory::leaked(64, 4);
        let mut t = tables(memory);
        for (gpa, length) in [
            (1, 4096),
            (0, 5),
            (0, 0),
            (u64::MAX - 4095, 4096),
            (1 << 48, 4096),
            ((1 << 48) - 4096, 8192),
        ] {
            assert_eq!(
                t.map(&memory, Gpa(gpa), Hpa(0), length, true),
                Err(Status::InvalidArgument)
            );
            assert_eq!(
                t.unmap(&memory, Gpa(gpa), length),
                Err(Status::InvalidArgument)
            );
        }
    }
}
