//! Pieces of guest-physical memory that stand for one buffer: what a guest names when it wants data moved.
//!
//! A [`Buffer`] is a claim: its numbers are checked when it is made, whether there is memory is seen when it
//! is used, by the [`Memory`] that does the copying. What is absent: the mapping, references into
//! it, and any protocol.
#![forbid(unsafe_code)]

mod buffer;
mod memory;

pub use buffer::{Buffer, Piece};
pub use memory::{Memory, OutsideMemory};
