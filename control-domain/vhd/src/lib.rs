//! VHD, the disk format of Virtual PC, Virtual Server and Hyper-V, read and written in place.
//!
//! `footer`, `header`, `locator` and `bat` are the layouts of the VHD specification 1.0; `fixed` and [`Sparse`]
//! (dynamic and differencing) are the logic, over any [`disk::Storage`].
//!
//! What is absent: unsafe code, a panic on what a file says, conversion and repair behind the
//! person's back, and a moment at which a power cut leaves a file that does not open, or loses what
//! was flushed.
//!
//! *The size of a disk* is the footer's current size, whoever made it. For disks of Virtual PC
//! some readers take the smaller product of its geometry; its own guests saw the geometry through
//! the BIOS but the current size in IDENTIFY DEVICE, and Hyper-V takes the current size.
//!
//! *Time stamps* are not changed by writing: a child goes by its parent's, and whoever opens a disk for
//! writing looks for children first. A merge could otherwise not be cut short and go on.
//!
//! *Memory*: the block table (4 bytes a block, 64 MiB at most; 4 MiB for 2040 GiB in the usual blocks) and at
//! most three MiB of sector bitmaps, or 192 of them where they are larger than usual.
#![forbid(unsafe_code)]

mod bat;
mod bitmaps;
mod check;
mod create;
mod fixed;
mod footer;
mod header;
mod locate;
mod locator;
mod parent;
mod relink;
mod sparse;

pub use check::{Finding, check, repair};
pub use create::{DEFAULT_BLOCK_SIZE, create_differencing, create_dynamic, create_fixed};
pub use footer::{DiskType, FOOTER_SIZE, Footer, Geometry, MAX_SIZE};
pub use header::Header;
pub use locate::{Located, open};
pub use locator::Platform;
pub use parent::{ParentLink, ParentPath, identifier};
pub use relink::relink;
pub use sparse::Sparse;
