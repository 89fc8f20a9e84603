//! The emulated PC, put together: an emulator with its firmware, and what is booted in it.

use crate::context::Context;
use crate::image::Image;
use crate::{bochs, firmware, host};
use anyhow::{Result, ensure};
use qemu_tests::{Boot, Cpu, Disk, Emulator, EmulatorName, Names, Program, Qemu};
use std::path::{Path, PathBuf};

/// What is asked for.
pub struct Pc<'a> {
    /// What emulates it.
    pub emulator: EmulatorName,
    /// Its processor.
    pub cpu: &'a Cpu,
    /// CPUs.
    pub processors: u32,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// A firmware's code, where it is not the usual one.
    pub firmware: Option<&'a Path>,
    /// Arguments added to QEMU's.
    pub arguments: &'a [String],
    /// The folder of the run.
    pub folder: PathBuf,
}

impl Pc<'_> {
    /// The PC with an image in it.
    pub fn with_image(self, context: &Context, image: &Image, boot: Boot) -> Result<Emulator> {
        host::require(&["setpriv"])?;
        let (program, disks) = match self.emulator {
            EmulatorName::Qemu => self.qemu(context, image, boot)?,
            EmulatorName::Bochs => self.bochs(context, image, boot)?,
        };
        Ok(Emulator {
            program,
            processors: self.processors,
            memory_mib: self.memory_mib,
            disks,
            folder: self.folder,
        })
    }

    fn qemu(&self, context: &Context, image: &Image, boot: Boot) -> Result<(Program, Vec<Disk>)> {
        host::require(&["qemu-system-x86_64"])?;
        ensure!(
            *self.cpu == Cpu::Amd,
            "QEMU's software emulation has AMD-V alone; Bochs has other CPUs"
        );
        let mut qemu = Qemu {
            firmware: firmware::find(context, self.firmware)?,
            kernel: None,
            arguments: self.arguments.to_vec(),
            names: Names::new(),
        };
        let mut disks = Vec::new();
        match boot {
            Boot::Image => disks.push(unchanged(image.disk.clone())),
            Boot::WithoutHypervisor => qemu.kernel = Some(image.as_kernel()),
        }
        Ok((Program::Qemu(qemu), disks))
    }

    fn bochs(&self, context: &Context, image: &Image, boot: Boot) -> Result<(Program, Vec<Disk>)> {
        ensure!(
            self.firmware.is_none() && self.arguments.is_empty(),
            "another firmware and further arguments are for QEMU"
        );
        let medium = bochs::write_medium(context, image, boot, self.processors, &self.folder)?;
        let program = Program::Bochs(bochs::find(context, self.cpu)?);
        Ok((program, vec![unchanged(medium)]))
    }
}

/// A disk whose file stays as it is.
fn unchanged(path: PathBuf) -> Disk {
    Disk { path, keep: false }
}
