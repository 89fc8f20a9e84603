//! `entente disk chain show`: the files of a chain, even if it is broken.

use crate::command::Command;
use crate::disk::info::json;
use crate::disk::options::{AS, format};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use crate::size;
use disks::{DiskInfo, MOST_FILES, OpenOptions};
use serde_json::{Value, json};
use std::path::PathBuf;

/// `entente disk chain show FILE`
pub const SHOW: Command = Command {
    name: "show",
    summary: "list a disk and its parents, as far as they are found",
    operands: &["FILE"],
    options: &[AS],
    notes: "Whether the parents are the right ones is what `entente disk chain verify` tells.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let mut chain = vec![disks::info(given.path(0), format(given)?)?];
    let mut broken = None;
    while let Some(parent) = chain.last().and_then(|child| child.parent.clone()) {
        if chain.iter().any(|info| info.path == parent) || chain.len() == MOST_FILES {
            broken = Some((parent, "the chain comes back to this file".to_owned()));
            break;
        }
        match disks::info(&parent, None) {
            Ok(info) => chain.push(info),
            Err(error) => {
                // Opening says where the parent was looked for.
                let child = chain
                    .last()
                    .map(|child| disks::open(&child.path, &OpenOptions::read_only()));
                let error = child.and_then(Result::err).unwrap_or(error);
                broken = Some((parent, error.to_string()));
                break;
            }
        }
    }
    let mut report = Report::new(text(&chain), answer(&chain, broken.as_ref())?);
    if let Some((_, reason)) = broken {
        report.text.push_str(&format!("broken: {reason}\n"));
        report.is_well = false;
    }
    Ok(report)
}

fn answer(chain: &[DiskInfo], broken: Option<&(PathBuf, String)>) -> Result<Value, Failure> {
    let broken =
        broken.map(|(path, reason)| json!({"file": path.to_string_lossy(), "reason": reason}));
    Ok(json!({"chain": json(&chain)?, "broken": broken}))
}

/// A line a file, the child first.
pub fn text(chain: &[DiskInfo]) -> String {
    let rows = chain.iter().enumerate().map(|(depth, info)| {
        let id = info.identifier.as_deref().unwrap_or("-");
        let (kind, size) = (info.description(), size::format(info.file_size_bytes));
        format!(
            "{depth:>3}  {kind:<18} {size:>10}  {id:<36}  {}\n",
            info.path.display()
        )
    });
    rows.collect()
}
