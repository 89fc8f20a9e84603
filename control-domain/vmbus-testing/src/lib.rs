//! A guest's side of VMBus, written from the drivers' point of view: tests of the bus and of its
//! devices run against it.
//!
//! - [`ModelGuest`] has memory, posts messages, opens channels.
//! - [`DriverChannel`] is a channel in a driver's hands, with rings of its own making.
//! - [`RecordingHost`] keeps what the bus wanted of the machine.
//!
//! What is absent: code that ships; code shared with the host's rings, whose mistakes it would share.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

mod channel;
mod guest;
mod host;

pub use channel::{DriverChannel, Received};
pub use guest::ModelGuest;
pub use host::RecordingHost;
