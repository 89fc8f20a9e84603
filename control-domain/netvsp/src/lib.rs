//! Hyper-V's synthetic network card: the host's side of a network channel, as a state machine.
//!
//! A [`Nic`] takes what the guest put on the channel and frames for the guest, and answers with
//! [`Effect`]s: packets to put on the channel, frames for the network. The channel speaks NVSP; inside
//! of it is RNDIS, whose messages lie in the guest's send buffer or memory one way, and in pieces of the
//! guest's receive buffer the other way.
//!
//! ```text
//! wire/       messages as they lie in memory        nic.rs        packets in, effects out
//! session.rs  the handshake and the two buffers     control.rs    RNDIS control messages
//! transmit.rs RNDIS packets into frames             adapter.rs    what the card says of itself (OIDs)
//! receive.rs  frames into RNDIS packets             offload.rs    what is said beside a frame
//! scaling.rs  which channel a frame goes to
//! device.rs   a card on the bus                     network.rs    where frames go to and come from
//! ```
//!
//! What is absent: threads, sockets; SR-IOV; changing of the
//! card's address by the guest; computing checksums, which is the business of whoever takes the frames;
//! a panic on anything that a guest says.
//!
//! Sources: [MS-RNDIS]; NVSP has no public specification, its layouts are what Linux's `netvsc` puts on
//! the ring.
#![forbid(unsafe_code)]

mod adapter;
mod control;
mod device;
mod network;
mod nic;
mod offload;
mod receive;
mod scaling;
mod session;
mod transmit;
pub mod wire;

pub use adapter::{Config, MacAddress};
pub use device::NetworkDevice;
pub use network::{Arrived, Network};
pub use nic::{Effect, Gpadls, Nic, Outgoing, Packet};
pub use offload::{Checksums, Frame, IpVersion, Offload, Segmentation, Verified, Vlan};
pub use receive::NoRoom;
pub use wire::Version;
