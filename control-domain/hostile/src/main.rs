//! What a program in the control domain can do that means harm. Nothing but itself may suffer: each
//! command does its worst, says in one line what came of it, and the boot rows wait for that line.
//!
//! - `hostile survive PROGRAM ARGUMENT…`: runs a program, whatever its end, and shows that every CPU
//!   is still under the hypervisor.
//! - `hostile unprivileged`: hypercalls of a process that has no guest memory.
//! - `hostile claims GRANULE GRANULE`: two processes want each other's memory.
//! - `hostile devmem`: root reaches for the hypervisor through `/dev/mem`.
//! - `hostile kill-loop GRANULE GRANULE ROUNDS`: vmms are killed under disk load, their memory used again.
//! - `hostile patterns GRANULE GRANULE SECONDS`: guest, vmm and a third process fill all registers.
//! - `hostile nmi GRANULE MODE COUNT`: NMIs for a CPU that a guest has.
//!
//! `seed=NUMBER` behind a command repeats a run whose seed was printed. Commands joined by a word
//! `+` are done one after the other, up to the first that fails.
//!
//! # Invariants
//!
//! - It never runs in an image's normal life: nothing starts it but a row's command line.
//! - It never calls a result good that it did not see: each command counts what it tried.
//! - Unsafe is used for the call instruction, register patterns and `mmap`, each with its proof; none
//!   of it is reachable from the machines' own programs.

mod claims;
mod devmem;
mod disk_firmware;
mod instruction;
mod kill_loop;
mod nmi;
mod patterns;
mod random;
mod registers;
mod spinner;
mod survive;
mod unprivileged;

use std::process::ExitCode;

const USAGE: &str = "usage: hostile survive|unprivileged|claims|devmem|kill-loop|patterns|nmi …";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for command in words.split(|word| *word == "+") {
        let name = command.first().copied().unwrap_or_default();
        match execute(command) {
            Ok(report) => println!("hostile: {name} ok: {report}"),
            Err(why) => {
                println!("hostile: {name} FAILED: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn execute(command: &[&str]) -> Result<String, String> {
    match command {
        ["survive", program, arguments @ ..] => survive::survive(program, arguments),
        ["unprivileged", rest @ ..] => unprivileged::unprivileged(rest),
        ["unprivileged-child", handle, rest @ ..] => unprivileged::child(handle, rest),
        ["claims", own, other] => claims::claims(own, other),
        ["claims-holder", granule] => claims::hold(granule),
        ["devmem"] => devmem::devmem(),
        ["devmem-touch", address, access] => devmem::touch(address, access),
        ["kill-loop", granule, other, rounds, rest @ ..] => {
            kill_loop::kill_loop(granule, other, rounds, rest)
        }
        ["patterns", own, guest, seconds] => patterns::patterns(own, guest, seconds),
        ["nmi", granule, mode, count] => nmi::nmi(granule, mode, count),
        ["patterns-process", seconds] => patterns::process(seconds),
        _ => Err(USAGE.to_owned()),
    }
}
