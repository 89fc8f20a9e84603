//! What a command is: a name, operands, options, and what it does.

use crate::failure::Failure;
use crate::given::Given;
use crate::help;
use crate::report::{Output, Report};
use std::ffi::OsString;

/// A command.
pub struct Command {
    /// As it is typed, behind the names of its groups.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Names of what it works on, in order; in brackets what may be left out. Of a last one that ends with
    /// "…" there may be any number.
    pub operands: &'static [&'static str],
    /// Its options; `--json` and `--help` are everyone's.
    pub options: &'static [Opt],
    /// What else there is to say in `--help`.
    pub notes: &'static str,
    /// Does it.
    pub run: fn(&Given) -> Result<Report, Failure>,
}

/// An option: `--name` or `--name VALUE`.
#[derive(Clone, Copy)]
pub struct Opt {
    /// Without the dashes.
    pub name: &'static str,
    /// What its value is called; nothing for an option without one.
    pub value: Option<&'static str>,
    /// What it does, in a line.
    pub help: &'static str,
}

impl Opt {
    /// `--name`
    pub const fn flag(name: &'static str, help: &'static str) -> Self {
        let value = None;
        Self { name, value, help }
    }

    /// `--name VALUE`
    pub const fn with(name: &'static str, value: &'static str, help: &'static str) -> Self {
        let value = Some(value);
        Self { name, value, help }
    }
}

/// Commands with a common first word.
pub struct Group {
    /// That word.
    pub name: &'static str,
    /// What it is about, in a line.
    pub summary: &'static str,
    /// What may follow.
    pub entries: &'static [Entry],
}

/// What may follow a group's name.
pub enum Entry {
    /// A command.
    Command(&'static Command),
    /// A further group.
    Group(&'static Group),
}

impl Entry {
    /// The word that chooses it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Command(command) => command.name,
            Self::Group(group) => group.name,
        }
    }
}

/// Finds the command that the words name, and runs it.
pub fn run(group: &Group, words: Vec<OsString>) -> Result<Output, Failure> {
    find(group, group.name, words)
}

/// As [`run`]; `typed` is what stands before the words.
fn find(group: &Group, typed: &str, words: Vec<OsString>) -> Result<Output, Failure> {
    let mut rest = words.into_iter();
    let first = rest.next().map(|word| word.to_string_lossy().into_owned());
    let word = match first.as_deref() {
        None | Some("help" | "--help" | "-h") => {
            return Ok(Output::text(help::group(group, typed)));
        }
        Some(word) => word,
    };
    let entry = group.entries.iter().find(|entry| entry.name() == word);
    let typed = format!("{typed} {word}");
    match entry {
        Some(Entry::Group(group)) => find(group, &typed, rest.collect()),
        Some(Entry::Command(command)) => {
            let given = Given::parse(command, &typed, rest.collect())?;
            match given.wants_help() {
                true => Ok(Output::text(help::command(command, &typed))),
                false => Ok(Output {
                    report: (command.run)(&given)?,
                    json: given.wants_json(),
                }),
            }
        }
        None => Err(Failure::usage(format!(
            "there is no command \"{typed}\"; `{} help` lists them",
            typed.rsplit_once(' ').map_or("entente", |(group, _)| group)
        ))),
    }
}
