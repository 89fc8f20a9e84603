//! `stopwatch PROGRAM ARGUMENT…`: runs a machine's monitor in the control domain, ours or another, and tells at each
//! mark how much was used until then. Nothing but `cargo xtask bench guest` starts it.
//!
//! A mark is a line `mark NAME` that the guest writes on its console, and the login prompt (`mark login`).
//! For each, one line follows on the console:
//!
//! ```text
//! stopwatch: NAME clock NS idle NS own KIB exits COUNT
//! ```
//!
//! `clock`: since the PC started; `idle`: of that, all CPUs without work; `own`: the monitor's resident memory but for
//! what it shares with the guest; `exits`: of all the guest's processors.
//!
//! What is absent: knowledge of what the guest does; unsafe code.
#![forbid(unsafe_code)]

mod exits;
mod marks;
mod used;

use exits::Exits;
use marks::Marks;
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("stopwatch: name a program and its arguments");
        return ExitCode::from(2);
    };
    let mut command = Command::new(&program);
    command.args(words);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("stopwatch: {} can't be started: {error}", program.display());
            return ExitCode::FAILURE;
        }
    };
    let process = child.id();
    tell("start", process, 0);
    if let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
        let exits = Exits::of(process, errors);
        let count = || exits.as_ref().map_or(0, Exits::count);
        follow(output, &mut |name| tell(name, process, count()));
    }
    match child.wait() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Passes on what the machine writes, and stops at marks.
fn follow(mut output: impl Read, at_mark: &mut dyn FnMut(&str)) {
    let mut marks = Marks::default();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        let mut rest = &buffer[..length];
        while let Some((end, name)) = marks.find(rest) {
            pass_on(&rest[..end]);
            at_mark(&name);
            rest = &rest[end..];
        }
        pass_on(rest);
    }
}

fn pass_on(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    // A console that takes nothing more is no reason to stop the machine.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

fn tell(name: &str, process: u32, exits: u64) {
    println!(
        "\nstopwatch: {name} clock {} idle {} own {} exits {exits}",
        used::clock_ns(),
        used::idle_ns(),
        used::own_memory_kib(process),
    );
}
