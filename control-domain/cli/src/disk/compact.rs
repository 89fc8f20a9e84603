//! `entente disk compact`: room that a disk does not need, given back.

use super::info::json;
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::progress::Bar;
use crate::report::Report;
use crate::size;

/// `entente disk compact FILE`
pub const COMPACT: Command = Command {
    name: "compact",
    summary: "make the file smaller where the disk holds zeros",
    operands: &["FILE"],
    options: &[],
    notes: "The disk reads the same afterwards. A parent is only read.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let path = given.path(0);
    let bar = Bar::new("compacting");
    let sizes = disks::compact(path, &mut bar.update())?;
    let (before, after) = (
        size::format(sizes.before_bytes),
        size::format(sizes.after_bytes),
    );
    let text = format!("{}: {before} before, {after} now", path.display());
    Ok(Report::new(text, json(&sizes)?))
}
