//! The emulated PC: QEMU's q35 with software-emulated AMD-V.

use crate::Firmware;
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The program.
const PROGRAM: &str = "qemu-system-x86_64";

/// Software emulation, all CPUs in one thread of the host. With a thread for each, QEMU (7.2 to 10.0 at
/// least) now and then undoes a guest's exit, and 7.2 runs code that another CPU has just patched:
/// docs/decisions/0004.
const ACCELERATOR: &str = "tcg,thread=single";

/// The processor: AMD-V with nested paging. `monitor` is off because the emulator refuses MWAIT
/// with the extension it offers. `cx16` is off because QEMU 7.2 at times leaves garbage in the flags
/// after a CMPXCHG16B without LOCK, which Linux's allocator uses: about one boot of six then dies of a
/// double fault or trap in `__kmalloc_noprof`, with and without a hypervisor.
const CPU_MODEL: &str = "EPYC,+svm,+npt,-monitor,-cx16";

/// One PC.
#[derive(Clone, Debug)]
pub struct Emulator {
    /// UEFI firmware.
    pub firmware: Firmware,
    /// CPUs.
    pub processors: u32,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// NVMe disks; the first one boots.
    pub disks: Vec<Disk>,
    /// A kernel that is started instead of what a disk holds.
    pub kernel: Option<Kernel>,
    /// Further arguments for the emulator.
    pub arguments: Vec<String>,
    /// A folder of this run: the copy of the firmware's variables lies there.
    pub folder: PathBuf,
}

/// A disk image in raw format.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// Whether what the PC writes stays in the file.
    pub keep: bool,
}

/// A Linux kernel started by the firmware directly.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The kernel's file.
    pub linux: PathBuf,
    /// Its initramfs.
    pub initramfs: PathBuf,
    /// Its command line.
    pub command_line: String,
}

impl Emulator {
    /// The command line of a run whose serial line is standard input and output.
    pub(crate) fn command_line(&self, interactive: bool) -> Result<Vec<OsString>> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("{} can't be made", self.folder.display()))?;
        let variables = self.folder.join("variables.fd");
        let original = std::fs::read(&self.firmware.variables)
            .with_context(|| format!("{} can't be read", self.firmware.variables.display()))?;
        std::fs::write(&variables, original)
            .with_context(|| format!("{} can't be written", variables.display()))?;

        let mut line: Vec<OsString> = [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-machine",
            "q35",
            "-accel",
            ACCELERATOR,
            "-cpu",
            CPU_MODEL,
        ]
        .map(OsString::from)
        .to_vec();
        let mut add = |key: &str, value: String| line.extend([key.into(), value.into()]);
        add("-smp", self.processors.to_string());
        add("-m", self.memory_mib.to_string());
        let code = option_value(&self.firmware.code);
        add(
            "-drive",
            format!("if=pflash,format=raw,readonly=on,file={code}"),
        );
        add(
            "-drive",
            format!("if=pflash,format=raw,file={}", option_value(&variables)),
        );
        for (number, disk) in self.disks.iter().enumerate() {
            let snapshot = if disk.keep { "off" } else { "on" };
            let path = option_value(&disk.path);
            add(
                "-drive",
                format!("if=none,id=disk{number},format=raw,snapshot={snapshot},file={path}"),
            );
            add(
                "-device",
                format!("nvme,drive=disk{number},serial=entente{number},bootindex={number}"),
            );
        }
        if let Some(kernel) = &self.kernel {
            add("-kernel", kernel.linux.display().to_string());
            add("-initrd", kernel.initramfs.display().to_string());
            add("-append", kernel.command_line.clone());
        }
        // In a person's terminal, control-A X ends the emulator and control-C goes to the guest.
        let multiplexed = if interactive { "on" } else { "off" };
        add(
            "-chardev",
            format!("stdio,id=line,signal=off,mux={multiplexed}"),
        );
        add("-serial", "chardev:line".into());
        if interactive {
            add("-mon", "chardev=line,mode=readline".into());
        }
        line.extend(self.arguments.iter().map(OsString::from));
        Ok(line)
    }

    /// The file that takes what the emulator itself complains of.
    pub(crate) fn complaints(&self) -> PathBuf {
        self.folder.join("emulator.log")
    }

    /// The process, not yet started.
    pub(crate) fn process(&self, interactive: bool) -> Result<duct::Expression> {
        let mut line = self.command_line(interactive)?;
        line.insert(0, PROGRAM.into());
        // Should this process be killed, the emulator goes with it. setpriv becomes the emulator,
        // so its process id stays.
        let guard = ["--pdeathsig", "KILL"].map(OsString::from);
        Ok(duct::cmd("setpriv", guard.into_iter().chain(line)))
    }
}

/// Runs the PC with its serial line on this terminal until it is turned off.
pub fn start_interactive(emulator: &Emulator) -> Result<()> {
    let _turn = take_turn()?;
    emulator
        .process(true)?
        .run()
        .with_context(|| format!("{PROGRAM} failed"))?;
    Ok(())
}

/// Waits until no other emulator of this kind runs on the machine; the turn ends with the value.
pub(crate) fn take_turn() -> Result<File> {
    let path = std::env::temp_dir().join("emulator.lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("{} can't be opened", path.display()))?;
    file.lock()
        .with_context(|| format!("{} can't be locked", path.display()))?;
    Ok(file)
}

/// A path as a value in one of the emulator's option lists, where a comma is written twice.
fn option_value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
