//! What a disk file that means harm is tried on: the bodies of the fuzz targets in `fuzz/`, of which the
//! tests here replay the corpus.
//!
//! Each target takes any bytes, makes a file of them ([`scatter`]), mends its checksums, so that chance
//! gets behind them, and does with it all that a person or a guest might: check, open, map, read,
//! write, close. Errors are fine. Not fine: a panic, an extent of no length or behind the end, a
//! write that reads as something else, much memory.
//!
//! What is absent: any use outside of tests, real files, chance.
#![forbid(unsafe_code)]

pub mod scatter;

mod bounded;
mod checksums;
mod exercise;
mod vhd_file;
mod vhdx_file;
mod vmdk_file;

pub use vhd_file::vhd;
pub use vhdx_file::vhdx;
pub use vmdk_file::vmdk;
