//! Hyper-V's integration services: small devices by which host and guest talk about the machine as a
//! whole. Each is a [`vmbus::Device`], and a handle by which the vmm uses it.
//!
//! - [`heartbeat`]: is the guest alive?
//! - [`shutdown`]: please end in good order.
//! - [`time_sync`]: what time is it outside?
//! - [`key_value`]: what the guest says about itself.
//! - [`backup`]: its file systems at rest, for a while.
//! - [`file_copy`]: a file for the guest.
//!
//! `wire` are the layouts, `session` is what all have in common: negotiation, then requests one at
//! a time; `question` is how a thread waits for the guest's answer to one.
//!
//! What is absent: clocks and files (time and bytes are given in).
#![forbid(unsafe_code)]

pub mod backup;
pub mod file_copy;
pub mod heartbeat;
pub mod key_value;
mod question;
mod session;
pub mod shutdown;
pub mod time_sync;
mod utf16;
pub mod wire;

pub use question::Unanswered;
