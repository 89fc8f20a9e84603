//! `cargo xtask bench`: measured figures beside those of a peer, as a table or as JSON.

mod exits;

use crate::context::Context;
use anyhow::{Result, bail, ensure};
use qemu_tests::{Cpu, EmulatorName};
use std::fmt::Write as _;

/// One measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Ours.
    pub value: f64,
    /// Of both figures.
    pub unit: &'static str,
    /// Who did the same.
    pub peer: &'static str,
    /// What it took; none where there is nothing to compare.
    pub peer_value: Option<f64>,
    /// The greatest part of the peer's figure that ours may be.
    pub target: Option<f64>,
}

impl Row {
    /// Ours as a part of the peer's.
    fn ratio(&self) -> Option<f64> {
        self.peer_value.map(|peer| self.value / peer)
    }

    fn is_missed(&self) -> bool {
        matches!((self.ratio(), self.target), (Some(ratio), Some(target)) if ratio > target)
    }
}

/// Runs the named bench and prints what it found. A target that is missed is an error.
pub fn run(
    context: &Context,
    name: &str,
    emulator: EmulatorName,
    cpu: &Cpu,
    json: bool,
) -> Result<()> {
    let rows = match name {
        "exits" => exits::run(context, emulator, cpu)?,
        other => bail!("there is no bench {other}; there is exits"),
    };
    match json {
        true => print!("{}", to_json(&rows)),
        false => print!("{}", to_table(&rows)),
    }
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    ensure!(missed == 0, "{missed} targets are missed");
    Ok(())
}

fn to_table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<32} {:>10} {:>10} {:<13} {:>6} {:>7}\n",
        "", "entente", "peer", "unit", "ratio", "target"
    );
    for row in rows {
        let optional = |value: Option<f64>, digits| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let _ = writeln!(
            text,
            "{:<32} {:>10.0} {:>10} {:<13} {:>6} {:>7}{}",
            row.name,
            row.value,
            optional(row.peer_value, 0),
            row.unit,
            optional(row.ratio(), 3),
            optional(row.target, 3),
            if row.is_missed() { "  MISSED" } else { "" },
        );
    }
    if let Some(row) = rows.iter().find(|row| row.peer_value.is_some()) {
        let _ = writeln!(text, "peer: {}", row.peer);
    }
    text
}

/// An array of objects. Names and units are our own words, so none needs an escape.
fn to_json(rows: &[Row]) -> String {
    let objects: Vec<String> = rows
        .iter()
        .map(|row| {
            let (peer, value) = match row.peer_value {
                Some(value) => (format!("\"{}\"", row.peer), format!("{value:.1}")),
                None => ("null".to_owned(), "null".to_owned()),
            };
            format!(
                "  {{\"name\": \"{}\", \"value\": {:.1}, \"unit\": \"{}\", \"peer\": {peer}, \"peer_value\": {value}}}",
                row.name, row.value, row.unit
            )
        })
        .collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, peer_value: Option<f64>) -> Row {
        Row {
            name: "CPUID exit",
            value,
            unit: "instructions",
            peer: "KVM",
            peer_value,
            target: Some(0.2),
        }
    }

    #[test]
    fn a_target_is_missed_above_it_and_never_without_a_peer() {
        assert!(row(21.0, Some(100.0)).is_missed());
        assert!(!row(20.0, Some(100.0)).is_missed());
        assert!(!row(21.0, None).is_missed());
    }

    #[test]
    fn rows_become_objects() {
        let text = to_json(&[row(20.0, Some(100.0)), row(8.0, None)]);
        let expected = "[\n  \
            {\"name\": \"CPUID exit\", \"value\": 20.0, \"unit\": \"instructions\", \"peer\": \"KVM\", \"peer_value\": 100.0},\n  \
            {\"name\": \"CPUID exit\", \"value\": 8.0, \"unit\": \"instructions\", \"peer\": null, \"peer_value\": null}\n]\n";
        assert_eq!(text, expected);
    }
}
