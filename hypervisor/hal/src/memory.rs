//! Physical memory as the hypervisor sees it: identity mapped, in three kinds.
//!
//! - the page pool, which is the hypervisor's alone;
//! - the guest pool, which machines own in 2 MiB frames and vmm processes map at the same time:
//!   only ever touched as atomics;
//! - the control domain's RAM, which is only read, to walk its page tables.

use crate::pool::Pool;
use core::ops::{Deref, DerefMut, Range};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use hypervisor_abi::{FRAME_SIZE, MachineConfig, RunPage};
use hypervisor_core::hal::{Hpa, Memory};

/// Most separate ranges that the guest pool may have.
pub const MAX_GUEST_RANGES: usize = 8;

/// All memory, described once at start.
pub struct PhysicalMemory {
    pool: Pool,
    guest: [Range<u64>; MAX_GUEST_RANGES],
    /// Ranges nobody but the hypervisor may see: its image and the pool.
    hidden: [Range<u64>; 4],
    /// End of identity-mapped RAM.
    top: u64,
}

/// What [`PhysicalMemory::new`] is told.
pub struct MemoryLayout {
    /// The page pool.
    pub pool: Range<u64>,
    /// The guest pool, 2 MiB aligned; unused entries are empty.
    pub guest: [Range<u64>; MAX_GUEST_RANGES],
    /// The hypervisor's image and whatever else it must keep to itself.
    pub hidden: [Range<u64>; 3],
    /// End of RAM.
    pub top: u64,
}

impl PhysicalMemory {
    /// Takes possession.
    ///
    /// # Safety
    /// 1. All RAM up to `top` is identity mapped, readable and writable.
    /// 2. `pool` is RAM that nothing else uses, page aligned.
    /// 3. `guest` is RAM that holds no object of this program, 2 MiB aligned.
    /// 4. The mapping stays for ever.
    pub unsafe fn new(layout: MemoryLayout) -> Self {
        let pages = ((layout.pool.end - layout.pool.start) / 4096) as usize;
        // SAFETY: (1), (2) and (4) are the pool's own conditions.
        let pool = unsafe { Pool::new(layout.pool.start, pages) };
        let [a, b, c] = layout.hidden;
        Self {
            pool,
            guest: layout.guest,
            hidden: [a, b, c, layout.pool],
            top: layout.top,
        }
    }

    /// The page pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The ranges that the control domain must not reach.
    pub fn hidden(&self) -> &[Range<u64>] {
        &self.hidden
    }

    fn in_guest_pool(&self, address: u64, len: u64) -> bool {
        address.checked_add(len).is_some_and(|end| {
            self.guest
                .iter()
                .any(|r| address >= r.start && end <= r.end)
        })
    }

    fn words<const N: usize>(&self, address: u64) -> Option<&'static [AtomicU64; N]> {
        let len = (N * 8) as u64;
        if !address.is_multiple_of(8) || !self.in_guest_pool(address, len) {
            return None;
        }
        // SAFETY: the range is in the guest pool: mapped for ever (1, 4), and no Rust object but
        // such atomics is ever made of it (3). Others may write it: atomics allow that.
        Some(unsafe { &*(address as *const [AtomicU64; N]) })
    }
}

/// An object in pages of the pool, which come back when it is dropped.
pub struct PoolBox<T> {
    pointer: *mut T,
    pool: &'static Pool,
}

// SAFETY: the box owns its object as `Box` does, so it may go where the object may go.
unsafe impl<T: Send> Send for PoolBox<T> {}
// SAFETY: a shared box gives shared references to its object and nothing else.
unsafe impl<T: Sync> Sync for PoolBox<T> {}

impl<T> PoolBox<T> {
    fn pages() -> usize {
        size_of::<T>().div_ceil(4096).max(1)
    }

    /// Moves `value` into pages of `pool`.
    pub fn new(pool: &'static Pool, value: T) -> Option<Self> {
        const { assert!(align_of::<T>() <= 4096) };
        let pointer = pool.allocate(Self::pages())? as *mut T;
        // SAFETY: the run is large and aligned enough, mapped, and nobody else's.
        unsafe { pointer.write(value) };
        Some(Self { pointer, pool })
    }

