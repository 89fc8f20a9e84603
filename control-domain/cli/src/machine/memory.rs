//! `entente memory`: how much memory a running machine has.

use super::ask;
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use serde_json::Value;

const ASSIGN: Opt = Opt::with(
    "assign",
    "SIZE",
    "give it so much; what it can spare comes back, what is missing is added",
);

/// `entente memory NAME`
pub const MEMORY: Command = Command {
    name: "memory",
    summary: "show or change how much memory a running machine has",
    operands: &["NAME"],
    options: &[ASSIGN],
    notes: "The machine file says within which bounds (`dynamic_memory`). The guest needs Hyper-V's dynamic memory: in Linux\n\
            hv_balloon. What a guest gives back stays the machine's until it ends; what is added are whole granules.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let machine = given.text(0)?;
    let assign_mib = match given.option_bytes(ASSIGN.name)? {
        Some(bytes) if bytes % (1 << 20) != 0 => {
            return Err(given.refuse("memory is given in whole MiB"));
        }
        bytes => bytes.map(|bytes| bytes >> 20),
    };
    let answer = ask(machine, &Request::Memory { assign_mib })?.answer;
    Ok(Report::new(text(machine, &answer), answer))
}

fn text(machine: &str, answer: &Value) -> String {
    let reported = match (&answer["demand_mib"], &answer["available_mib"]) {
        (Value::Null, _) => String::new(),
        (demand, available) => format!(", demand {demand} MiB, available {available} MiB"),
    };
    format!(
        "machine {machine}: memory {} MiB of {} to {}{reported}",
        answer["assigned_mib"], answer["minimum_mib"], answer["maximum_mib"]
    )
}
