//! `entente`: what a person does with disks and machines, on any Linux host.
//!
//! `entente disk` works everywhere; what is about machines, in the control domain, where they run.
//!
//! `main` dispatches; [`command`] says what a command is and reads its arguments; each command is a
//! file named as it is typed: `entente disk chain show` is `disk/chain/show.rs`.
//!
//! # Invariants
//!
//! - A command computes a [`report::Report`] and prints nothing itself but its progress, and that on a
//!   terminal only: so each has `--json`, and each can be tested.
//! - Exit codes: 0 done, 1 it could not be done or something is wrong with the disk, 2 the command
//!   line is not understood.
//! - No knowledge of a disk format is here, and no unsafe code.
#![forbid(unsafe_code)]

mod command;
mod disk;
mod failure;
mod given;
mod help;
mod machine;
mod progress;
mod report;
mod size;

use command::Group;
use std::process::ExitCode;

/// What can be typed after `entente`.
const ENTENTE: Group = Group {
    name: "entente",
    summary: "machines of Hyper-V, Virtual Server and Virtual PC, as they are",
    entries: machine::ENTRIES,
};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    // What is typed may be too wrong to tell an option from an operand; the answer is then for both.
    let to_machine = words.iter().any(|word| word == "--json");
    let outcome = command::run(&ENTENTE, words);
    match outcome {
        Ok(output) => output.print(),
        Err(failure) => failure.print(to_machine),
    }
}
