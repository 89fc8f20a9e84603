//! Bochs: VMX as well as AMD-V, every rule of an entry checked and each broken one named.
//!
//! The PC is a 440FX with PIIX IDE, all processors in one thread of the host. Time is counted in
//! instructions, so a run doesn't depend on the host's load.

use super::{Cpu, Disk, Emulator, Running, guarded};
use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The processors: these two have no clock that contradicts the counted time, and all that the
/// hypervisor needs.
const INTEL: &str = "corei7_haswell_4770";
const AMD: &str = "ryzen";

/// Instructions in an emulated second, which is also the frequency of the time stamp counter. More
/// make waits longer, fewer leave less between a kernel's timer interrupts: a boot of the control
/// domain took 43 CPU seconds at 20 million and 41 at 100 million.
const INSTRUCTIONS_PER_SECOND: u32 = 120_000_000;

/// Where a firmware of 4 MiB ends in 4 GiB.
const FIRMWARE_ADDRESS: u32 = 0xffc0_0000;
const FIRMWARE_SIZE: u64 = 4 << 20;

/// A disk's geometry; its size is a multiple of a cylinder.
const HEADS: u64 = 16;
const SECTORS: u64 = 63;
const CYLINDER_SIZE: u64 = HEADS * SECTORS * 512;

/// How long Bochs may take to open the serial line, on the clock of a loaded host.
const PATIENCE: Duration = Duration::from_secs(60);

/// What only a PC in Bochs has. Its disks are IDE, two of them at most.
#[derive(Clone, Debug)]
pub struct Bochs {
    /// The command line that starts it, without options.
    pub command: Vec<OsString>,
    /// Variables of the environment that it needs.
    pub environment: Vec<(OsString, OsString)>,
    /// UEFI firmware, code and variables in one file; nothing that is written to it stays.
    pub firmware: PathBuf,
    /// The VGA card's firmware.
    pub video_firmware: PathBuf,
    /// The processor.
    pub cpu: Cpu,
}

/// What Bochs logs, complaints about entries among it.
pub(super) fn log(pc: &Emulator) -> PathBuf {
    pc.folder.join("bochs.log")
}

impl Bochs {
    /// Starts it with the serial line on a socket of this host.
    pub(super) fn start(&self, pc: &Emulator) -> Result<Running> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no socket can be opened")?;
        let port = listener
            .local_addr()
            .context("the socket has no port")?
            .port();
        let settings = pc.folder.join("bochsrc");
        for disk in &pc.disks {
            prepare(disk)?;
        }
        std::fs::write(&settings, self.settings(pc, port)?)
            .with_context(|| format!("{} can't be written", settings.display()))?;
        let options = ["-q".into(), "-f".into(), settings.into_os_string()];
        let mut expression = guarded(self.command.iter().cloned().chain(options))
            .stdin_null()
            .stdout_null()
            .stderr_path(pc.said())
            .env("TERM", "vt100")
            .unchecked();
        for (name, value) in &self.environment {
            expression = expression.env(name, value);
        }
        let process = expression.start()?;
        let line = match accept(&listener, &process) {
            Ok(line) => line,
            Err(error) => {
                process.kill().context("Bochs can't be ended")?;
                return Err(error).with_context(|| format!("its log is {}", log(pc).display()));
            }
        };
        let sent = line.try_clone().context("the serial line can't be used")?;
        Ok(Running {
            process,
            sent: Box::new(sent),
            typed: Box::new(line),
            names: None,
        })
    }

    /// The text of `bochsrc` (Bochs user manual, chapter 4).
    fn settings(&self, pc: &Emulator, port: u16) -> Result<String> {
        ensure!(
            pc.disks.len() <= 2,
            "a PC in Bochs has two disks at most, {} are wanted",
            pc.disks.len()
        );
        let size = std::fs::metadata(&self.firmware)
            .with_context(|| format!("{} can't be read", self.firmware.display()))?
            .len();
        ensure!(
            size == FIRMWARE_SIZE,
            "{} is no firmware of 4 MiB",
            self.firmware.display()
        );
        let model = match &self.cpu {
            Cpu::Intel => INTEL,
            Cpu::Amd => AMD,
            Cpu::Model(name) => name,
        };
        let processors = pc.processors;
        let memory = pc.memory_mib;
        let mut text = format!(
            "config_interface: textconfig\n\
             display_library: term\n\
             plugin_ctrl: unmapped=1, biosdev=1, speaker=0, parallel=0, e1000=0\n\
             cpu: model={model}, count={processors}, ips={INSTRUCTIONS_PER_SECOND}, \
             reset_on_triple_fault=0\n\
             memory: guest={memory}, host={memory}\n\
             romimage: file={}, address={FIRMWARE_ADDRESS:#x}\n\
             vgaromimage: file={}\n\
             pci: enabled=1, chipset=i440fx\n\
             ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n",
            value(&self.firmware)?,
            value(&self.video_firmware)?,
        );
        for (disk, place) in pc.disks.iter().zip(["master", "slave"]) {
            let size = std::fs::metadata(&disk.path)
                .with_context(|| format!("{} can't be read", disk.path.display()))?
                .len();
            let mode = if disk.keep { "flat" } else { "volatile" };
            let _ = writeln!(
                text,
                "ata0-{place}: type=disk, path={}, mode={mode}, cylinders={}, heads={HEADS}, \
                 spt={SECTORS}",
                value(&disk.path)?,
                size / CYLINDER_SIZE,
            );
        }
        let _ = write!(
            text,
            "boot: disk\n\
             com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n\
             clock: sync=none\n\
             log: {}\n\
             panic: action=fatal\n\
             error: action=report\n\
             info: action=ignore\n\
             debug: action=ignore\n",
            value(&log(pc))?
        );
        Ok(text)
    }
}

