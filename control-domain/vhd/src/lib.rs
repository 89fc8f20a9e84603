//! VHD, the disk format of Virtual PC, Virtual Server and Hyper-V, read and written in place.
//!
//! `footer`, `header` and `bat` are the layouts of the VHD specification 1.0; [`Fixed`] and
//! [`Dynamic`] are the logic, over any [`disk::Storage`].
//!
//! What is absent: unsafe code, a panic on what a file says, conversion and repair behind the
//! person's back, and a moment at which a power cut leaves a file that does not open, or loses what
//! was flushed.
//!
//! *The size of a disk* is the footer's current size, whoever made it. For disks of Virtual PC
//! some readers take the smaller product of its geometry; its own guests saw the geometry through
//! the BIOS but the current size in IDENTIFY DEVICE, and Hyper-V takes the current size.
#![forbid(unsafe_code)]

mod bat;
mod create;
mod dynamic;
mod fixed;
mod footer;
mod header;

pub use create::create_dynamic;
pub use dynamic::Dynamic;
pub use fixed::Fixed;
pub use footer::{DiskType, FOOTER_SIZE, Footer, Geometry};
