//! Hyper-V's dynamic memory: while it runs, a guest gives pages back that it promises not to use, and gets them
//! again (the balloon), and it is told of new memory (hot add).
//!
//! [`DynamicMemory`] is the [`vmbus::Device`]; [`Assigned`] is the vmm's handle, by which it says how much
//! memory the guest is to have and hears how much it needs. `wire` are the layouts, `pages` the pages that the
//! guest has given. All numbers are of pages of 4 KiB.
//!
//! What is absent: threads, clocks; a decision how much memory a guest should have; what becomes of the pages.
#![forbid(unsafe_code)]

mod assigned;
mod device;
mod pages;
pub mod wire;

pub use assigned::{Assigned, Reported, State, Unsettled};
pub use device::{DynamicMemory, INTERFACE};
pub use wire::PageRange;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// Guests give pages in multiples of this: 2 MiB.
pub const PAGES_AT_ONCE: u64 = 512;
