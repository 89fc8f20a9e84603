//! The command line.

use crate::clock::Clock;
use crate::layout::PoolPlan;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::test_board::TestBoard;
use crate::{granule, memory, payload, prove, run};
use hypercall::Hypervisor;
use hypervisor_abi::{MAX_PROCESSORS, StateGroup};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: vmm run FOLDER [--granule FILE]... [--serial stdio|none] [--processors N] [--memory MIB]
               [--firmware FILE] [--video-firmware FILE] [--bios-log]
       vmm payload FILE [--granule FILE]... [--processors N] [--memory MIB] [--command TEXT]...
       vmm prove-cpus";

/// What the person asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `vmm run`.
    Run(RunOptions),
    /// `vmm payload`.
    Payload(PayloadOptions),
    /// `vmm prove-cpus`.
    ProveCpus,
    /// `vmm --help`.
    Help,
}

/// Options of `vmm run`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// The machine's folder.
    pub folder: PathBuf,
    /// Granules of the guest pool.
    pub granules: Vec<PathBuf>,
    /// COM1 is the terminal.
    pub serial: bool,
    /// Instead of the file's.
    pub processors: Option<usize>,
    /// Instead of the file's.
    pub memory_mib: Option<u64>,
    /// Instead of the file's.
    pub firmware: Option<PathBuf>,
    /// Instead of the file's.
    pub video_firmware: Option<PathBuf>,
    /// Show the log of the BIOS on standard error.
    pub bios_log: bool,
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
        Some(Value(name)) if name == "run" => parse_run(parser)
            .map(Command::Run)
            .map_err(|e| e.to_string()),
        Some(Value(name)) if name == "payload" => parse_payload(parser)
            .map(Command::Payload)
            .map_err(|e| e.to_string()),
        Some(Value(name)) if name == "prove-cpus" => Ok(Command::ProveCpus),
        Some(Long("help") | Short('h')) => Ok(Command::Help),
        _ => Err(format!("no such command\n{USAGE}")),
    }
}

fn parse_run(mut parser: lexopt::Parser) -> Result<RunOptions, lexopt::Error> {
    let mut options = RunOptions {
        serial: true,
        ..RunOptions::default()
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("granule") => options.granules.push(parser.value()?.into()),
            Long("serial") => {
                options.serial = match parser.value()?.string()?.as_str() {
                    "stdio" => true,
                    "none" => false,
                    other => return Err(format!("serial: stdio or none, not {other:?}").into()),
                }
            }
            Long("processors") => options.processors = Some(parser.value()?.parse()?),
            Long("memory") => options.memory_mib = Some(parser.value()?.parse()?),
            Long("firmware") => options.firmware = Some(parser.value()?.into()),
            Long("video-firmware") => options.video_firmware = Some(parser.value()?.into()),
            Long("bios-log") => options.bios_log = true,
            Value(folder) if options.folder.as_os_str().is_empty() => {
                options.folder = folder.into()
            }
            other => return Err(other.unexpected()),
        }
    }
    if options.folder.as_os_str().is_empty() {
        return Err("the machine's folder is missing".into());
    }
    Ok(options)
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
            // Given more than once, the words are joined: some ways to start a program have no spaces.
            Long("command") => {
                if !options.command_line.is_empty() {
                    options.command_line.push(' ');
                }
                options.command_line += &parser.value()?.string()?;
            }
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
        Command::Run(options) => return run::run(&options).map(report),
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
    let granules = granule::take(&options.granules, plan.total)?;
    let (memory, plan) = memory::open(&granules, plan, 0)?;
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
    machine.clear_memory();
    let entry = payload::load(&image, &options.command_line, &machine.memory.0)
        .map_err(|e| format!("{}: {e}", options.image.display()))?;
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
    let outcome = machine.run();
    machine.report_exits();
    machine.destroy();
    Ok(report(outcome))
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
    eprintln!("entente-vmm: {outcome}");
    match outcome {
        Outcome::Reset => ExitCode::SUCCESS,
        Outcome::PoweredOff(code) => ExitCode::from(code),
        Outcome::TripleFault(_) => ExitCode::from(3),
        Outcome::Failed(_) => ExitCode::from(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Command, String> {
        parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn init_starts_a_machine_like_this() {
        let command = parse_words(
            "run /data/machines/first --granule /dev/dax0.0 --granule /dev/dax0.1 --serial stdio",
        );
        let Ok(Command::Run(options)) = command else {
            panic!("{command:?}")
        };
        assert_eq!(options.granules.len(), 2);
        assert!(options.serial && options.folder.to_str() == Some("/data/machines/first"));
    }

    #[test]
    fn mistakes_are_named() {
        for words in [
            "",
            "walk",
            "run",
            "payload",
            "run a b",
            "payload x --processors 65",
            "run a --serial tcp",
        ] {
            assert!(parse_words(words).is_err(), "{words}");
        }
    }
}
