//! The pipeline and every developer command of Entente: `cargo xtask COMMAND`.
//!
//! This file dispatches; each command and each noun of the pipeline has a file of its own.
//!
//! # Invariants
//!
//! - No output depends on the clock, on chance, on the order of a folder, on who builds or where:
//!   time is [`context::EPOCH_SECONDS`], identifiers are derived, lists are sorted.
//! - Nothing outside the checkout's `.cache/`, `out/` and target folder is written, and no root is
//!   needed, but to install what the host lacks.
//! - It never links hypervisor code: it builds it, and talks to it over serial lines and files.
#![forbid(unsafe_code)]

mod bench;
mod bochs;
mod boot;
mod cli;
mod context;
mod digest;
mod disk_check;
mod doctor;
mod firmware;
mod fuzz;
mod guest_disk;
mod host;
mod image;
mod like;
mod machine_disks;
mod packages;
mod pc;
mod progress;
mod recipe;
mod repro;
mod rows;
mod sysroot;
mod test;
mod toolchain;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
