//! `vmm run`: a machine from its folder.

use crate::clock::Clock;
use crate::command::RunOptions;
use crate::console::{self, RawTerminal};
use crate::disk::MachineDisk;
use crate::keyboard::Key;
use crate::layout::PoolPlan;
use crate::machine::Machine;
use crate::machine_file::{Console, DiskFormat, MachineFile};
use crate::memory::{self, BusMemory};
use crate::outcome::Outcome;
use crate::storage;
use crate::terminal;
use crate::video::PoolVideoMemory;
use crate::vmbus_device::{Services, host_pairs};
use crate::vmbus_host::Vmbus;
use devices::{ByteSink, Chipset, Config, Disc, Diskette, Drive, LOW_MEMORY_LIMIT};
use hypercall::Hypervisor;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vmbus::Device;

/// Size of video memory in bytes.
const VIDEO_BYTES: u32 = 16 << 20;
/// How long a guest has after its power button was pressed: less than init waits.
const TIME_TO_SHUT_DOWN: Duration = Duration::from_secs(4);
/// The largest BIOS image.
const MOST_BIOS_BYTES: u64 = 1 << 20;
/// Where the images of the boot disk keep firmware.
const FIRMWARE_FOLDER: &str = "/usr/share/entente";

/// The machine that runs, between its start and its end, and what can be asked of its guest.
#[derive(Clone, Default)]
pub struct Running {
    machine: Arc<Mutex<Weak<Machine<Hypervisor>>>>,
    services: Services,
}

struct Firmware {
    bios: Vec<u8>,
    video: Vec<u8>,
}

