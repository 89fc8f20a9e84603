//! Hyper-V's integration services: small devices by which host and guest talk about the machine as a
//! whole. Each is a [`vmbus::Device`], and a handle by which the vmm uses it.
//!
//! - [`heartbeat`]: is the guest alive?
//! - [`shutdown`]: please end in good order.
//! - [`time_sync`]: what time is it outside?
//! - [`key_value`]: what the guest says about itself.
//!
//! `wire` are the layouts, `session` is what all four have in common: negotiation, then requests one at
//! a time.
//!
//! What is absent: clocks and files (time is given in), backup (VSS), file copy, dynamic memory.
#![forbid(unsafe_code)]

pub mod heartbeat;
pub mod key_value;
mod session;
pub mod shutdown;
pub mod time_sync;
pub mod wire;
