//! Pages that the hypervisor writes to as well.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// One page of memory, shared with the hypervisor.
#[repr(C, align(4096))]
pub struct Page(UnsafeCell<[u8; 4096]>);

// SAFETY: all access is volatile and by single words.
unsafe impl Sync for Page {}

impl Page {
    /// A page of zeros.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; 4096]))
    }

    /// Its guest-physical address, which is its linear one.
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }

    /// Reads 8 bytes at a multiple of 8.
    pub fn read(&self, offset: usize) -> u64 {
        assert!(offset <= 4088 && offset.is_multiple_of(8));
        // SAFETY: within the page and aligned; volatile, as the hypervisor writes too.
        unsafe {
            self.0
                .get()
                .cast::<u8>()
                .add(offset)
                .cast::<u64>()
                .read_volatile()
        }
    }

    /// Reads 8 bytes at a multiple of 8 and clears them, in one instruction.
    pub fn take(&self, offset: usize) -> u64 {
        assert!(offset <= 4088 && offset.is_multiple_of(8));
        // SAFETY: within the page and aligned, and as long-lived as `self`; the hypervisor's accesses are whole words.
        unsafe { AtomicU64::from_ptr(self.0.get().cast::<u8>().add(offset).cast()) }.swap(0, SeqCst)
    }

    /// Writes 8 bytes at a multiple of 8.
    pub fn write(&self, offset: usize, value: u64) {
        assert!(offset <= 4088 && offset.is_multiple_of(8));
        // SAFETY: as above.
        unsafe {
            self.0
                .get()
                .cast::<u8>()
                .add(offset)
                .cast::<u64>()
                .write_volatile(value)
        };
    }
}
