//! `vmm run`: a machine from its folder.

use crate::clock::Clock;
use crate::command::RunOptions;
use crate::control;
use crate::dynamic_memory::{self, Granules};
use crate::firmware::Firmware;
use crate::granule;
use crate::layout::PoolPlan;
use crate::legacy_adapter::{LegacyAdapter, Wire};
use crate::machine::Machine;
use crate::machine_file::MachineFile;
use crate::mainboard::{Parts, VIDEO_BYTES};
use crate::media::{self, Media};
use crate::memory::{self, BusMemory};
use crate::outcome::Outcome;
use crate::running::Running;
use crate::serial_port;
use crate::sockets;
use crate::storage;
use crate::terminal;
use crate::tpm;
use crate::video;
use crate::vmbus_device::host_pairs;
use crate::vmbus_host::Vmbus;
use devices::LOW_MEMORY_LIMIT;
use hypercall::Hypervisor;
use management::{RawTerminal, What};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::time::Duration;
use vmbus::Device;

/// How long a guest has after its power button was pressed: less than init waits.
const TIME_TO_SHUT_DOWN: Duration = Duration::from_secs(4);

/// Runs a machine until it powers off or fails; resets are served in between.
///
/// # Errors
/// One sentence that says why the machine could not be started.
pub fn run(options: &RunOptions) -> Result<Outcome, String> {
    let file = machine_file(options)?;
    let (hypervisor, _) = Hypervisor::probe().map_err(|e| e.to_string())?;
    hypercall::install_kick_signal().map_err(|e| format!("can't handle signals: {e}"))?;
    let firmware = Firmware::open(&file, &options.folder)?;
    let plan = PoolPlan::new(
        file.memory_mib << 20,
        LOW_MEMORY_LIMIT,
        firmware.rom_bytes(),
        VIDEO_BYTES.into(),
    );
    let granules = granule::take(&options.granules, plan.total)?;
    let room = file.dynamic_memory.map_or(0, |memory| memory.room());
    let (memory, plan) = memory::open(&granules, plan, room)?;
    let granules = Granules::new(options.granules.clone(), granules);
    let running = Running::new(options.folder.clone(), file.clone(), granules);
    let listener = control::listen(&running)?;
    let sockets = sockets::listen(&running)?;
    let serial_ports = file.serial_ports.iter();
    let serial_ports: Vec<_> = serial_ports
        .map(|entry| serial_port::listen(&running, entry))
        .collect::<Result<_, _>>()?;
    attach_signals(&running).map_err(|e| format!("can't handle signals: {e}"))?;
    let _terminal = options.serial.then(RawTerminal::enter);
    let shown = terminal::attach(&running, options.serial.then_some(file.console));
    let outcome = run_until_off(hypervisor, options, &running, &firmware, &plan, &memory);
    let how = match &outcome {
        Ok(outcome) => outcome.to_string(),
        Err(error) => error.clone(),
    };
    running.end(&how);
    if let Some(shown) = shown {
        let _ = shown.join();
    }
    drop(serial_ports);
    drop(sockets);
    drop(listener);
    outcome
}

fn run_until_off(
    hypervisor: Hypervisor,
    options: &RunOptions,
    running: &Running,
    firmware: &Firmware,
    plan: &PoolPlan,
    memory: &BusMemory,
) -> Result<Outcome, String> {
    let mut first = true;
    loop {
        let mut hardware = running.hardware();
        let file = hardware.file.clone();
        let (scsi, scsi_devices) = media::scsi_controllers(&file, memory);
        hardware.scsi = scsi;
        let (media, about) = media::open(running, &hardware)?;
        drop(hardware);
        let (processors, mib) = (file.processors, file.memory_mib);
        eprintln!(
            "entente-vmm: machine {}: {processors} processors, {mib} MiB, {}",
            file.name,
            about.join(", ")
        );
        let host = host_pairs(&file.name, file.guid());
        let mut devices = running.services().devices(host);
        if file.generation == 2 {
            devices.push(video::adapter(running));
        }
        devices.extend(disks_on_vmbus(&file, memory, &media));
        devices.extend(scsi_devices);
        devices.extend(dynamic_memory::device(running, plan));
        let (mut cards, mut wires) = (Vec::new(), Vec::<Box<dyn Wire>>::new());
        for (slot, adapter) in file.network_adapters()?.iter().enumerate() {
            let mut card = || {
                let (network, plugged) = adapter.plug_in(&file.name)?;
                let (card, wire) = LegacyAdapter::new(adapter.mac, plugged, network);
                cards.push(card);
                wires.push(Box::new(wire));
                Ok(())
            };
            let made = match adapter.legacy {
                true => card(),
                // UEFI firmware has no driver for VMBus: it has a card of its own at the first adapter's switch.
                false if slot == 0 && file.generation == 2 && file.boots_from_network() => card(),
                false => Ok(()),
            };
            let made = made.and_then(|()| match adapter.legacy {
                true => Ok(()),
                false => adapter
                    .device(&file.name, file.processors)
                    .map(|device| devices.push(device)),
            });
            if let Err(error) = made {
                eprintln!("entente-vmm: {error}; the machine goes without");
            }
        }
        let parts = Parts {
            file: &file,
            running,
            options,
            firmware,
            plan,
            memory,
        };
        let tpm = file.tpm.then(|| tpm::start(running)).transpose()?;
        let board = parts.board(media, cards, tpm);
        let clock = Clock::measure();
        let mut machine =
            Machine::create(hypervisor, memory.clone(), *plan, board, clock, processors)
                .map_err(|e| format!("can't create the machine: {e}"))?;
        if std::mem::take(&mut first) {
            machine.clear_memory();
            firmware.write(memory, plan)?;
            running.events().note(What::Started);
        }
        machine.vmbus = Some(Vmbus::new(devices, running.sockets().clone()));
        machine.legacy_adapters = wires;
        machine.events = running.events().clone();
        let machine = Arc::new(machine);
        running.set_machine(&machine);
        let outcome = machine.run();
        machine.report_exits();
        machine.destroy();
        if outcome != Outcome::Reset {
            return Ok(outcome);
        }
        running.events().tell(What::Reset);
    }
}

fn machine_file(options: &RunOptions) -> Result<MachineFile, String> {
    let mut file = MachineFile::read(&options.folder)?;
    file.processors = options.processors.unwrap_or(file.processors);
    file.memory_mib = options.memory_mib.unwrap_or(file.memory_mib);
    file.firmware = options.firmware.clone().or(file.firmware);
    file.video_firmware = options.video_firmware.clone().or(file.video_firmware);
    file.check()?;
    Ok(file)
}

/// Each disk of the IDE controller once more, where drivers for Hyper-V look for it.
fn disks_on_vmbus(
    file: &MachineFile,
    memory: &BusMemory,
    media: &Media,
) -> impl Iterator<Item = Box<dyn Device>> {
    media.disks.iter().map(|(location, disk)| {
        let memory = memory.0.clone();
        storage::ide_disk(*location, disk.clone(), memory, file.guid())
    })
}

/// A signal to end asks the guest; what has not ended by itself is stopped then, with its disks
/// closed.
fn attach_signals(running: &Running) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let running = running.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let machine = running.machine();
            if signal == SIGUSR1 {
                machine.iter().for_each(|machine| machine.report_exits());
                continue;
            }
            if machine.is_none() {
                std::process::exit(128 + signal);
            }
            if running.ask_to_power_off() {
                std::thread::sleep(TIME_TO_SHUT_DOWN);
            }
            running.turn_off(&format!("by signal {signal}"));
        }
    });
    Ok(())
}
