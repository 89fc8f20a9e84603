//! Boots Entente in an emulator and watches its serial line: the harness, and the rows as data.
//!
//! A row (`rows/*.yaml`) says what is booted, which lines must appear in which order, which must
//! never appear, and how many CPU seconds the emulator took when it was measured. `cargo xtask
//! test` and `cargo xtask boot` run on this crate.
//!
//! # Invariants
//!
//! - It talks to what it boots over the serial line and files only; it knows no code of it.
//! - No run is without a limit in CPU seconds and in wall time, and none outlives its caller.
//! - The emulator never uses hardware virtualization: a `/dev/kvm` that opens may be a trap.
//! - One emulator at a time: measured CPU seconds mean something only then.
#![forbid(unsafe_code)]

mod complaint;
mod cpu_time;
mod emulator;
mod firmware;
mod given_file;
mod guest_disk;
mod name_server;
mod part;
mod row;
mod serial;
mod watch;

pub use emulator::{
    Bochs, Cpu, Disk, Emulator, EmulatorName, Kernel, Program, Qemu, start_interactive,
};
pub use firmware::Firmware;
pub use given_file::GivenFile;
pub use guest_disk::{DiskHolds, DiskKind};
pub use name_server::Names;
pub use row::{Boot, Row, RowSet};
pub use watch::{Expectation, Limits, Report, Stamp, Watch, run};
