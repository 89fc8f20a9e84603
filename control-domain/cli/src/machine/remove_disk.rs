//! `entente remove-disk`: a running machine loses a drive.

use super::ask;
use super::place::{LOCATION, NUMBER, place};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use serde_json::json;

/// `entente remove-disk NAME`
pub const REMOVE_DISK: Command = Command {
    name: "remove-disk",
    summary: "detach a disk or a DVD drive from a SCSI controller of a running machine",
    operands: &["NAME"],
    options: &[NUMBER, LOCATION],
    notes: "What is under way there ends first. Unmount it in the guest before.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let place = place(given)?.ok_or_else(|| given.refuse("--location is missing"))?;
    ask(given.text(0)?, &Request::RemoveDisk { place })?;
    Ok(Report::new(
        format!("{place}: removed"),
        json!({"place": place}),
    ))
}
