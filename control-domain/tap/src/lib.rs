//! A tap device of the kernel as the network behind a synthetic card.
//!
//! Each frame has a virtio-net header before it, in which the guest's card and the kernel tell each other
//! what is left to do: so checksums and large sends of a guest are computed and cut as late as possible,
//! by the hardware or never.
//!
//! ```text
//! device.rs   /dev/net/tun: open, read, write         send.rs      a guest's frame into what the kernel takes
//! header.rs   the virtio-net header                   receive.rs   the other way
//! frame.rs    where IP and TCP begin, checksums       vlan.rs      802.1Q tags in frames
//! network.rs  the network: a device, its thread
//! ```
//!
//! What is absent: bridges and addresses (crate `netlink`); receive offload of segments (frames for a guest
//! come cut to the MTU); a panic on anything that a guest or the network sends.
//!
//! Unsafe code is in `device.rs` alone: requests to the kernel that have no safe name.
#![deny(unsafe_code)]

#[cfg(test)]
mod bridge_tests;
mod device;
mod frame;
mod header;
mod network;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod vlan;

pub use device::Tap;
pub use network::{Port, TapNetwork};