    /// Keeps the object for ever.
    pub fn leak(this: Self) -> &'static T
    where
        T: 'static,
    {
        let pointer = this.pointer;
        core::mem::forget(this);
        // SAFETY: valid and initialized, and nobody drops it any more.
        unsafe { &*pointer }
    }

    /// Physical address of the object.
    pub fn physical(&self) -> u64 {
        // Identity mapped.
        self.pointer as u64
    }
}

impl<T> Deref for PoolBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `pointer` is valid and initialized from `new` to `drop`, and borrowed through
        // the box alone.
        unsafe { &*self.pointer }
    }
}

impl<T> DerefMut for PoolBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes it exclusive.
        unsafe { &mut *self.pointer }
    }
}

impl<T> Drop for PoolBox<T> {
    fn drop(&mut self) {
        // SAFETY: the object is initialized and dropped only here.
        unsafe { self.pointer.drop_in_place() };
        self.pool.free(self.pointer as u64, Self::pages());
    }
}

/// Memory lives as long as the machine: the program leaks it at start.
impl Memory for &'static PhysicalMemory {
    type Box<T: Send + 'static> = PoolBox<T>;

    fn allocate<T: Send + 'static>(&self, value: T) -> Option<PoolBox<T>> {
        PoolBox::new(&self.pool, value)
    }

    fn allocate_page(&self) -> Option<Hpa> {
        self.pool.allocate(1).map(Hpa)
    }

    fn free_page(&self, page: Hpa) {
        self.pool.free(page.0, 1);
    }

    fn free_pages(&self) -> usize {
        self.pool.free_pages()
    }

    fn page(&self, page: Hpa) -> &'static [AtomicU64; 512] {
        assert!(
            self.pool.contains(page.0) && page.0.is_multiple_of(4096),
            "not a page of the pool"
        );
        // SAFETY: a page of the pool is mapped for ever. Pages that `allocate_page` hands out hold
        // nothing but words, and those are only touched as atomics. A caller that named the page
        // of another object would break that; `core` only passes on what `allocate_page` gave.
        unsafe { &*(page.0 as *const [AtomicU64; 512]) }
    }

    fn frame_count(&self) -> usize {
        self.guest
            .iter()
            .map(|r| ((r.end - r.start) / FRAME_SIZE) as usize)
            .sum()
    }

    fn frame_index(&self, address: Hpa) -> Option<usize> {
        let mut before = 0;
        for range in &self.guest {
            if range.contains(&address.0) {
                return Some(before + ((address.0 - range.start) / FRAME_SIZE) as usize);
            }
            before += ((range.end - range.start) / FRAME_SIZE) as usize;
        }
        None
    }

    fn guest_page(&self, address: Hpa) -> Option<&'static [AtomicU64; 512]> {
        self.words(address.0 & !0xfff)
    }

    fn run_page(&self, address: Hpa) -> Option<&'static RunPage> {
        const { assert!(size_of::<RunPage>() <= 4096) };
        self.words::<512>(address.0 & !0xfff)?;
        // SAFETY: `words` has checked the whole page; a run page is made of atomics alone.
        Some(unsafe { &*((address.0 & !0xfff) as *const RunPage) })
    }

    fn config(&self, address: Hpa) -> Option<&'static MachineConfig> {
        const { assert!(size_of::<MachineConfig>() <= 4096) };
        self.words::<512>(address.0 & !0xfff)?;
        // SAFETY: as for the run page.
        Some(unsafe { &*((address.0 & !0xfff) as *const MachineConfig) })
    }

    fn read_control_domain(&self, address: Hpa) -> Option<u64> {
        let a = address.0;
        if !a.is_multiple_of(8) {
            return None;
        }
        let page = self.control_domain_page(address)?;
        Some(page[(a & 0xfff) as usize / 8].load(Relaxed))
    }

    fn control_domain_page(&self, address: Hpa) -> Option<&'static [AtomicU64; 512]> {
        let a = address.0 & !0xfff;
        let end = a.checked_add(4096)?;
        if end > self.top || self.hidden.iter().any(|r| r.start < end && a < r.end) {
            return None;
        }
        // SAFETY: RAM below `top` is mapped for ever (1, 4); the page is part of no object of ours,
        // for those lie in the hidden ranges, which never change; the control
        // domain may write it at the same time, which atomics allow.
        Some(unsafe { &*(a as *const [AtomicU64; 512]) })
    }
}
