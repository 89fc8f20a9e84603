//! Storages for the tests of the disk formats: what a power cut leaves of a file, and what may be in it.
//!
//! - [`Image`] is a file in memory, sparse, with clones that cost little.
//! - [`Volatile`] is a file whose unflushed writes a power cut may take, each one or each 512-byte
//!   sector of it; it remembers all it was told, and [`Volatile::cuts`] tries the cuts.
//! - [`History`] is what a guest wrote and flushed when, and judges a disk after a cut by that.
//! - [`Random`] is chance by a seed, so that a failure can be had again; [`rounds`] are the seeds of a night.
//!
//! What is absent: any use outside of tests, any format, real files, and chance without a seed.
#![forbid(unsafe_code)]

mod corpus;
mod cuts;
mod history;
mod image;
mod random;
mod rounds;
mod volatile;

pub use corpus::replay;
pub use cuts::Cut;
pub use history::History;
pub use image::Image;
pub use random::Random;
pub use rounds::rounds;
pub use volatile::{Moment, Volatile};

/// What a disk writes whole: a cut tears longer writes at its multiples.
pub const SECTOR: u64 = 512;
