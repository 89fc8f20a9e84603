//! QEMU's q35 with software-emulated AMD-V.

use super::{Disk, Emulator, Program, Running, guarded, take_turn};
use crate::Firmware;
use crate::name_server::{NameServer, Names};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
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

/// What only a PC in QEMU has. Its disks are NVMe.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// UEFI firmware; the copy of its variables lies in the run's folder.
    pub firmware: Firmware,
    /// A kernel that is started instead of what a disk holds.
    pub kernel: Option<Kernel>,
    /// Further arguments for the emulator.
    pub arguments: Vec<String>,
    /// Who is known in QEMU's network `names`; that is there, and `beyond` behind it, if somebody is.
    pub names: Names,
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

impl Qemu {
    /// Starts it with the serial line on pipes.
    pub(super) fn start(&self, pc: &Emulator) -> Result<Running> {
        let (keyboard, typed) = std::io::pipe().context("no pipe can be made")?;
        let (sent, screen) = std::io::pipe().context("no pipe can be made")?;
        let mut line = self.command_line(pc, false)?;
        let names = match self.names.is_empty() {
            true => None,
            false => Some(NameServer::start(self.names.clone())?),
        };
        if let Some(names) = &names {
            for netdev in names.netdevs()? {
                line.extend(["-netdev".into(), netdev.into()]);
            }
        }
        let process = process(line)
            .stdin_file(keyboard)
            .stdout_file(screen)
            .stderr_path(pc.said())
            .unchecked()
            .start()?;
        Ok(Running {
            process,
            sent: Box::new(sent),
            typed: Box::new(typed),
            names,
        })
    }

    /// The command line of a run whose serial line is standard input and output.
    fn command_line(&self, pc: &Emulator, interactive: bool) -> Result<Vec<OsString>> {
        let variables = pc.folder.join("variables.fd");
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
        add("-smp", pc.processors.to_string());
        add("-m", pc.memory_mib.to_string());
        let code = option_value(&self.firmware.code);
        add(
            "-drive",
            format!("if=pflash,format=raw,readonly=on,file={code}"),
        );
        add(
            "-drive",
            format!("if=pflash,format=raw,file={}", option_value(&variables)),
        );
        // A kernel is the first to boot.
        let first = usize::from(self.kernel.is_some());
        for (number, Disk { path, keep }) in pc.disks.iter().enumerate() {
            let order = first + number;
            let snapshot = if *keep { "off" } else { "on" };
            let path = option_value(path);
            add(
                "-drive",
                format!("if=none,id=disk{number},format=raw,snapshot={snapshot},file={path}"),
            );
            add(
                "-device",
                format!("nvme,drive=disk{number},serial=entente{number},bootindex={order}"),
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
}

/// Runs the PC with its serial line on this terminal until it is turned off.
pub fn start_interactive(pc: &Emulator) -> Result<()> {
    let Program::Qemu(qemu) = &pc.program else {
        bail!("a PC in Bochs has no terminal; give --headless");
    };
    let _turn = take_turn()?;
    std::fs::create_dir_all(&pc.folder)
        .with_context(|| format!("{} can't be made", pc.folder.display()))?;
    process(qemu.command_line(pc, true)?)
        .run()
        .with_context(|| format!("{PROGRAM} failed"))?;
    Ok(())
}

/// The process, not yet started.
fn process(mut line: Vec<OsString>) -> duct::Expression {
    line.insert(0, PROGRAM.into());
    guarded(line)
}

/// A path as a value in one of the emulator's option lists, where a comma is written twice.
fn option_value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
