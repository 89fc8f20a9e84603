//! The pure half of the UEFI executable: layouts and decisions of the boot, without a machine.
//!
//! Everything here reads slices and returns values or fills slices, so that it is tested on the
//! host. It never touches firmware, memory it was not given, or a processor register; it holds no
//! unsafe code. What does is in the binary (`main.rs` and the files it names).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod boot_params;
pub mod bytes;
pub mod command_line;
pub mod e820;
pub mod kernel;
pub mod memory_map;
pub mod microcode;
pub mod paging;
pub mod pool;
pub mod record;
pub mod sections;
