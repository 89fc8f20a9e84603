//! The Generation 1 chipset: the emulated hardware of a machine, as far as stock SeaBIOS and
//! operating systems of its era touch it, register-exact to the data sheets.
//!
//! A [`Chipset`] is a value. The vmm hands it every port and memory access of a guest together with
//! the time and the guest's memory, and takes back what became due: messages for the local APICs,
//! requests to reset or power off, changes of the memory layout.
//!
//! What is absent:
//! - no thread, no clock, no file, no socket: time arrives as `now_ns`, disks as [`BlockBackend`],
//!   bytes leave through a [`ByteSink`];
//! - no unsafe code: guest memory is behind [`GuestMemory`], video memory behind [`VideoMemory`];
//! - no panic on anything that a guest does: an access that no device claims reads as all ones and
//!   writes into the void, as on the bus.
#![forbid(unsafe_code)]

pub mod block;
pub mod bus;
pub mod chipset;
pub mod i8042;
pub mod interrupts;
pub mod ioapic;
pub mod layout;
pub mod pic;
pub mod pit;
pub mod rtc;
pub mod uart;

pub use block::{BlockBackend, BlockError};
pub use bus::{
    ByteSink, Context, GuestMemory, Message, Outputs, OutsideMemory, PortDevice, VideoMemory,
};
pub use chipset::{Chipset, Config};
pub use layout::{Region, Target};
