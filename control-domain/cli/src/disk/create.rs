//! `entente disk create`: a new, empty disk.

use super::info;
use super::options::{BLOCK_SIZE, FORMAT, IDENTIFIER, KIND, SECTOR_SIZE, TIME, new_disk};
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;

const PARENT: Opt = Opt::with("parent", "FILE", "make a differencing disk on this one");

/// `entente disk create FILE SIZE`
pub const CREATE: Command = Command {
    name: "create",
    summary: "make an empty disk, or one on a parent",
    operands: &["FILE", "[SIZE]"],
    options: &[
        FORMAT,
        KIND,
        PARENT,
        BLOCK_SIZE,
        SECTOR_SIZE,
        IDENTIFIER,
        TIME,
    ],
    notes: "A disk on a parent has the parent's size. From then on the parent must not be written to.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let parent = given.option_path(PARENT.name);
    let size = match (given.size(1)?, &parent) {
        (Some(size), None) => size,
        (None, Some(_)) => 0,
        (Some(_), Some(_)) => {
            return Err(given
                .refuse("a disk with --parent has the parent's size: SIZE does not go with it"));
        }
        (None, None) => return Err(given.refuse("SIZE is missing")),
    };
    let path = given.path(0);
    let new = new_disk(given, path, parent, size)?;
    info::report(&disks::create(path, &new)?)
}
