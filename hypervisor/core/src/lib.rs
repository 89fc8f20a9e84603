//! Everything the hypervisor decides.
//!
//! # Invariants
//!
//! - There is no unsafe code here, and no allocation.
//! - Nothing a guest does makes this crate panic.
//! - It knows no vendor's control structure: that is the hal's.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod apic;
pub mod calls;
pub mod control;
pub mod decode;
pub mod effect;
pub mod exits;
pub mod fault;
pub mod fetch;
pub mod hal;
pub mod hyperv;
pub mod inbox;
pub mod machine;
pub mod memory;
pub mod policy;
pub mod processor;
mod registers;
pub mod run;
