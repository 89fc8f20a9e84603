//! `entente disk`: everything about disk files that needs no machine.

mod chain;
mod convert;
mod create;
mod info;
mod map;
mod mount;
mod options;

use crate::command::{Entry, Group};

/// `entente disk`
pub const DISK: Group = Group {
    name: "disk",
    summary: "disk files, in place: VHD, VHDX, VMDK and raw",
    entries: &[
        Entry::Command(&info::INFO),
        Entry::Command(&create::CREATE),
        Entry::Command(&convert::CONVERT),
        Entry::Command(&map::MAP),
        Entry::Group(&chain::CHAIN),
        Entry::Command(&mount::MOUNT),
    ],
};
