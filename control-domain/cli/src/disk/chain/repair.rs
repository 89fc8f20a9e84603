//! `entente disk chain repair`: children that name a parent which has moved.

use crate::command::{Command, Opt};
use crate::disk::options::ACCEPT_PARENT;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use serde_json::json;

const SEARCH: Opt = Opt::with("search", "FOLDER", "look for parents here too");
const PARENT: Opt = Opt::with(
    "parent",
    "FILE",
    "make FILE name this parent, and leave the rest of the chain",
);

/// `entente disk chain repair FILE`
pub const REPAIR: Command = Command {
    name: "repair",
    summary: "find parents that have moved, by their identity, and make the children name them",
    operands: &["FILE"],
    options: &[SEARCH, PARENT, ACCEPT_PARENT],
    notes: "Parents are looked for in each child's folder. --accept-parent goes with --parent alone:\n\
            it takes a parent of another identity, and somebody has to know that it holds the same data.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let path = given.path(0);
    let accept = given.has(ACCEPT_PARENT.name);
    let mended = match given.option_path(PARENT.name) {
        Some(_) if given.has(SEARCH.name) => {
            return Err(given.refuse("--search does not go with --parent"));
        }
        Some(parent) => {
            disks::relink(path, &parent, accept)?;
            vec![(path.to_path_buf(), parent)]
        }
        None if accept => return Err(given.refuse("--accept-parent goes with --parent")),
        None => {
            let folders: Vec<_> = given.option_path(SEARCH.name).into_iter().collect();
            disks::repair_chain(path, &folders)?
        }
    };
    let text: String = match mended.is_empty() {
        true => "the chain is whole, nothing was changed\n".into(),
        false => mended
            .iter()
            .map(|(child, parent)| format!("{} names {} now\n", child.display(), parent.display()))
            .collect(),
    };
    let mended = mended.iter().map(|(child, parent)| {
        json!({"child": child.to_string_lossy(), "parent": parent.to_string_lossy()})
    });
    Ok(Report::new(
        text,
        json!({"mended": mended.collect::<Vec<_>>()}),
    ))
}
