//! `entente console`: a person at a machine's serial port.

use super::ask;
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::{Connection, RawTerminal, Request};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Ctrl-]
const DETACH: u8 = 0x1d;
const PORT: Opt = Opt::with("port", "N", "the serial port: 1 is COM1, as if not given");

/// `entente console NAME`
pub const CONSOLE: Command = Command {
    name: "console",
    summary: "the serial port of a running machine; Ctrl-] leaves it",
    operands: &["NAME"],
    options: &[PORT],
    notes: "What the machine has written last is shown first. The machine goes on when the console is left.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let port = given.option_number(PORT.name)?.unwrap_or(1);
    attach(given.text(0)?, port)
}

/// Attaches the terminal to a machine's serial port until it is left.
pub fn attach(machine: &str, port: usize) -> Result<Report, Failure> {
    let Connection { mut stream, .. } = ask(machine, &Request::Console { port })?;
    let fail = |error: io::Error| Failure::Failed(format!("machine {machine}: {error}"));
    let to = stream.get_ref().try_clone().map_err(fail)?;
    eprintln!("machine {machine}, COM{port}: Ctrl-] leaves it");
    let terminal = RawTerminal::enter();
    std::thread::spawn(move || type_into(to));
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        let mut out = io::stdout().lock();
        let written = out.write_all(&bytes[..length]).and_then(|()| out.flush());
        written.map_err(fail)?;
    }
    drop(terminal);
    // The guest's last line need not be complete.
    eprintln!();
    Ok(Report::new(String::new(), Value::Null))
}

/// Sends what is typed until the detach key or the input's end; then the connection ends.
fn type_into(mut to: UnixStream) {
    let mut bytes = [0; 256];
    while let Ok(length @ 1..) = io::stdin().read(&mut bytes) {
        let typed = bytes[..length].split(|byte| *byte == DETACH).next();
        let typed = typed.unwrap_or_default();
        if to.write_all(typed).is_err() || typed.len() < length {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
