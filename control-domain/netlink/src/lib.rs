//! Bridges, addresses, routes and address translation, asked of the kernel by netlink.
//!
//! Nothing is remembered here: the kernel is the truth, and who asks twice for the same is answered
//! that it is there. `message.rs` is the wire, `socket.rs` asks and takes the answer, the other files
//! are what can be asked for.
//!
//! What is absent: listening to changes, threads, runtimes; programs (`ip`, `nft`) that have to be on the disk.
#![forbid(unsafe_code)]

pub mod address;
pub mod link;
mod message;
pub mod nat;
pub mod route;
mod socket;
mod switch;

pub use switch::{DEFAULT_SWITCH, bridge_name};
