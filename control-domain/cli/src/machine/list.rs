//! `entente list`: machines.

use super::ask;
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::{Folder, Request};
use serde_json::{Value, json};
use std::path::Path;

/// Folders of machines on the data partition.
pub const MACHINES: &str = "/data/machines";

/// `entente list`
pub const LIST: Command = Command {
    name: "list",
    summary: "machines, and which of them run",
    operands: &[],
    options: &[],
    notes: "Those that run, whatever they were started from, and the folders in /data/machines.",
    run,
};

fn run(_: &Given) -> Result<Report, Failure> {
    let folder = Folder::usual();
    // One that was killed left its socket.
    let states = folder.names().into_iter();
    let mut machines: Vec<Value> = states
        .filter_map(|name| Some(ask(&name, &Request::State).ok()?.answer))
        .collect();
    let running = |name: &str| machines.iter().any(|machine| machine["name"] == name);
    let off: Vec<_> = stored(Path::new(MACHINES))
        .into_iter()
        .filter(|name| !running(name))
        .map(|name| json!({"name": name, "state": "off"}))
        .collect();
    machines.extend(off);
    machines.sort_by_key(|machine| text(&machine["name"]));
    let rows: Vec<_> = machines.iter().map(row).collect();
    Ok(Report::new(table(rows), Value::Array(machines)))
}

/// Names of the machine folders there.
fn stored(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let machines = entries.filter(|entry| entry.path().join("machine.yaml").is_file());
    machines
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn row(machine: &Value) -> [String; 5] {
    let with = |name: &str, unit: &str| match &machine[name] {
        Value::Null => String::new(),
        value => format!("{}{unit}", text(value)),
    };
    [
        text(&machine["name"]),
        text(&machine["state"]),
        with("memory_mib", " MiB"),
        with("uptime_seconds", " s"),
        with("heartbeat", ""),
    ]
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table(rows: Vec<[String; 5]>) -> String {
    let head = ["NAME", "STATE", "MEMORY", "UP", "HEARTBEAT"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    });
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
