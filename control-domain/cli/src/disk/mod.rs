//! `entente disk`: everything about disk files that needs no machine.

mod chain;
mod check;
mod commit;
mod compact;
mod convert;
mod create;
mod discard;
mod info;
mod map;
mod mount;
mod options;
mod resize;

use crate::command::{Entry, Group};

/// `entente disk`
pub const DISK: Group = Group {
    name: "disk",
    summary: "disk files, in place: VHD, VHDX, VMDK and raw",
    entries: &[
        Entry::Command(&info::INFO),
        Entry::Command(&check::CHECK),
        Entry::Command(&create::CREATE),
        Entry::Command(&convert::CONVERT),
        Entry::Command(&resize::RESIZE),
        Entry::Command(&compact::COMPACT),
        Entry::Command(&map::MAP),
        Entry::Group(&chain::CHAIN),
        Entry::Command(&commit::COMMIT),
        Entry::Command(&discard::DISCARD),
        Entry::Command(&mount::MOUNT),
    ],
};
