//! Disks as files: [`open`] looks at a file and answers a [`disk::Disk`], whatever its format and
//! however many parents it stands on. What people do with disk files is here too, one operation a
//! file: create, convert, map, check, resize, compact, merge, commit and discard, chains.
//!
//! A machine's bytes lie in its files and nowhere else. The formats are crates of their own (`vhd`
//! and those that follow it); this one knows which file is which, and who is whose parent.
//!
//! Whoever writes a disk has its file alone, and nobody writes its parents meanwhile (`lock`).
//!
//! What is absent: unsafe code, a panic on what a file says, a write to a parent by opening its child,
//! conversion and repair behind the person's back. What is not fully understood is refused, with the
//! reason, the offset and the way out.
#![forbid(unsafe_code)]

mod chain;
mod check;
mod commit;
mod compact;
mod convert;
mod create;
mod detect;
mod error;
mod folder;
mod fresh;
mod identity;
mod info;
mod layer;
mod link;
mod lock;
mod map;
mod merge;
mod open;
mod parent_link;
mod parent_path;
mod progress;
mod resize;

pub use chain::{Link, chain, relink, repair_chain};
pub use check::{Finding, Report, check};
pub use commit::{commit, discard};
pub use compact::{Compacted, compact};
pub use convert::{CopyError, convert};
pub use create::{NewDisk, NewKind, create};
pub use detect::Format;
pub use error::Error;
pub use identity::Identity;
pub use info::{DiskInfo, Kind};
pub use map::{Map, Stretch, map, stretches};
pub use merge::{Leftover, MergeOptions, MergePlan, merge, merge_data, plan_merge};
pub use open::{MOST_FILES, OpenOptions, Opened, info, open};
pub use progress::Progress;
pub use resize::{ResizeOptions, resize};
