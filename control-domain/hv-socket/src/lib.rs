//! Hyper-V sockets (hv_sock; AF_VSOCK in Linux guests): connections between a guest and programs of the host,
//! which have a Unix socket at their end.
//!
//! - [`Service`] is what is connected to: a GUID, which stands for a port where it has the form that Linux knows.
//! - [`Connection`] is a `vmbus::Device`: one connection, bytes both ways, each way with an end of its own.
//!   [`Life`] says how far it is.
//! - `inbox` is what the host's program has sent and the guest's ring had no room for yet.
//!
//! What is absent: which Unix socket belongs to which service, and listening (the vmm has both); datagrams.
#![forbid(unsafe_code)]

mod connection;
mod inbox;
mod service;

pub use connection::{Connection, Life};
pub use service::Service;
