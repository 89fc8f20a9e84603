//! `entente disk discard`: what a differencing disk holds, thrown away.

use super::options::{DELETE, leftover};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use disks::Leftover;
use serde_json::json;

/// `entente disk discard FILE`
pub const DISCARD: Command = Command {
    name: "discard",
    summary: "throw away what an undo or differencing disk holds",
    operands: &["FILE"],
    options: &[DELETE],
    notes: "FILE reads as its parent afterwards. The parent is not touched.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let (path, leftover) = (given.path(0), leftover(given));
    disks::discard(path, leftover)?;
    let became = match leftover {
        Leftover::Empty => "is empty and reads as its parent",
        Leftover::Delete => "is deleted",
    };
    let text = format!("{} {became}", path.display());
    let deleted = leftover == Leftover::Delete;
    Ok(Report::new(
        text,
        json!({"path": path.to_string_lossy(), "deleted": deleted}),
    ))
}
