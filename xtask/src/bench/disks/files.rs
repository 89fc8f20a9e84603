//! The files that are measured. QEMU makes them, so that none is made to our measure.

use super::programs::Programs;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Bytes of the disks.
pub const SIZE: u64 = 256 << 20;

/// A format of disk file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Vhdx,
    Vhd,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Vhdx => "VHDX",
            Self::Vhd => "VHD",
        }
    }

    /// QEMU's name for it.
    pub fn of_qemu(self) -> &'static str {
        match self {
            Self::Vhdx => "vhdx",
            Self::Vhd => "vpc",
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Vhdx => "subformat=dynamic,block_size=2M",
            Self::Vhd => "subformat=dynamic,force_size=on",
        }
    }
}

/// A folder of disks. It goes with this value.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes the disks, each with all blocks and with none, and a huge one.
    pub fn create(programs: &Programs) -> Result<Self> {
        let name = format!("entente-bench-disks-{}", std::process::id());
        let this = Self {
            folder: std::env::temp_dir().join(name),
        };
        std::fs::create_dir_all(&this.folder).context("can't make a folder for disks")?;
        for format in [Format::Vhdx, Format::Vhd] {
            let (full, empty) = (this.full(format), this.empty(format));
            for file in [&full, &empty] {
                let size = SIZE.to_string();
                let options = ["-o", format.options()];
                programs.create(file, format.of_qemu(), &options, &size)?;
            }
            programs.fill(&full, format.of_qemu())?;
            // So that it gets there by small pages (see the example's `warm`).
            programs.forget(&full)?;
            programs.warm(&full)?;
        }
        programs.create(&this.huge(), "vhdx", &[], "64T")?;
        Ok(this)
    }

    fn file(&self, name: &str, format: Format) -> PathBuf {
        self.folder.join(format!("{name}.{}", format.of_qemu()))
    }

    /// All its blocks are in the file.
    pub fn full(&self, format: Format) -> PathBuf {
        self.file("full", format)
    }

    fn empty(&self, format: Format) -> PathBuf {
        self.file("empty", format)
    }

    /// It has no blocks after each [`Files::refresh`].
    pub fn fresh(&self, format: Format) -> PathBuf {
        self.file("fresh", format)
    }

    /// 64 TB, and no block of it in the file.
    pub fn huge(&self) -> PathBuf {
        self.folder.join("huge.vhdx")
    }

    /// Makes the fresh disk anew.
    pub fn refresh(&self, programs: &Programs, format: Format) -> Result<()> {
        let fresh = self.fresh(format);
        // Not over the old one: what the kernel still writes of it would be measured too.
        let _ = std::fs::remove_file(&fresh);
        std::fs::copy(self.empty(format), &fresh).context("can't copy a disk")?;
        programs.forget(&fresh)
    }

    /// Empty children on the full VHDX, of ours and of QEMU's making; the last of each.
    pub fn chains(&self, programs: &Programs, children: u32) -> Result<(PathBuf, PathBuf)> {
        let base = self.full(Format::Vhdx);
        let ours = programs.chain(&base, children)?;
        let mut below: PathBuf = base;
        for number in 1..=children {
            let child = self.folder.join(format!("child-{number}.qcow2"));
            let format = if number == 1 { "vhdx" } else { "qcow2" };
            let backing = ["-b", text(&below)?, "-F", format];
            programs.create(&child, "qcow2", &backing, &SIZE.to_string())?;
            below = child;
        }
        Ok((ours, below))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A path for a command line.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .context("the temporary folder's name is no text")
}
