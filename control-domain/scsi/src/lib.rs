//! SCSI disks and DVD drives as Hyper-V shows them: what a command asks for, and what it is answered.
//!
//! A [`Target`] holds logical units. It takes a command descriptor block and answers with an
//! [`Action`]: data, sense, or a [`Request`] to the medium, in bytes, which whoever owns the disk
//! carries out, at once or later, and whose failure [`Request::failure`] turns into sense.
//!
//! ```text
//! cdb.rs        the command's fields      target.rs   units, REPORT LUNS, hot add and removal
//! sense.rs      what went wrong           disk/       block commands (SBC)
//! action.rs     the answers               dvd/        multi-media commands (MMC)
//! attention.rs  news for the initiator    inquiry.rs, mode.rs   what both say of themselves (SPC)
//! ```
//!
//! What is absent: I/O, threads, time, guest memory, any transport; persistent reservations, changing mode
//! pages, and a panic on any command.
//!
//! Sources: T10 SPC-4 (r37), SBC-3 (r36), MMC-6 (r02g), SAM-5 (r21), by their section numbers.
#![forbid(unsafe_code)]

mod action;
mod attention;
mod cdb;
mod disk;
mod dvd;
mod identity;
mod inquiry;
mod mode;
mod opcode;
mod sense;
mod target;

pub use action::{Action, Failure, Range, Request};
pub use attention::Attention;
pub use disk::{DiskConfig, DiskUnit};
pub use dvd::{DVD_BLOCK_SIZE, DvdUnit};
pub use identity::Identity;
pub use opcode::Opcode;
pub use sense::{FIXED_SENSE_LENGTH, Sense, SenseKey};
pub use target::{MOST_UNITS, Target, Unit};
