//! `entente disk chain merge`: files of a chain into one below them.

use crate::command::{Command, Opt};
use crate::disk::info::json;
use crate::disk::options::{ACCEPT_PARENT, DELETE, leftover};
use crate::failure::Failure;
use crate::given::Given;
use crate::progress::Bar;
use crate::report::{Report, aligned};
use crate::size;
use disks::{MergeOptions, MergePlan};
use std::path::PathBuf;

const INTO: Opt = Opt::with(
    "into",
    "FILE",
    "the file of the chain to merge into; without it, the parent",
);
const DRY_RUN: Opt = Opt::flag("dry-run", "say what would be done, and do nothing");
const SPOIL_SIBLINGS: Opt = Opt::flag(
    "spoil-siblings",
    "write although other disks stand on that file; they are of no use afterwards",
);

/// `entente disk chain merge FILE`
pub const MERGE: Command = Command {
    name: "merge",
    summary: "write what a disk holds, and those between, into a file below it",
    operands: &["FILE"],
    options: &[DRY_RUN, INTO, DELETE, SPOIL_SIBLINGS, ACCEPT_PARENT],
    notes: "If it is stopped, the chain reads the same all the time, and the same command goes on.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let options = MergeOptions {
        into: given.option_path(INTO.name),
        leftover: leftover(given),
        accept_parent: given.has(ACCEPT_PARENT.name),
        spoil_siblings: given.has(SPOIL_SIBLINGS.name),
    };
    if given.has(DRY_RUN.name) {
        let plan = disks::plan_merge(given.path(0), &options)?;
        return report(&plan, "would be written");
    }
    let bar = Bar::new("merging");
    let done = disks::merge(given.path(0), &options, &mut bar.update())?;
    report(&done, "was written")
}

/// What a merge did, or would do.
pub fn report(plan: &MergePlan, written: &str) -> Result<Report, Failure> {
    let list = |paths: &[PathBuf]| -> Option<String> {
        let names: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let bytes = format!(
        "{} in {} pieces",
        size::exact(plan.bytes_to_write),
        plan.pieces
    );
    let rows = [
        ("into", Some(plan.into.display().to_string())),
        ("from", list(&plan.merged)),
        (written, Some(bytes)),
        ("get a new parent", list(&plan.relinked)),
        ("also stand on it", list(&plan.siblings)),
    ];
    let text = aligned(
        rows.into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Ok(Report::new(text, json(plan)?))
}