/// Makes an image whole cylinders long, and free of the mark that a killed run left.
fn prepare(disk: &Disk) -> Result<()> {
    let mut mark = disk.path.clone().into_os_string();
    mark.push(".lock");
    match std::fs::remove_file(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{mark:?} can't be removed"));
        }
        _ => {}
    }
    let grow = || {
        let file = std::fs::File::options().write(true).open(&disk.path)?;
        let size = file.metadata()?.len().next_multiple_of(CYLINDER_SIZE);
        file.set_len(size)
    };
    grow().with_context(|| format!("{} can't be made longer", disk.path.display()))
}

/// Waits for Bochs to open the serial line, as long as it lives.
fn accept(listener: &TcpListener, process: &duct::Handle) -> Result<TcpStream> {
    listener
        .set_nonblocking(true)
        .context("the socket can't be waited on")?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match listener.accept() {
            Ok((line, _)) => {
                line.set_nonblocking(false)
                    .context("the serial line can't be used")?;
                return Ok(line);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("the serial line can't be opened"),
        }
        let ended = process
            .try_wait()
            .context("Bochs can't be waited for")?
            .is_some();
        ensure!(!ended, "Bochs ended before it opened the serial line");
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!(
        "Bochs did not open the serial line in {} s",
        PATIENCE.as_secs()
    )
}

/// A path as a value of an option: there is no way to write a comma or a quote in one.
fn value(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    ensure!(
        !text.contains([',', '"', '\n']),
        "Bochs can't be told of {text}: rename the folder"
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("bochs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn pc(folder: &Path) -> (Bochs, Emulator) {
        let firmware = folder.join("firmware.fd");
        std::fs::File::create(&firmware)
            .unwrap()
            .set_len(FIRMWARE_SIZE)
            .unwrap();
        let disk = folder.join("disk.img");
        std::fs::write(&disk, [1; 1000]).unwrap();
        let bochs = Bochs {
            command: vec!["bochs".into()],
            environment: Vec::new(),
            firmware,
            video_firmware: "/vga.bin".into(),
            cpu: Cpu::Intel,
        };
        let disk = Disk {
            path: disk,
            keep: false,
        };
        let pc = Emulator {
            program: Program::Bochs(bochs.clone()),
            processors: 2,
            memory_mib: 512,
            disks: vec![disk],
            folder: folder.to_path_buf(),
        };
        (bochs, pc)
    }

    #[test]
    fn settings_name_cpu_disk_and_line() {
        let folder = folder("settings");
        let (bochs, pc) = pc(&folder);
        prepare(&pc.disks[0]).unwrap();
        let text = bochs.settings(&pc, 4711).unwrap();
        let line = |start: &str| text.lines().find(|l| l.starts_with(start)).unwrap();
        assert!(line("cpu:").contains("model=corei7_haswell_4770, count=2,"));
        assert_eq!(line("memory:"), "memory: guest=512, host=512");
        assert!(line("ata0-master:").contains("mode=volatile, cylinders=1,"));
        assert!(line("com1:").ends_with("dev=127.0.0.1:4711"));
        assert!(!text.contains("ata0-slave"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn images_become_whole_cylinders_and_lose_an_old_mark() {
        let folder = folder("prepare");
        let (_, pc) = pc(&folder);
        let mark = folder.join("disk.img.lock");
        std::fs::write(&mark, "").unwrap();
        prepare(&pc.disks[0]).unwrap();
        let bytes = std::fs::read(&pc.disks[0].path).unwrap();
        assert_eq!(bytes.len() as u64, CYLINDER_SIZE);
        assert_eq!((bytes[999], bytes[1000]), (1, 0));
        assert!(!mark.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_bochs_can_not_be_told_is_refused() {
        let folder = folder("refused");
        let (mut bochs, mut pc) = pc(&folder);
        pc.disks = vec![pc.disks[0].clone(); 3];
        assert!(bochs.settings(&pc, 1).is_err());
        pc.disks.clear();
        bochs.video_firmware = "/a,b".into();
        assert!(bochs.settings(&pc, 1).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
