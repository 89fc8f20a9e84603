//! `entente disk info`: what a disk file is.

use super::options::{AS, format};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::{Report, aligned};
use crate::size;
use disks::DiskInfo;
use serde::Serialize;
use serde_json::Value;

/// `entente disk info FILE`
pub const INFO: Command = Command {
    name: "info",
    summary: "what a disk file is",
    operands: &["FILE"],
    options: &[AS],
    notes: "The file alone is looked at; its parent need not be there.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let info = disks::info(given.path(0), format(given)?)?;
    report(&info)
}

/// The report on a file that was described.
pub fn report(info: &DiskInfo) -> Result<Report, Failure> {
    Ok(Report::new(text(info), json(info)?).with_warnings(info.warnings.clone()))
}

/// The answer for machines.
pub fn json(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer)
        .map_err(|e| Failure::Failed(format!("no JSON can be made of it: {e}")))
}

fn text(info: &DiskInfo) -> String {
    let rows = [
        ("file", Some(info.path.display().to_string())),
        ("format", Some(info.description())),
        ("virtual size", Some(size::exact(info.virtual_size_bytes))),
        (
            "sectors",
            Some(size::format(info.logical_sector_bytes.into())),
        ),
        ("file size", Some(size::exact(info.file_size_bytes))),
        ("blocks", info.block_size_bytes.map(size::format)),
        ("identifier", info.identifier.clone()),
        ("creator", info.creator.clone()),
        ("made", info.created.clone()),
        (
            "parent",
            info.parent.as_ref().map(|path| path.display().to_string()),
        ),
        ("its identifier", info.parent_identifier.clone()),
    ];
    aligned(
        rows.into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    )
}
