//! `entente disk check`: whether a disk and its parents are sound, and mending what is safe to mend.

use super::info::json;
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::progress::Bar;
use crate::report::Report;
use disks::Finding;

const REPAIR: Opt = Opt::flag(
    "repair",
    "mend what can be mended without loss: the right bytes are known",
);

/// `entente disk check FILE`
pub const CHECK: Command = Command {
    name: "check",
    summary: "find what is wrong with a disk and its parents",
    operands: &["FILE"],
    options: &[REPAIR],
    notes: "Without --repair nothing is written. With it, a file that has any other fault is left as it is.\n\
            The exit code is 1 if something is wrong and was not mended.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let bar = Bar::new("checking");
    let found = disks::check(given.path(0), given.has(REPAIR.name), &mut bar.update())?;
    let text: String = match found.findings.is_empty() {
        true => format!("nothing is wrong (files: {})\n", found.files.len()),
        false => found.findings.iter().map(line).collect(),
    };
    Ok(Report {
        is_well: found.is_clean(),
        ..Report::new(text, json(&found)?)
    })
}

fn line(finding: &Finding) -> String {
    let place = finding
        .offset
        .map(|at| format!(" at offset {at:#x}:"))
        .unwrap_or_default();
    let state = match (finding.repaired, finding.repairable) {
        (true, _) => "mended",
        (false, true) => "--repair mends it",
        (false, false) => "it can't be mended without a copy of the file",
    };
    format!(
        "{}:{place} {} ({state})\n",
        finding.path.display(),
        finding.what
    )
}
