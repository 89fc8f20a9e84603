//! VHDX, the disk format of Hyper-V since Windows 8, read and written in place ([MS-VHDX]).
//!
//! Three layers. *Layouts*: `file_type`, `header`, `region`, `metadata`, `locator`, `bat`, `log_entry`.
//! *Logic* over any [`disk::Storage`]: `replay` (a log that was left behind), `pages` (metadata in
//! memory), `log` (how metadata gets to the file), `image` (an open file), [`Vhdx`] (an open disk).
//! *Whole files*: [`create()`], [`Info`], [`check()`], [`repair`], [`relink()`], [`Vhdx::resize`], [`Vhdx::compact`].
//!
//! # Order of writes
//!
//! Data goes to its block at once; block table, sector bitmaps and sizes are changed in memory. On a flush:
//!
//! 1. flush: data, new blocks and what the previous log entry said are safe;
//! 2. all changed metadata as one log entry, flush: from here on the change is there;
//! 3. the pages themselves. They become safe with step 1 of the next time.
//!
//! An entry goes into the half of the log where the previous one is not. So at each point one
//! whole entry is in the log, or none is needed. The header names the log from after the first entry
//! until [`disk::Disk::close`].
//!
//! # Memory
//!
//! Opening reads headers and tables, nothing that grows with the disk. Of block table and bitmaps at most
//! [`PAGE_LIMIT`] pages of 4 KiB are held: 8 MiB. Changed pages are at most 126, then they are logged. The first
//! block that is allocated costs one look through tables of up to 32 MiB, for room that nothing points to.
//!
//! What is absent: unsafe code, a panic on what a file says, a moment at which a power cut leaves a file that
//! does not open or loses what was flushed, and any write to a file that was opened for reading.
#![forbid(unsafe_code)]

mod bat;
mod check;
mod compact;
mod create;
mod file_type;
mod guid;
mod header;
mod identifiers;
mod image;
mod info;
mod locator;
mod log;
mod log_entry;
mod metadata;
mod occupancy;
mod overlay;
mod pages;
mod region;
mod relink;
mod replay;
mod resize;
mod space;
mod vhdx;
mod write;

pub use check::{Problem, Report, check, repair};
pub use create::{New, create};
pub use guid::Guid;
pub use identifiers::next_data_write_guid;
pub use info::{Info, Kind};
pub use locator::ParentLink;
pub use pages::PAGE_LIMIT;
pub use relink::relink;
pub use vhdx::Vhdx;

/// Everything large begins at a multiple of this.
const MIB: u64 = 1 << 20;
