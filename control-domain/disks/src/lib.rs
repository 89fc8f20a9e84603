//! Disks as files: [`open`] looks at a file and answers a [`disk::Disk`], whatever its format.
//!
//! A machine's bytes lie in its files and nowhere else. The formats are crates of their own: `vhd`
//! and those that follow it; this one knows which file is which.
//!
//! What is absent: unsafe code, a panic on what a file says, conversion and repair behind the
//! person's back. What is not fully understood is refused, with the reason, the offset and the way out.
#![forbid(unsafe_code)]

mod open;

pub use open::{Format, Opened, open, open_storage};
