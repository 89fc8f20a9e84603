//! VMDK, the disk format of VMware and of OVF packages, for reading: the base of an overlay, or what
//! a person wants to have converted.
//!
//! `header`, `marker` and `descriptor` are the layouts ("Virtual Disk Format 5.0"), [`Vmdk`] is the
//! logic, over any [`disk::Storage`]. A disk is a row of extents: one sparse file with the
//! descriptor inside (monolithicSparse, streamOptimized), or files that a descriptor names
//! (monolithicFlat, twoGbMaxExtentFlat, twoGbMaxExtentSparse, vmfs).
//!
//! # Memory
//!
//! Opening reads the header and the descriptor (at most 1 MiB), nothing else. Tables are read when
//! they are needed, by the page: 256 pages of 4 KiB stay. Of compressed grains the last 8 stay,
//! 64 KiB each as a rule and 1 MiB at most. That holds for a disk, however many extents it has.
//!
//! What is absent: unsafe code, a panic on what a file says, writing, children of other disks
//! (snapshots), and extents anywhere but in the descriptor's folder: a disk that somebody sent must not
//! show its guest another file of the host.
#![forbid(unsafe_code)]

mod cache;
mod descriptor;
mod disk_of_extents;
mod header;
mod marker;
mod sparse;

pub use descriptor::{Descriptor, ExtentKind, ExtentLine, looks_like_descriptor};
pub use disk_of_extents::{Resolver, Vmdk};
pub use header::is_sparse;
