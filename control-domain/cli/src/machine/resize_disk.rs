//! `entente resize-disk`: another size for a disk of a running machine.

use super::ask;
use super::place::{LOCATION, NUMBER, place};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use serde_json::json;

/// `entente resize-disk NAME SIZE`
pub const RESIZE_DISK: Command = Command {
    name: "resize-disk",
    summary: "give a disk at a SCSI controller of a running machine another size",
    operands: &["NAME", "SIZE"],
    options: &[NUMBER, LOCATION],
    notes: "The guest waits for its disk meanwhile, and is told the new size. A smaller one is refused while there is data behind the\n\
            new end; `entente disk resize` is for disks that no machine uses.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let place = place(given)?.ok_or_else(|| given.refuse("--location is missing"))?;
    let size_bytes = given.size(1)?.unwrap_or(0);
    ask(given.text(0)?, &Request::ResizeDisk { place, size_bytes })?;
    Ok(Report::new(
        format!("{place}: {size_bytes} bytes"),
        json!({"place": place, "size_bytes": size_bytes}),
    ))
}
