//! `entente add-disk`: a disk for a running machine.

use super::ask;
use super::place::{LOCATION, NUMBER, answered_place, place};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use std::path::{Path, PathBuf};

/// `entente add-disk NAME FILE`
pub const ADD_DISK: Command = Command {
    name: "add-disk",
    summary: "attach a disk to a SCSI controller of a running machine",
    operands: &["NAME", "FILE"],
    options: &[NUMBER, LOCATION],
    notes: "Without --location it is the first place that is free. The machine's file is not changed: the disk stays until\n\
            the machine ends, over resets.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let place = place(given)?;
    let path = absolute(given.path(1))?;
    let answer = ask(given.text(0)?, &Request::AddDisk { place, path })?.answer;
    let place = answered_place(&answer);
    let disk = answer["disk"].as_str().unwrap_or_default();
    Ok(Report::new(format!("{place}: {disk}"), answer))
}

/// A path that the machine understands too, which has a folder of its own.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}
