//! `cargo xtask bench`: measured figures beside those of a peer, as a table or as JSON.

mod disks;
mod exits;
mod guest;

use crate::context::Context;
use anyhow::{Result, bail, ensure};
use qemu_tests::{Cpu, EmulatorName};
use std::fmt::Write as _;

/// One measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Ours.
    pub value: f64,
    /// Of both figures.
    pub unit: &'static str,
    /// Who did the same.
    pub peer: &'static str,
    /// What it took; none where there is nothing to compare.
    pub peer_value: Option<f64>,
    /// The part of the peer's figure that ours may be at most, or at least.
    pub target: Option<Target>,
    /// Between which two the ratio is, as sure as the runs are alike; none where it was measured once.
    pub ratio_range: Option<(f64, f64)>,
    /// What else is to be known.
    pub remark: String,
}

/// How good a figure has to be, as a part of the peer's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

impl Row {
    /// Ours as a part of the peer's.
    fn ratio(&self) -> Option<f64> {
        self.peer_value.map(|peer| self.value / peer)
    }

    /// By more than what the runs differ among themselves.
    fn is_missed(&self) -> bool {
        let (Some(ratio), Some(target)) = (self.ratio(), self.target) else {
            return false;
        };
        let (least, most) = self.ratio_range.unwrap_or((ratio, ratio));
        match target {
            Target::AtMost(target) => least > target,
            Target::AtLeast(target) => most < target,
        }
    }
}

/// Runs the named bench and prints what it found; of the disks' and the guest's only the rows or
/// loads with `only` in their name. A
/// target that is missed is an error.
pub fn run(
    context: &Context,
    name: &str,
    only: &str,
    emulator: EmulatorName,
    cpu: &Cpu,
    json: bool,
) -> Result<()> {
    let rows = match name {
        "disks" => disks::run(context, only)?,
        "exits" => exits::run(context, emulator, cpu)?,
        "guest" => guest::run(context, only)?,
        other => bail!("there is no bench {other}; there are disks, exits and guest"),
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
        "{:<52} {:>10} {:>10} {:<10} {:>6} {:>12} {:>7}\n",
        "", "entente", "peer", "unit", "ratio", "between", "target"
    );
    for row in rows {
        // Small figures are told to a tenth.
        let figure = |value: f64| match value {
            ..100.0 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        };
        let none = || "-".to_owned();
        let target = row.target.map_or_else(none, |target| match target {
            Target::AtMost(target) => format!("<{target:.3}"),
            Target::AtLeast(target) => format!(">{target:.1}"),
        });
        let _ = writeln!(
            text,
            "{:<52} {:>10} {:>10} {:<10} {:>6} {:>12} {:>7}{}{}",
            row.name,
            figure(row.value),
            row.peer_value.map_or_else(none, figure),
            row.unit,
            row.ratio().map_or_else(none, |ratio| format!("{ratio:.3}")),
            row.ratio_range
                .map_or_else(none, |(least, most)| format!("{least:.2}..{most:.2}")),
            target,
            if row.is_missed() { "  MISSED" } else { "" },
            if row.remark.is_empty() {
                String::new()
            } else {
                format!("  {}", row.remark)
            },
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
                "  {{\"name\": \"{}\", \"value\": {:.1}, \"unit\": \"{}\", \"peer\": {peer}, \"peer_value\": {value}, \"remark\": \"{}\"}}",
                row.name, row.value, row.unit, row.remark
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
            name: "CPUID exit".into(),
            value,
            unit: "instructions",
            peer: "KVM",
            peer_value,
            target: Some(Target::AtMost(0.2)),
            ratio_range: None,
            remark: String::new(),
        }
    }

    #[test]
    fn a_target_is_missed_above_it_and_never_without_a_peer() {
        assert!(row(21.0, Some(100.0)).is_missed());
        assert!(!row(20.0, Some(100.0)).is_missed());
        assert!(!row(21.0, None).is_missed());
        let with = |least, most| Row {
            ratio_range: Some((least, most)),
            ..row(21.0, Some(100.0))
        };
        assert!(with(0.205, 0.22).is_missed());
        assert!(!with(0.19, 0.22).is_missed());
    }

    #[test]
    fn rows_become_objects() {
        let text = to_json(&[row(20.0, Some(100.0)), row(8.0, None)]);
        let expected = "[\n  \
            {\"name\": \"CPUID exit\", \"value\": 20.0, \"unit\": \"instructions\", \"peer\": \"KVM\", \"peer_value\": 100.0, \"remark\": \"\"},\n  \
            {\"name\": \"CPUID exit\", \"value\": 8.0, \"unit\": \"instructions\", \"peer\": null, \"peer_value\": null, \"remark\": \"\"}\n]\n";
        assert_eq!(text, expected);
    }
}
