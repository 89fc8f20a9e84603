//! `entente disk convert`: a whole chain, flat, into a new file.

use super::info;
use super::options::{
    ACCEPT_PARENT, AS, BLOCK_SIZE, FORMAT, IDENTIFIER, KIND, SECTOR_SIZE, TIME, for_reading,
    new_disk,
};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::progress::Bar;
use crate::report::Report;

/// `entente disk convert IN OUT`
pub const CONVERT: Command = Command {
    name: "convert",
    summary: "copy a disk, parents and all, into a new file of any format",
    operands: &["IN", "OUT"],
    options: &[
        FORMAT,
        KIND,
        BLOCK_SIZE,
        SECTOR_SIZE,
        IDENTIFIER,
        TIME,
        AS,
        ACCEPT_PARENT,
    ],
    notes: "IN is only read. OUT appears under its name when it is whole; a file that is there is never replaced.\n\
            With --identifier and --time the same source makes the same bytes.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let (from, to) = (given.path(0), given.path(1));
    let new = new_disk(given, to, None, 0)?;
    let options = for_reading(given)?;
    let bar = Bar::new("converting");
    let made = disks::convert(from, &options, to, &new, &mut bar.update())?;
    info::report(&made)
}