/// Runs a machine until it powers off or fails; resets are served in between.
///
/// # Errors
/// One sentence that says why the machine could not be started.
pub fn run(options: &RunOptions) -> Result<Outcome, String> {
    let file = machine_file(options)?;
    let (hypervisor, _) = Hypervisor::probe().map_err(|e| e.to_string())?;
    hypercall::install_kick_signal().map_err(|e| format!("can't handle signals: {e}"))?;
    let firmware = Firmware {
        bios: read_firmware(
            file.firmware.as_deref(),
            &options.folder,
            &["bios-256k.bin", "bios.bin"],
        )?,
        video: read_firmware(
            file.video_firmware.as_deref(),
            &options.folder,
            &["vgabios-stdvga.bin"],
        )?,
    };
    let bios_bytes = firmware.bios.len() as u64;
    if bios_bytes == 0 || !bios_bytes.is_multiple_of(4096) || bios_bytes > MOST_BIOS_BYTES {
        return Err(format!(
            "the BIOS image has {bios_bytes} bytes; it must be whole pages, at most 1 MiB"
        ));
    }
    let plan = PoolPlan::new(
        file.memory_mib << 20,
        LOW_MEMORY_LIMIT,
        bios_bytes,
        VIDEO_BYTES.into(),
    );
    let memory = memory::open(&options.granules, &plan)?;
    let mut first = true;
    let running = Running::default();
    attach_signals(&running).map_err(|e| format!("can't handle signals: {e}"))?;
    let _terminal = options.serial.then(RawTerminal::enter);
    if options.serial {
        terminal::attach(&running, file.console);
    }
    loop {
        let (media, about) = open_media(&file, &options.folder)?;
        let (processors, mib) = (file.processors, file.memory_mib);
        eprintln!(
            "entente-vmm: machine {}: {processors} processors, {mib} MiB, {}",
            file.name,
            about.join(", ")
        );
        let mut devices = running
            .services
            .devices(host_pairs(&file.name, file.guid()));
        devices.extend(disks_on_vmbus(&file, &memory, &media));
        for adapter in file.network_adapters()? {
            match adapter.device(&file.name) {
                Ok(device) => devices.push(device),
                Err(error) => eprintln!("entente-vmm: {error}; the machine goes without"),
            }
        }
        let board = Box::new(chipset(&file, &firmware, &plan, &memory, media, options));
        let clock = Clock::measure();
        let mut machine =
            Machine::create(hypervisor, memory.clone(), plan, board, clock, processors)
                .map_err(|e| format!("can't create the machine: {e}"))?;
        if std::mem::take(&mut first) {
            machine.clear_memory();
            memory.0.mapping().write(plan.rom, &firmware.bios);
        }
        machine.vmbus = Some(Vmbus::new(devices));
        let machine = Arc::new(machine);
        *running
            .machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&machine);
        let outcome = machine.run();
        machine.report_exits();
        machine.destroy();
        if outcome != Outcome::Reset {
            return Ok(outcome);
        }
        eprintln!("entente-vmm: guest reset");
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

/// The image that was named, relative to the machine's folder, or the first of the usual ones.
fn read_firmware(named: Option<&Path>, folder: &Path, usual: &[&str]) -> Result<Vec<u8>, String> {
    let candidates: Vec<PathBuf> = match named {
        Some(path) => vec![folder.join(path)],
        None => usual
            .iter()
            .map(|name| Path::new(FIRMWARE_FOLDER).join(name))
            .collect(),
    };
    let found = candidates
        .iter()
        .find(|path| path.exists())
        .unwrap_or(&candidates[0]);
    std::fs::read(found).map_err(|e| format!("{}: {e}", found.display()))
}

/// What the machine reads and writes.
#[derive(Default)]
struct Media {
    drives: [Option<Drive>; 4],
    /// Those of them that are disks, with their location, to be offered on VMBus too.
    disks: Vec<(usize, MachineDisk)>,
    diskette: Option<Diskette>,
}

/// Answers them with a few words about each.
fn open_media(file: &MachineFile, folder: &Path) -> Result<(Media, Vec<String>), String> {
    let mut media = Media::default();
    let mut about = Vec::new();
    for entry in &file.disks {
        let (disk, words) = MachineDisk::open(folder, &entry.path, entry.format)?;
        media.disks.push((entry.location, disk.clone()));
        media.drives[entry.location] = Some(Drive::Disk(Box::new(disk)));
        about.push(words);
    }
    for entry in &file.dvds {
        let mut disc = None;
        if let Some(path) = &entry.path {
            let (image, words) = MachineDisk::open_disc(folder, path)?;
            disc = Some(Box::new(image) as Disc);
            about.push(words);
        }
        media.drives[entry.location] = Some(Drive::Dvd(disc));
    }
    if let Some(path) = &file.floppy {
        let (image, words) = MachineDisk::open(folder, path, DiskFormat::Raw)?;
        let diskette = Diskette::new(Box::new(image), false)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        media.diskette = Some(diskette);
        about.push(words);
    }
    if about.is_empty() {
        about.push("no disk".into());
    }
    Ok((media, about))
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

fn chipset(
    file: &MachineFile,
    firmware: &Firmware,
    plan: &PoolPlan,
    memory: &BusMemory,
    media: Media,
    options: &RunOptions,
) -> Chipset {
    let serial = (options.serial && file.console == Console::Serial)
        .then(|| Box::new(console::Output::open()) as Box<dyn ByteSink>);
    let bios_log: Option<Box<dyn ByteSink>> = if options.bios_log {
        Some(Box::new(put_to_stderr))
    } else {
        None
    };
    let utc_seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Chipset::new(Config {
        processor_count: file.processors as u32,
        memory_bytes: file.memory_mib << 20,
        bios_bytes: firmware.bios.len() as u64,
        utc_seconds,
        guid: file.guid().to_bytes_le(),
        vga_bios: firmware.video.clone(),
        video_memory: Box::new(PoolVideoMemory {
            memory: memory.clone(),
            offset: plan.video,
            size: VIDEO_BYTES,
        }),
        serial: [serial, None],
        bios_log,
        drives: media.drives,
        diskette: media.diskette,
        identity_flip: false,
    })
}

fn put_to_stderr(byte: u8) {
    let _ = std::io::stderr().write_all(&[byte]);
}

/// The machine that runs now.
pub fn current(running: &Running) -> Option<Arc<Machine<Hypervisor>>> {
    let machine = running.machine.lock();
    machine.unwrap_or_else(PoisonError::into_inner).upgrade()
}

/// Asks the guest to end in good order: its driver, or the system that watches the power button.
/// Answers whether one of them listens.
pub fn ask_to_power_off(running: &Running, machine: &Machine<Hypervisor>) -> bool {
    running.services.shutdown.power_off()
        || machine.with_board(|board, _, _| board.press_power_button())
}

/// Presses and releases a key, of the keyboard that the guest has a driver for.
pub fn press(running: &Running, machine: &Machine<Hypervisor>, key: Key) {
    if !running.services.keyboard.put(key.strokes()) {
        machine.with_board(|board, _, _| board.press(key));
    }
}

/// A signal to end asks the guest; what has not ended by itself is stopped then, with its disks
/// closed.
fn attach_signals(running: &Running) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let running = running.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let machine = current(&running);
            if signal == SIGUSR1 {
                machine.iter().for_each(|machine| machine.report_exits());
                continue;
            }
            let Some(machine) = machine else {
                std::process::exit(128 + signal);
            };
            if ask_to_power_off(&running, &machine) {
                std::thread::sleep(TIME_TO_SHUT_DOWN);
            }
            machine.stop(Outcome::Failed(format!("by signal {signal}")));
        }
    });
    Ok(())
}
