//! `entente disk map`: which file holds which bytes.

use super::info::json;
use super::options::{ACCEPT_PARENT, AS, for_reading};
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use disks::Map;
use std::fmt::Write as _;

/// `entente disk map FILE`
pub const MAP: Command = Command {
    name: "map",
    summary: "which file of the chain holds which bytes",
    operands: &["FILE"],
    options: &[AS, ACCEPT_PARENT],
    notes: "Stretches that read as zeros are left out, but not in JSON.\nWhere \"at\" is -, the bytes are compressed, or in a file beside the descriptor.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let map = disks::map(given.path(0), &for_reading(given)?)?;
    Ok(Report::new(text(&map), json(&map)?))
}

fn text(map: &Map) -> String {
    let mut text = format!("{:>16} {:>16} {:>16}  file\n", "start", "length", "at");
    for stretch in map.stretches.iter().filter(|stretch| !stretch.zero) {
        let at = stretch
            .file_offset
            .map_or("-".into(), |at| format!("{at:#x}"));
        let file = stretch
            .depth
            .and_then(|depth| map.files.get(depth as usize));
        let file = file
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        let (start, length) = (
            format!("{:#x}", stretch.start),
            format!("{:#x}", stretch.length),
        );
        // Writing into a string can't fail.
        let _ = writeln!(text, "{start:>16} {length:>16} {at:>16}  {file}");
    }
    text
}
