//! `entente disk chain verify`: whether a chain opens, each parent being the one that its child was made on.

use super::show;
use crate::command::Command;
use crate::disk::info::json;
use crate::disk::options::{AS, for_reading};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use serde_json::json;

/// `entente disk chain verify FILE`
pub const VERIFY: Command = Command {
    name: "verify",
    summary: "check that each parent is the one that its child was made on",
    operands: &["FILE"],
    options: &[AS],
    notes: "All files are opened for reading, and their identities compared. What is inside each is what `entente disk check` looks at.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let opened = disks::open(given.path(0), &for_reading(given)?)?;
    let text = format!(
        "{}the chain is whole: {} files\n",
        show::text(&opened.chain),
        opened.chain.len()
    );
    let report = Report::new(text, json!({"chain": json(&opened.chain)?, "whole": true}));
    Ok(report.with_warnings(opened.warnings()))
}
