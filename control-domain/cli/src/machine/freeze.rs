//! `entente freeze` and `entente thaw`: a running guest's file systems at rest, for a backup of its disks.

use super::ask;
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;
use serde_json::json;

const SECONDS: Opt = Opt::with(
    "seconds",
    "N",
    "go on by itself after this time; 60 if not given, 600 at most",
);
const USUAL_SECONDS: usize = 60;

/// `entente freeze NAME`
pub const FREEZE: Command = Command {
    name: "freeze",
    summary: "bring a running guest's file systems to rest, to copy its disks",
    operands: &["NAME"],
    options: &[SECONDS],
    notes: "What the guest has written is then on its disks, and whatever writes waits. The guest needs Hyper-V's backup\n\
            service: in Linux hv_vss_daemon. `entente thaw` lets it go on, and so does the time.",
    run: freeze,
};

/// `entente thaw NAME`
pub const THAW: Command = Command {
    name: "thaw",
    summary: "let a frozen guest's file systems go on",
    operands: &["NAME"],
    options: &[],
    notes: "",
    run: thaw,
};

fn freeze(given: &Given) -> Result<Report, Failure> {
    let machine = given.text(0)?;
    let seconds = given.option_number(SECONDS.name)?.unwrap_or(USUAL_SECONDS) as u64;
    ask(machine, &Request::Freeze { seconds })?;
    Ok(Report::new(
        format!("machine {machine}: file systems frozen, for at most {seconds} s"),
        json!({"name": machine, "seconds": seconds}),
    ))
}

fn thaw(given: &Given) -> Result<Report, Failure> {
    let machine = given.text(0)?;
    ask(machine, &Request::Thaw)?;
    Ok(Report::new(
        format!("machine {machine}: file systems go on"),
        json!({"name": machine}),
    ))
}
