//! What a guest that means harm puts on its channels: the bodies of the fuzz targets in `fuzz/`, of which
//! the tests here replay the corpus.
//!
//! Each target takes any bytes, makes packets of them ([`Records`]), and hands them to a device in a guest
//! whose memory is small. Errors are fine. Not fine: a panic, a request that reaches off its disk, a
//! frame that is none, much memory.
//!
//! What is absent: any use outside of tests, chance.
#![forbid(unsafe_code)]

mod bus;
mod network;
mod records;
mod storage;

pub use bus::bus;
pub use network::network;
pub use records::{Record, Records};
pub use storage::storage;

use guest_memory::GuestMemory;

/// Bytes of the guest's memory.
pub const MEMORY: u64 = 2 << 20;

fn memory() -> Option<GuestMemory> {
    GuestMemory::anonymous(MEMORY).ok()
}
