//! Hyper-V's synthetic keyboard and mouse. Each is a [`vmbus::Device`], and a handle by which the vmm
//! puts in what the person does.
//!
//! - [`keyboard`]: keys pressed and released, by their codes of scan code set 1.
//! - [`mouse`]: a pointer that is told where it is on the screen, with buttons and a wheel.
//!
//! `wire` are the layouts, `events` is what waits for the guest. A handle says whether a driver listens;
//! where none does, the vmm has the emulated keyboard controller.
//!
//! What is absent: threads, clocks, files; maps from characters to keys; LEDs, which nobody would see.
#![forbid(unsafe_code)]

mod events;
pub mod keyboard;
pub mod mouse;
pub mod wire;

/// A message that is shorter than its layout.
const SHORT: vmbus::RingError =
    vmbus::RingError::Protocol("a message that is shorter than it says");

/// A message that the driver has no reason to send.
const UNKNOWN: vmbus::RingError =
    vmbus::RingError::Protocol("a message that is none of the protocol's");
