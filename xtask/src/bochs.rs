//! Bochs as a test bed: the program with its firmware, and what a PC in it boots from.
//!
//! Bochs 3.0, its ROMs and OVMF are Debian's, pinned like all packages; later versions divide
//! wrongly, earlier ones lack what UEFI needs. This version gives UEFI no ACPI tables, so a PC in
//! it boots from a medium of its own ([`medium`]) on which GRUB brings some ([`acpi`]): in tests
//! only, never in an image.

mod acpi;
mod medium;

use crate::context::Context;
use crate::packages::{Store, Tree};
use anyhow::Result;
use qemu_tests::{Bochs, Cpu};

pub use medium::write as write_medium;

/// Debian's packages. `term` is the display that needs no display.
const PACKAGES: [&str; 5] = ["bochs", "bochs-term", "bochsbios", "ovmf", "vgabios"];

/// Bochs with a processor, fetched if need be.
pub fn find(context: &Context, cpu: &Cpu) -> Result<Bochs> {
    let tree = Tree::unpack(context, &Store::open(context)?, &PACKAGES)?;
    let variable = |name: &str, path: &str| (name.into(), tree.path(path).into());
    Ok(Bochs {
        command: tree.program("usr/bin/bochs-bin"),
        environment: vec![
            variable(
                "LTDL_LIBRARY_PATH",
                "usr/lib/x86_64-linux-gnu/bochs/plugins",
            ),
            variable("BXSHARE", "usr/share/bochs"),
        ],
        firmware: tree.path("usr/share/ovmf/OVMF.fd"),
        video_firmware: tree.path("usr/share/vgabios/vgabios.bin"),
        cpu: cpu.clone(),
    })
}
