//! `entente insert-disc`, `entente eject-disc`: a running machine's DVD drive.

use super::add_disk::absolute;
use super::ask;
use super::place::{IDE, LOCATION, NUMBER, answered_place, place};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use std::path::PathBuf;

const NOTES: &str =
    "Without a place it is the machine's first DVD drive. A lock by the guest does not count.";

/// `entente insert-disc NAME FILE`
pub const INSERT_DISC: Command = Command {
    name: "insert-disc",
    summary: "put a disc (.iso) into a DVD drive of a running machine",
    operands: &["NAME", "FILE"],
    options: &[NUMBER, LOCATION, IDE],
    notes: NOTES,
    run: insert,
};

/// `entente eject-disc NAME`
pub const EJECT_DISC: Command = Command {
    name: "eject-disc",
    summary: "take the disc out of a DVD drive of a running machine",
    operands: &["NAME"],
    options: &[NUMBER, LOCATION, IDE],
    notes: NOTES,
    run: eject,
};

fn insert(given: &Given) -> Result<Report, Failure> {
    let path = absolute(given.path(1))?;
    change(given, Some(path))
}

fn eject(given: &Given) -> Result<Report, Failure> {
    change(given, None)
}

fn change(given: &Given, path: Option<PathBuf>) -> Result<Report, Failure> {
    let done = if path.is_some() {
        "inserted"
    } else {
        "ejected"
    };
    let place = place(given)?;
    let answer = ask(given.text(0)?, &Request::InsertDisc { place, path })?.answer;
    let place = answered_place(&answer);
    Ok(Report::new(format!("{place}: disc {done}"), answer))
}
