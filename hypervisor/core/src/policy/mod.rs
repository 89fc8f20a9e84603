//! What a guest, and the control domain, may know of and do to the CPU.
//!
//! Everything is in tables. What is not in a table is hidden: its CPUID bit is 0, its register
//! raises #GP. So a feature that a future CPU brings reaches nobody before someone has read what it
//! does and who switches its state.

pub mod control_domain;
pub mod cpuid;
pub mod msr;
mod mtrr;
pub mod xstate;

pub use control_domain::{control_domain_cpuid, control_domain_msr};
pub use cpuid::{Topology, guest_cpuid};
pub use msr::{GuestMsrs, guest_direct_msrs, guest_rdmsr, guest_wrmsr};

/// A word with these bits set.
const fn bits(list: &[u32]) -> u32 {
    let mut word = 0;
    let mut i = 0;
    while i < list.len() {
        word |= 1 << list[i];
        i += 1;
    }
    word
}
