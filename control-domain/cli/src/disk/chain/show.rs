//! `entente disk chain show`: the files of a chain, even if it is broken.

use crate::command::Command;
use crate::disk::info::json;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use crate::size;
use disks::Link;

/// `entente disk chain show FILE`
pub const SHOW: Command = Command {
    name: "show",
    summary: "list a disk and its parents, as far as they are found",
    operands: &["FILE"],
    options: &[],
    notes: "The exit code is 1 if a parent is missing, or is not the one that its child was made on.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let links = disks::chain(given.path(0))?;
    report(&links)
}

/// A line a file, the child first, and what is wrong with each.
pub fn report(links: &[Link]) -> Result<Report, Failure> {
    let mut text = String::new();
    for (depth, link) in links.iter().enumerate() {
        let info = &link.info;
        let id = info.identifier.as_deref().unwrap_or("-");
        let (kind, size) = (info.description(), size::format(info.file_size_bytes));
        text += &format!(
            "{depth:>3}  {kind:<21} {size:>10}  {id:<36}  {}\n",
            info.path.display()
        );
        if let Some(problem) = &link.problem {
            text += &format!("     broken: {problem}\n");
        }
    }
    Ok(Report {
        is_well: links.iter().all(|link| link.problem.is_none()),
        ..Report::new(text, json(&links)?)
    })
}
