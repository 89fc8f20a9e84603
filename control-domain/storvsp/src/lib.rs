//! Hyper-V's synthetic storage: the host's side of a storage channel, as a state machine.
//!
//! A [`Controller`] takes what the guest put on a channel and answers with an [`Outcome`]: a completion to
//! put back, or an [`Io`], which holds everything that is needed to end it later. Whoever owns the
//! disks carries it out, at once with [`perform`] or by a queue, and asks it for its completion.
//! [`StorageDevice`] puts a controller on the bus, with [`Media`] behind it.
//!
//! ```text
//! wire/         packets as they lie on the ring      controller.rs  packets in, outcomes out
//! session.rs    the handshake                        io.rs          a request under way, and its end
//! offer.rs      how a channel is announced           perform.rs     a request against a disk, at once
//! device.rs     a controller on the bus              media.rs       where requests go
//! backplane.rs  units come and go
//! ```
//!
//! What is absent: threads, files; fibre channel; a panic on anything that a guest says.
//!
//! There is no public specification. The layouts are what Linux's `storvsc` driver and Microsoft's open
//! UEFI firmware put on the ring.
#![forbid(unsafe_code)]

mod backplane;
mod controller;
mod device;
mod io;
mod media;
mod offer;
mod perform;
mod session;
pub mod wire;

pub use backplane::Backplane;
pub use controller::{Controller, Outcome, Packet};
pub use device::StorageDevice;
pub use io::{Address, Completion, Io};
pub use media::{Disks, Media};
pub use offer::Attachment;
pub use perform::perform;
