//! `entente disk commit`: what a differencing disk holds, into its parent.

use super::chain::merge;
use super::options::{DELETE, leftover};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::progress::Bar;
use crate::report::Report;

/// `entente disk commit FILE`
pub const COMMIT: Command = Command {
    name: "commit",
    summary: "write what an undo or differencing disk holds into its parent",
    operands: &["FILE"],
    options: &[DELETE],
    notes: "FILE is an empty child of its parent afterwards, so that the machine that names it goes on.\n\
            If it is stopped, the chain reads the same all the time, and the same command goes on.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let bar = Bar::new("committing");
    let done = disks::commit(given.path(0), leftover(given), &mut bar.update())?;
    merge::report(&done, "was written")
}
