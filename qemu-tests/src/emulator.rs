//! The emulated PC, whichever program emulates it.

mod bochs;
mod qemu;

use crate::complaint;
use crate::name_server::NameServer;
use anyhow::{Context as _, Result, bail};
pub use bochs::Bochs;
pub use qemu::{Kernel, Qemu, start_interactive};
use serde::Deserialize;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::str::FromStr;

/// One PC.
#[derive(Clone, Debug)]
pub struct Emulator {
    /// What emulates it.
    pub program: Program,
    /// CPUs.
    pub processors: u32,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Its disks; the first one boots.
    pub disks: Vec<Disk>,
    /// A folder of this run: what the emulator writes lies there.
    pub folder: PathBuf,
}

/// An emulator with what only it has.
#[derive(Clone, Debug)]
pub enum Program {
    /// QEMU: quick, with AMD-V only.
    Qemu(Qemu),
    /// Bochs: slow and exact, with VMX and AMD-V.
    Bochs(Bochs),
}

/// An emulator's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmulatorName {
    /// QEMU.
    #[default]
    Qemu,
    /// Bochs.
    Bochs,
}

impl fmt::Display for EmulatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
            Self::Bochs => "bochs",
        })
    }
}

impl FromStr for EmulatorName {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "qemu" => Ok(Self::Qemu),
            "bochs" => Ok(Self::Bochs),
            _ => bail!("there is no emulator {name}; there are qemu and bochs"),
        }
    }
}

/// Whose processor is emulated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Cpu {
    /// Intel's, with all that the hypervisor needs.
    Intel,
    /// AMD's.
    #[default]
    Amd,
    /// One by the emulator's own name for it.
    Model(String),
}

impl From<String> for Cpu {
    fn from(name: String) -> Self {
        match name.as_str() {
            "intel" => Self::Intel,
            "amd" => Self::Amd,
            _ => Self::Model(name),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
            Self::Model(name) => name,
        })
    }
}

/// A disk image in raw format.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// Whether what the PC writes stays in the file.
    pub keep: bool,
}

/// A PC that was turned on.
pub(crate) struct Running {
    /// The emulator's process.
    pub process: duct::Handle,
    /// What the PC sends on its serial line; ends with the emulator.
    pub sent: Box<dyn Read + Send>,
    /// What it receives there.
    pub typed: Box<dyn Write>,
    /// Who knows names in its network; until this is dropped.
    pub names: Option<NameServer>,
}

impl Emulator {
    /// Turns the PC on.
    pub(crate) fn start(&self) -> Result<Running> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("{} can't be made", self.folder.display()))?;
        match &self.program {
            Program::Qemu(qemu) => qemu.start(self),
            Program::Bochs(bochs) => bochs.start(self),
        }
        .context("the emulator can't be started; `cargo xtask doctor` tells what is missing")
    }

    /// What the emulator itself complained of, one line each.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let said = std::fs::read(self.said()).unwrap_or_default();
        complaint::plain(&String::from_utf8_lossy(&said))
    }

    /// What it found that no software may do: a run that shows such a line has failed.
    pub(crate) fn violations(&self) -> Vec<String> {
        match &self.program {
            Program::Qemu(_) => Vec::new(),
            Program::Bochs(_) => {
                let log = std::fs::read(bochs::log(self)).unwrap_or_default();
                complaint::violations(&String::from_utf8_lossy(&log))
            }
        }
    }

    /// The file that takes what the emulator says on its standard error.
    fn said(&self) -> PathBuf {
        self.folder.join("emulator.log")
    }
}

/// A program that is ended when this process is, even by a kill. `setpriv` becomes the program, so
/// its process id stays.
fn guarded(line: impl IntoIterator<Item = std::ffi::OsString>) -> duct::Expression {
    let guard = ["--pdeathsig", "KILL"].map(std::ffi::OsString::from);
    duct::cmd("setpriv", guard.into_iter().chain(line))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_a_vendors_or_has_a_name() {
        let read = |text| serde_yaml::from_str::<Cpu>(text).unwrap();
        assert_eq!(read("intel"), Cpu::Intel);
        assert_eq!(read("amd"), Cpu::Amd);
        assert_eq!(read("ryzen"), Cpu::Model("ryzen".to_owned()));
    }
}
