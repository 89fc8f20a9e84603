//! A machine's memory as its vmm sees it: granules of the guest pool, mapped into this process.
//!
//! - [`Mapping`]: the granules, one behind the other, 2 MiB aligned; and the control frame.
//! - [`Layout`]: which guest-physical range lies where in the mapping.
//! - [`GuestMemory`]: copies in and out by guest-physical address, bounds-checked.
//! - [`ScatterList`]: where the bytes of a transfer lie, for the kernel too.
//! - [`Paging`]: the guest's own page tables, for the instruction emulator.
//!
//! This crate never hands out a reference into memory that a guest can write: only copies, made
//! with relaxed atomics, because the guest's processors write at the same time. It never makes a
//! hypercall, and it never trusts an address.
//!
//! Unsafe is used for `mmap` and for the atomics behind it; each block carries its proof.

mod frame;
mod layout;
mod mapping;
mod memory;
mod paging;
mod scatter;

pub use frame::{ControlFrame, VMBUS_MESSAGE_SLOT};
pub use layout::{Layout, LayoutError, Range};
pub use mapping::{MapError, Mapping, granule_bytes};
pub use memory::{GuestMemory, NotMemory};
pub use paging::{Fault, Paging};
pub use scatter::ScatterList;
