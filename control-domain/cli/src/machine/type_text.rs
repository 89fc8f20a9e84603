//! `entente type`: text for a running machine's keyboard.

use super::ask;
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use serde_json::json;

/// `entente type NAME TEXT`
pub const TYPE: Command = Command {
    name: "type",
    summary: "type at a running machine's keyboard",
    operands: &["NAME", "TEXT"],
    options: &[],
    notes: "On a keyboard with the US layout, and Enter at the end. `entente screenshot` shows what came of it.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let machine = given.text(0)?;
    let text = format!("{}\n", given.text(1)?);
    let keys = text.chars().count();
    ask(machine, &Request::Type { text })?;
    Ok(Report::new(
        format!("machine {machine}: {keys} keys typed"),
        json!({"name": machine, "keys": keys}),
    ))
}
