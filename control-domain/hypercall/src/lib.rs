//! Hypercalls from user mode, and what a thread that runs a guest needs of Linux.
//!
//! - [`Hypervisor`]: proof that this CPU is under the hypervisor, and the instruction that calls it.
//! - [`Machine`]: the typed calls of `hypervisor-abi`, loops over partial answers included.
//! - [`Kick`] and [`ThreadTimer`]: the two ways in which a run is ended from outside.
//!
//! This crate never maps memory, never looks into a guest, and never executes a call instruction
//! on a CPU that has not answered [`Hypervisor::probe`].
//!
//! Unsafe is used for the call instruction, CPUID-free vendor detection and the signal and timer
//! system calls; each block carries its proof.

mod cpu;
mod error;
mod instruction;
mod kick;
mod machine;
mod probe;
mod timer;

pub use cpu::{allowed_cpus, pin_to_cpu, read_tsc, set_timer_slack};
pub use error::CallError;
pub use instruction::{Answer, Calls};
pub use kick::{Kick, install_kick_signal};
pub use machine::{Machine, Pending};
pub use probe::{Hypervisor, NotUnder, Query};
pub use timer::ThreadTimer;
