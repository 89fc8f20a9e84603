//! Many requests to one disk at a time: what a drive with a queue needs between a guest and a
//! [`disk::Disk`], which does one thing after another.
//!
//! - [`Queue`] takes [`Request`]s and answers [`Completion`]s, in any order.
//! - Where a request changes nothing but the bytes of a file, as the disk says
//!   ([`disk::Disk::direct`]), it goes between that file and the guest's memory by an [`Engine`], many at
//!   once. All else, new blocks, flushes, zeros, what is compressed, the disk does itself, at once.
//! - [`Ring`] is the engine that ships: io_uring. Where the kernel has none, everything runs through the
//!   disk, with the same results.
//!
//! # Order
//!
//! - Requests that touch the same 4 KiB, one of them changing it, run in the order in which they were
//!   submitted. Others in any order.
//! - A flush makes safe all requests that completed before it was submitted, and waits for no other.
//! - What finds no room on the host stays, with whatever touches the same bytes, until
//!   [`Queue::retry`]: nothing is lost, and nothing fails.
//!
//! What is absent: formats, threads, clocks, and unsafe code but in `ring`, which holds on to the memory that
//! the kernel was told of.
#![deny(unsafe_code)]

mod engine;
mod queue;
mod request;
#[allow(unsafe_code)]
mod ring;
mod span;

pub use engine::{Engine, Finished, Operation};
pub use queue::Queue;
pub use request::{Command, Completion, Request};
pub use ring::Ring;
