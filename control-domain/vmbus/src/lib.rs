//! The host's side of VMBus, the bus on which a Hyper-V guest finds the devices it has drivers for.
//!
//! - A device implements [`Device`]; its [`Offer`] says what the guest sees. It is called with a
//!   [`Channel`] to receive and send [`Packet`]s on.
//! - [`Bus`] is the whole: it takes the guest's messages and signals, keeps the offers, opens and
//!   closes channels, and calls the devices.
//! - Below lie three layers: `message` and `packet` are the wire's layouts, `server` is the state of the
//!   control protocol, `ring` copies packets in and out of the guest's memory.
//!
//! Everything that comes from a guest is hostile: lengths and indices are checked, ring contents
//! are copied once and judged in the copy. What a guest breaks is its own channel; the reason is
//! said once, and all other channels live on.
//!
//! What is absent: threads, clocks, files, hypercalls (the vmm has them), unsafe code, and a
//! reference into guest memory. Monitor pages are never used (`monitor_allocated` stays 0), so a
//! guest signals each time.
#![forbid(unsafe_code)]

mod bus;
mod channel;
mod doorbell;
mod endpoint;
mod gpadl;
mod inspect;
mod layout;
pub mod message;
mod offer;
pub mod packet;
mod paged_range;
mod pipe;
pub mod ring;
mod server;
mod version;

pub use bus::{Bus, ConnectRequest, Guest, Host, NoConnection, Posted};
pub use channel::{Channel, Device, Refused};
pub use doorbell::Doorbell;
pub use endpoint::{Endpoint, Served};
pub use gpadl::GpadlId;
pub use inspect::{BusState, DeviceState};
pub use offer::{Offer, OfferFlags};
pub use packet::{Outgoing, Packet, PacketKind};
pub use paged_range::{PagedRange, Piece, RangeError};
pub use pipe::{PIPE_DATA, PipeHeader};
pub use ring::RingError;
pub use version::Version;
