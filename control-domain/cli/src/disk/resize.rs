//! `entente disk resize`: another size for a disk.

use super::info;
use super::options::{AS, format};
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::progress::Bar;
use crate::report::Report;
use disks::ResizeOptions;

const DROP_DATA: Opt = Opt::flag(
    "drop-data",
    "shrink although there is data behind the new end; it is lost",
);

/// `entente disk resize FILE SIZE`
pub const RESIZE: Command = Command {
    name: "resize",
    summary: "give a disk another size",
    operands: &["FILE", "SIZE"],
    options: &[DROP_DATA, AS],
    notes: "The guest's partitions stay as they are: grow them in the guest afterwards, shrink them there before.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let size = given.size(1)?.unwrap_or(0);
    let options = ResizeOptions {
        format: format(given)?,
        drop_data: given.has(DROP_DATA.name),
    };
    let bar = Bar::new("resizing");
    let resized = disks::resize(given.path(0), size, &options, &mut bar.update())?;
    info::report(&resized)
}
