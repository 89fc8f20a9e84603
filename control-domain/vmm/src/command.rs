//! The command line.

use crate::clock::Clock;
use crate::layout::PoolPlan;
use crate::machine::Machine;
use crate::memory::BusMemory;
use crate::outcome::Outcome;
use crate::test_board::TestBoard;
use crate::{payload, prove};
use guest_memory::{GuestMemory, Mapping};
use hypercall::Hypervisor;
use hypervisor_abi::{MAX_PROCESSORS, StateGroup};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "\
usage: vmm payload FILE [--granule FILE]... [--processors N] [--memory MIB] [--command TEXT]
       vmm prove-cpus";

/// What the person asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `vmm payload`.
    Payload(PayloadOptions),
    /// `vmm prove-cpus`.
    ProveCpus,
    /// `vmm --help`.
    Help,
}

/// Options of `vmm payload`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PayloadOptions {
    image: PathBuf,
    granules: Vec<PathBuf>,
    processors: usize,
    memory_mib: u64,
    command_line: String,
}

/// Reads the command line.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let first = parser.next().map_err(|e| e.to_string())?;
    match first {
        Some(Value(name)) if name == "payload" => parse_payload(parser)
            .map(Command::Payload)
            .map_err(|e| e.to_string()),
        Some(Value(name)) if name == "prove-cpus" => Ok(Command::ProveCpus),
        Some(Long("help") | Short('h')) => Ok(Command::Help),
        _ => Err(format!("no such command\n{USAGE}")),
    }
}

fn parse_payload(mut parser: lexopt::Parser) -> Result<PayloadOptions, lexopt::Error> {
    let mut options = PayloadOptions {
        processors: 1,
        memory_mib: 32,
        ..PayloadOptions::default()
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("granule") => options.granules.push(parser.value()?.into()),
            Long("processors") => options.processors = parser.value()?.parse()?,
            Long("memory") => options.memory_mib = parser.value()?.parse()?,
            Long("command") => options.command_line = parser.value()?.string()?,
            Value(image) if options.image.as_os_str().is_empty() => options.image = image.into(),
            other => return Err(other.unexpected()),
        }
    }
    if options.image.as_os_str().is_empty() {
        return Err("the payload's file is missing".into());
    }
    if !(1..=MAX_PROCESSORS).contains(&options.processors) {
        return Err(format!(
            "processors: 1 to {MAX_PROCESSORS}, not {}",
            options.processors
        )
        .into());
    }
    if !(2..=2048).contains(&options.memory_mib) {
        return Err(format!("memory: 2 to 2048 MiB, not {}", options.memory_mib).into());
    }
    Ok(options)
}

/// Does what was asked.
///
/// # Errors
/// One sentence that says what went wrong.
pub fn execute(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Help => println!("{USAGE}"),
        Command::ProveCpus => prove::prove_cpus()?,
        Command::Payload(options) => return run_payload(&options),
    }
    Ok(ExitCode::SUCCESS)
}

fn run_payload(options: &PayloadOptions) -> Result<ExitCode, String> {
    let (hypervisor, _) = Hypervisor::probe().map_err(|e| e.to_string())?;
    hypercall::install_kick_signal().map_err(|e| format!("can't handle signals: {e}"))?;
    let image =
        std::fs::read(&options.image).map_err(|e| format!("{}: {e}", options.image.display()))?;
    let memory_bytes = options.memory_mib << 20;
    let plan = PoolPlan::new(memory_bytes, u64::MAX, 0, 0);
    let memory = open_memory(&options.granules, &plan)?;
    let entry = payload::load(&image, &options.command_line, &memory.0)
        .map_err(|e| format!("{}: {e}", options.image.display()))?;
    let board = Box::new(TestBoard::new(memory_bytes, Box::new(put_to_stdout)));
    let clock = Clock::measure();
    eprintln!(
        "entente-vmm: machine payload: {} processors, {} MiB, {}",
        options.processors,
        options.memory_mib,
        options.image.display()
    );
    let machine = Machine::create(hypervisor, memory, plan, board, clock, options.processors)
        .map_err(|e| format!("can't create the machine: {e}"))?;
    let registers = &machine.run_page(0).registers;
    machine
        .calls
        .get_state(0, StateGroup::Registers)
        .map_err(|e| e.to_string())?;
    let start = payload::entry_registers(
        &registers.load(),
        entry,
        options.processors as u64,
        memory_bytes,
    );
    registers.store(&start);
    machine
        .calls
        .set_state(0, StateGroup::Registers)
        .map_err(|e| e.to_string())?;
    Ok(report(machine.run()))
}

/// Maps the granules, checks that they are enough, and clears what the machine will use.
fn open_memory(granules: &[PathBuf], plan: &PoolPlan) -> Result<BusMemory, String> {
    let default = [PathBuf::from("/dev/dax0.1")];
    let granules = if granules.is_empty() {
        &default
    } else {
        granules
    };
    let mapping = Mapping::open(granules).map_err(|e| e.to_string())?;
    if mapping.length() < plan.total {
        return Err(format!(
            "the granules hold {} MiB, the machine needs {}; give more with --granule",
            mapping.length() >> 20,
            plan.total >> 20
        ));
    }
    mapping.clear(0, plan.total);
    let layout = plan.ram().map_err(|e| e.to_string())?;
    let memory = GuestMemory::new(mapping, layout).map_err(|e| e.to_string())?;
    Ok(BusMemory(Arc::new(memory)))
}

fn put_to_stdout(byte: u8) {
    // A console that has gone must not stop the guest.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&[byte]);
    if byte == b'\n' {
        let _ = out.flush();
    }
}

/// Says how the machine ended; the answer is the process's exit code.
fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Reset => {
            eprintln!("entente-vmm: guest reset");
            ExitCode::SUCCESS
        }
        Outcome::PoweredOff(code) => {
            eprintln!("entente-vmm: guest powered off");
            ExitCode::from(code)
        }
        Outcome::TripleFault(what) => {
            eprintln!("entente-vmm: guest triple fault: {what}");
            ExitCode::from(3)
        }
        Outcome::Failed(what) => {
            eprintln!("entente-vmm: guest stopped: {what}");
            ExitCode::from(4)
        }
    }
}
