//! PID 1 of the control domain: what stands between the stock kernel and the machines.
//!
//! It mounts the kernel's file systems, loads the modules that the hardware asks for, cuts the
//! guests' memory into granules, mounts the data partition and starts the machine that the kernel
//! command line names. Then it reaps children, listens to signals, and turns the PC off cleanly.
//!
//! # Invariants
//!
//! - It never makes a hypercall and knows nothing of the hypervisor: the machine's vmm does.
//! - It never unbinds, resizes or splits a granule after boot (DESIGN D3): re-binding a device
//!   whose pages are pinned brings the kernel down.
//! - It never loads `kmem`, which would hand the guests' memory to the kernel.
//! - It never panics and never exits: either would panic the kernel. What fails is reported, with
//!   what to do, and the rest goes on.
//! - It holds no `unsafe` code.
//!
//! # Console
//!
//! Every line of its own starts with `entente-init: `; the test rows wait for these words, so a
//! change of wording is a change of interface.
//!
//! # Kernel command line
//!
//! See [`cmdline::Options`].
#![forbid(unsafe_code)]

mod alias_pattern;
mod cmdline;
mod console;
mod cpus;
mod data_partition;
mod granules;
mod module_index;
mod modules;
mod mounts;
mod power;
mod program;
mod supervisor;
mod switches;

use cmdline::{Ending, Options};
use console::report;
use modules::Modules;
use std::path::PathBuf;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !rustix::process::getpid().is_init() {
        std::process::exit(run_as_modprobe(&arguments));
    }
    boot();
}

/// The kernel runs the program that `/proc/sys/kernel/modprobe` names when it needs a module by
/// name; [`boot`] points it here. Its arguments are then `-q -- NAME`.
fn run_as_modprobe(arguments: &[String]) -> i32 {
    let [quiet, separator, name] = arguments else {
        eprintln!("entente-init: runs as PID 1, or as `-q -- MODULE` for the kernel");
        return 2;
    };
    if quiet != "-q" || separator != "--" {
        eprintln!("entente-init: runs as PID 1, or as `-q -- MODULE` for the kernel");
        return 2;
    }
    match Modules::open() {
        Ok(modules) => i32::from(modules.load_alias(name) == 0),
        Err(_) => 1,
    }
}

fn boot() -> ! {
    let console = console::Console::open();
    mounts::mount_kernel_file_systems();
    let options = Options::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
    for complaint in &options.complaints {
        report!("command line: {complaint}");
    }
    report!("control domain up, {} CPUs", cpus::online());

    let modules = Modules::open();
    match &modules {
        Ok(modules) => {
            modules.serve_kernel_requests();
            modules.load_listed();
            modules.load_for_devices();
        }
        Err(error) => report!("modules: {error}; only drivers built into the kernel work"),
    }
    mounts::mount_firmware_file_systems();

    let granules = granules::cut_pool(options.granule_mib);
    if !options.no_data {
        match data_partition::mount(modules.as_ref().ok()) {
            Ok(device) => report!("data: {} at /data", device.display()),
            Err(error) => report!("data: {error}"),
        }
    }

    let mut supervisor = supervisor::Supervisor::new();
    if options.run.is_none() && switches::present() {
        switches::start();
    }
    let started = start(&options, &granules, &mut supervisor);
    if started {
        supervisor.wait_for_main_program();
        console.restore();
    }
    match options.ending {
        Ending::PowerOff => power::off(),
        Ending::Restart => power::restart(),
        Ending::Stay => {}
    }
    supervisor.stay(options.shell)
}

/// Starts the machine or the program of the command line; `false` when there is neither or it
/// can't be started.
fn start(options: &Options, granules: &[PathBuf], supervisor: &mut supervisor::Supervisor) -> bool {
    let program = if let Some(words) = &options.run {
        program::Program::test(words)
    } else if let Some(name) = &options.machine {
        program::Program::machine(name, granules)
    } else {
        report!("no machine named; give entente.machine=NAME on the kernel command line");
        return false;
    };
    match program.and_then(|program| supervisor.start(program)) {
        Ok(()) => true,
        Err(error) => {
            report!("{error}");
            false
        }
    }
}
