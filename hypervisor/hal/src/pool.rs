//! The hypervisor's page pool: a bitmap over one range of physical memory, fixed at start.

use spin::Mutex;

const PAGE: u64 = 4096;

/// Hands out runs of 4 KiB pages. The bitmap lies in the pool's own first pages.
pub struct Pool {
    base: u64,
    state: Mutex<State>,
}

struct State {
    /// One bit a page, 1 = taken.
    taken: &'static mut [u64],
    pages: usize,
    free: usize,
    /// Where the last search ended.
    next: usize,
}

impl Pool {
    /// A pool over `[base, base + pages * 4096)`.
    ///
    /// # Safety
    /// 1. The range is RAM, identity mapped writable, and nothing else uses it, ever.
    /// 2. `base` is page aligned.
    pub unsafe fn new(base: u64, pages: usize) -> Self {
        let words = pages.div_ceil(64);
        // SAFETY: (1) the bitmap lies at the pool's start, in memory that is ours alone; any bits
        // are a valid u64, and `base` is aligned for it by (2).
        let taken = unsafe { core::slice::from_raw_parts_mut(base as *mut u64, words) };
        taken.fill(0);
        let own = (words * 8).div_ceil(PAGE as usize);
        let mut state = State {
            taken,
            pages,
            free: pages,
            next: 0,
        };
        state.mark(0, own, true);
        // Bits behind the end count as taken.
        for page in pages..words * 64 {
            state.taken[page / 64] |= 1 << (page % 64);
        }
        Self {
            base,
            state: Mutex::new(state),
        }
    }

    /// A run of `count` pages, zeroed; its physical (and virtual) address.
    pub fn allocate(&self, count: usize) -> Option<u64> {
        let first = {
            let mut state = self.state.lock();
            let first = state.find(count)?;
            state.mark(first, count, true);
            first
        };
        let address = self.base + first as u64 * PAGE;
        // SAFETY: `find` answered pages inside the pool (1 of `new`) that were free until this
        // call took them, so nobody else refers to them.
        unsafe { core::ptr::write_bytes(address as *mut u8, 0, count * PAGE as usize) };
        Some(address)
    }

    /// Gives a run back.
    pub fn free(&self, address: u64, count: usize) {
        let first = ((address - self.base) / PAGE) as usize;
        self.state.lock().mark(first, count, false);
    }

    /// Does the page at `address` belong to the pool?
    pub fn contains(&self, address: u64) -> bool {
        let pages = self.state.lock().pages as u64;
        address >= self.base && address - self.base < pages * PAGE
    }

    /// Free pages.
    pub fn free_pages(&self) -> usize {
        self.state.lock().free
    }
}

impl State {
    fn is_taken(&self, page: usize) -> bool {
        self.taken[page / 64] & (1 << (page % 64)) != 0
    }

    fn find(&mut self, count: usize) -> Option<usize> {
        if count == 0 || count > self.free {
            return None;
        }
        let first = self
            .scan(self.next, self.pages, count)
            .or_else(|| self.scan(0, self.pages, count))?;
        self.next = if first + count >= self.pages {
            0
        } else {
            first + count
        };
        Some(first)
    }

    fn scan(&self, from: usize, to: usize, count: usize) -> Option<usize> {
        let mut page = from;
        let mut run = 0;
        while page < to {
            if page.is_multiple_of(64) && self.taken[page / 64] == u64::MAX {
                page += 64;
                run = 0;
                continue;
            }
            run = if self.is_taken(page) { 0 } else { run + 1 };
            page += 1;
            if run == count {
                return Some(page - count);
            }
        }
        None
    }

    fn mark(&mut self, first: usize, count: usize, taken: bool) {
        for page in first..first + count {
            let bit = 1 << (page % 64);
            let was = self.taken[page / 64] & bit != 0;
            if was == taken {
                continue;
            }
            if taken {
                self.taken[page / 64] |= bit;
                self.free -= 1;
            } else {
                self.taken[page / 64] &= !bit;
                self.free += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(pages: usize) -> Pool {
        let layout =
            std::alloc::Layout::from_size_align(pages * PAGE as usize, PAGE as usize).unwrap();
        // SAFETY: the layout has a size above zero.
        let base = unsafe { std::alloc::alloc(layout) } as u64;
        // SAFETY: freshly allocated for this pool alone, aligned, and never freed.
        unsafe { Pool::new(base, pages) }
    }

    #[test]
    fn pages_do_not_overlap_and_come_back() {
        let pool = pool(100);
        let free = pool.free_pages();
        assert_eq!(free, 99);
        let runs: Vec<_> = (0..33).map(|_| pool.allocate(3).unwrap()).collect();
        for (i, a) in runs.iter().enumerate() {
            assert!(pool.contains(*a) && a % PAGE == 0);
            assert!(runs[i + 1..].iter().all(|b| a.abs_diff(*b) >= 3 * PAGE));
        }
        assert_eq!(pool.allocate(1), None);
        for run in runs {
            pool.free(run, 3);
        }
        assert_eq!(pool.free_pages(), free);
        assert!(pool.allocate(99).is_some());
    }

    #[test]
    fn a_run_is_zeroed_and_never_crosses_the_end() {
        let pool = pool(70);
        let a = pool.allocate(60).unwrap();
        // SAFETY: the run is ours.
        unsafe { *(a as *mut u64) = 7 };
        pool.free(a, 60);
        assert_eq!(pool.allocate(70), None);
        let b = pool.allocate(60).unwrap();
        // SAFETY: the run is ours.
        assert_eq!(unsafe { *(b as *const u64) }, 0);
    }
}
