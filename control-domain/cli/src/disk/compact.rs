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
    summary: "make the file smaller, or give it holes, where the disk holds zeros",
    operands: &["FILE"],
    options: &[],
    notes: "The disk reads the same afterwards. A parent is only read.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let path = given.path(0);
    let bar = Bar::new("compacting");
    let sizes = disks::compact(path, &mut bar.update())?;
    let [before, after, room_before, room_after] = [
        sizes.before_bytes,
        sizes.after_bytes,
        sizes.before_room_bytes,
        sizes.after_room_bytes,
    ]
    .map(size::format);
    let text = format!(
        "{}: {before} before, {after} now; room on the host {room_before} before, {room_after} now",
        path.display()
    );
    Ok(Report::new(text, json(&sizes)?))
}
