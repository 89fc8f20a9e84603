//! What touches the machine: world switch, page tables, model-specific registers.
//!
//! # Invariants
//!
//! - Physical addresses are pointers: the host page tables map all memory at its own address.
//! - Guests' memory is only ever touched as atomics, and no object of ours lies in it.
//! - Nothing here decides anything: policy is `hypervisor-core`'s.
#![cfg_attr(not(test), no_std)]

mod cpu;
mod entropy;
mod extended;
pub mod handoff;
mod machine;
pub mod memory;
mod pool;
mod start;
mod svm;
mod tags;
mod unswitched;
mod vmx;

pub use start::{Missing, check, nmi_arrived, start};
