//! `cargo xtask boot`: builds everything and boots it in an emulator.

use crate::context::{Context, create_folder};
use crate::image::{self, Changes};
use crate::pc::Pc;
use crate::recipe::Recipe;
use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Boot, Cpu, Disk, EmulatorName, Expectation, Limits, Report, Row, Watch};
use regex::Regex;
use std::path::PathBuf;
use std::time::Duration;

/// A network card, and behind it the host's network.
const NETWORK_CARD: [&str; 4] = [
    "-netdev",
    "user,id=network",
    "-device",
    "virtio-net-pci,netdev=network,romfile=",
];

/// What was asked for on the command line.
#[derive(Debug, Default)]
pub struct Options {
    /// Wait for the expected lines, print the time line and end.
    pub headless: bool,
    /// What emulates the PC.
    pub emulator: EmulatorName,
    /// Its processor.
    pub cpu: Cpu,
    /// A firmware's code.
    pub firmware: Option<PathBuf>,
    /// The machine to start; `none` for the control domain alone.
    pub machine: Option<String>,
    /// Words added to the kernel's command line.
    pub append: Vec<String>,
    /// Wait for this line alone.
    pub until: Option<String>,
    /// Arguments added to the emulator's.
    pub arguments: Vec<String>,
    /// Where the serial line is written to.
    pub log: Option<PathBuf>,
    /// The control domain's kernel alone.
    pub without_hypervisor: bool,
    /// An executable in the hypervisor's place.
    pub stub: Option<PathBuf>,
    /// Boot with the machines' disk as the last boot left it.
    pub keep_data: bool,
    /// CPUs.
    pub processors: Option<u32>,
    /// RAM in MiB.
    pub memory_mib: Option<u32>,
    /// Limit of a headless run, on the clock.
    pub limit_seconds: Option<u64>,
}

/// The row whose lines a headless boot waits for.
fn row(context: &Context, options: &Options) -> Result<Row> {
    let mut rows = Vec::new();
    for name in ["first-light", "payload"] {
        let path = context.root.join(format!("qemu-tests/rows/{name}.yaml"));
        rows.extend(Row::read(&path)?);
    }
    rows.retain(|row| row.emulator == options.emulator);
    // For a CPU by its model's name, the payload's.
    let of_cpu = rows.iter().position(|row| row.cpu == options.cpu);
    let row = of_cpu.map_or_else(|| rows.last(), |found| rows.get(found));
    row.cloned()
        .with_context(|| format!("there is no row for {}", options.emulator))
}

/// Runs the command.
pub fn run(context: &Context, recipe: &Recipe, options: &Options) -> Result<()> {
    let row = row(context, options)?;
    let mut append = options.append.clone();
    let machine = match options.machine.as_deref() {
        _ if options.without_hypervisor => None,
        Some("none") => None,
        Some(name) => Some(name),
        None if row.data_disk => Some(recipe.data.machine.as_str()),
        None => {
            // What the row starts instead.
            append.extend(row.append.iter().cloned());
            None
        }
    };
    append.extend(machine.map(|name| format!("entente.machine={name}")));
    let changes = Changes {
        without_hypervisor: options.without_hypervisor,
        stub: options.stub.clone(),
        ..Changes::emulated(append)
    };
    let image = image::build(context, recipe, &changes)?;
    let boot = match options.without_hypervisor {
        true => Boot::WithoutHypervisor,
        false => Boot::Image,
    };
    let mut arguments = options.arguments.clone();
    if options.emulator == EmulatorName::Qemu && !options.headless {
        // A person wants to see the network work; rows bring a card where they are about it.
        arguments.extend(NETWORK_CARD.map(str::to_owned));
    }
    let pc = Pc {
        emulator: options.emulator,
        cpu: &options.cpu,
        processors: options.processors.unwrap_or(row.processors),
        memory_mib: options.memory_mib.unwrap_or(row.memory_mib()),
        firmware: options.firmware.as_deref(),
        arguments: &arguments,
        folder: context.out.join("boot"),
    };
    let mut emulator = pc.with_image(context, &image, boot)?;
    if machine.is_some() {
        let present = image::data_disk_path(context, recipe);
        let path = match options.keep_data && present.exists() {
            true => present,
            false => image::machines(context, recipe)?,
        };
        emulator.disks.push(Disk { path, keep: true });
    }
    if !options.headless {
        eprintln!("the serial console of the PC follows; control-A X turns it off");
        return qemu_tests::start_interactive(&emulator);
    }
    let log = match &options.log {
        Some(log) => log.clone(),
        None => context.out.join("boot/serial.log"),
    };
    create_folder(&context.out.join("boot"))?;
    let mut limits = row.limits();
    if let Some(seconds) = options.limit_seconds {
        limits = Limits {
            cpu: Duration::from_secs(seconds.saturating_mul(row.processors.into())),
            wall: Duration::from_secs(seconds),
        };
    }
    let watch = Watch {
        expect: match &options.until {
            Some(until) => vec![awaited(until)?],
            None => until_prompt(row.expect),
        },
        forbid: row.forbid,
        until_off: false,
        log: Some(log.clone()),
        show: false,
    };
    let report = qemu_tests::run(&emulator, &watch, limits)
        .with_context(|| format!("the boot failed (whole serial log: {})", log.display()))?;
    print_time_line(&report);
    Ok(())
}

/// What a row expects up to the first prompt that it would answer.
fn until_prompt(mut expect: Vec<Expectation>) -> Vec<Expectation> {
    if let Some(prompt) = expect.iter().position(|e| e.send.is_some()) {
        expect.truncate(prompt + 1);
        expect[prompt].send = None;
    }
    expect
}

fn awaited(until: &str) -> Result<Expectation> {
    let line = Regex::new(until).with_context(|| format!("--until {until} is no expression"))?;
    ensure!(!until.is_empty(), "--until wants an expression");
    Ok(Expectation {
        line,
        times: 1,
        different: 0,
        stage: Some(until.to_owned()),
        send: None,
        only: None,
    })
}

/// One line for each stage: when it was reached, and what the emulator had used by then.
fn print_time_line(report: &Report) {
    println!("{:<24} {:>9} {:>9}", "stage", "wall s", "CPU s");
    for stamp in &report.stamps {
        println!(
            "{:<24} {:>9.1} {:>9.1}",
            stamp.stage,
            stamp.wall.as_secs_f64(),
            stamp.cpu.as_secs_f64()
        );
    }
}
