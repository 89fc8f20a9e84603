//! `entente disk chain verify`: whether a chain opens, each parent being the one that its child was made on.

use super::show;
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use disks::OpenOptions;

/// `entente disk chain verify FILE`
pub const VERIFY: Command = Command {
    name: "verify",
    summary: "open a disk and its parents, each of which must be the one its child was made on",
    operands: &["FILE"],
    options: &[],
    notes: "Nothing is written. What is inside each file is what `entente disk check` looks at.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let path = given.path(0);
    let mut report = show::report(&disks::chain(path)?)?;
    if report.is_well {
        let opened = disks::open(path, &OpenOptions::read_only())?;
        report.text += &format!("the chain is whole (files: {})\n", opened.chain.len());
        report.warnings = opened.warnings().collect();
    }
    Ok(report)
}
