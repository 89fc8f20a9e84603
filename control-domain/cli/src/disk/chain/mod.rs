//! `entente disk chain`: a disk and those it stands on.

pub mod merge;
mod repair;
mod show;
mod verify;

use crate::command::{Entry, Group};

/// `entente disk chain`
pub const CHAIN: Group = Group {
    name: "chain",
    summary: "a disk and its parents",
    entries: &[
        Entry::Command(&show::SHOW),
        Entry::Command(&verify::VERIFY),
        Entry::Command(&repair::REPAIR),
        Entry::Command(&merge::MERGE),
    ],
};
