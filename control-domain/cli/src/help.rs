//! The texts of `help` and `--help`, made of what the commands say of themselves.

use crate::command::{Command, Entry, Group, Opt};
use crate::report::aligned;

const EVERYONE: [Opt; 2] = [
    Opt::flag("json", "answer in JSON"),
    Opt::flag("help", "this text"),
];

/// What may follow a group's name; `typed` is all that was typed so far.
pub fn group(group: &Group, typed: &str) -> String {
    let lines = aligned(
        commands(group, "")
            .iter()
            .map(|(name, summary)| (name.as_str(), summary.to_string())),
    );
    format!(
        "{typed}: {}\n\nusage: {typed} COMMAND …\n\n{}\n`{typed} COMMAND --help` says more. Sizes are bytes, or 512K, 40M, 40G, 2T (powers of 1024).",
        group.summary,
        indented(&lines)
    )
}

/// All commands of a group with those of its groups.
fn commands(group: &Group, before: &str) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for entry in group.entries {
        let name = format!("{before}{}", entry.name());
        match entry {
            Entry::Command(command) => found.push((name, command.summary)),
            Entry::Group(group) => found.extend(commands(group, &format!("{name} "))),
        }
    }
    found
}

/// All there is to say of a command.
pub fn command(command: &Command, typed: &str) -> String {
    let options = command.options.iter().chain(&EVERYONE).map(|option| {
        let value = option
            .value
            .map(|value| format!(" {value}"))
            .unwrap_or_default();
        (format!("--{}{value}", option.name), option.help)
    });
    let options: Vec<_> = options.collect();
    let lines = aligned(
        options
            .iter()
            .map(|(name, help)| (name.as_str(), help.to_string())),
    );
    let operands: String = command
        .operands
        .iter()
        .map(|name| format!(" {name}"))
        .collect();
    let notes = match command.notes {
        "" => String::new(),
        notes => format!("\n{notes}\n"),
    };
    format!(
        "{typed}: {}\n\nusage: {typed}{operands} [OPTIONS]\n\n{}{notes}",
        command.summary,
        indented(&lines)
    )
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}
