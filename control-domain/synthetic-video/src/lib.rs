//! Hyper-V's synthetic video adapter, protocol 3.0 to 3.5: a [`vmbus::Device`] that learns where in its
//! memory the guest draws, and in which mode.
//!
//! - [`Video`] is the device. What it learns it tells the [`Display`], which has the memory.
//! - [`Screen`] is the end of whoever looks: what changed, and the guest's pointer.
//! - `wire` are the layouts, `monitor` says which resolutions there are, `pointer` puts a pointer's parts
//!   together.
//!
//! What is absent: pixels (they lie in the guest's memory), drawing, threads, clocks.
#![forbid(unsafe_code)]

mod device;
mod monitor;
mod pointer;
mod screen;
pub mod wire;

pub use device::{Display, INTERFACE, MEMORY_MIB, Mode, Video};
pub use monitor::RESOLUTIONS;
pub use pointer::{Image, Pointer};
pub use screen::{Area, Screen};

use vmbus::RingError;

/// A message that is shorter than its layout.
const SHORT: RingError = RingError::Protocol("a message that is shorter than it says");

/// A message that the driver has no reason to send.
const UNKNOWN: RingError = RingError::Protocol("a message that is none of the protocol's");

/// A mode that does not fit into the memory.
const NO_MODE: RingError = RingError::Protocol("a mode that the adapter has not");

/// A pointer that is larger than any, or whose parts are not what they say.
const NO_POINTER: RingError = RingError::Protocol("a pointer that is none");
