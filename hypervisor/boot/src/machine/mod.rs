//! From the firmware's call to the hypervisor on every CPU.

mod apic;
mod control_domain;
mod cpu;
mod crash;
mod exceptions;
mod firmware;
mod image;
mod launch;
mod measure;
mod memory;
mod microcode;
mod native;
mod previous_crash;
mod private;
mod processors;
mod screen;
mod segments;
mod serial;
mod trampoline;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hypervisor_boot::acpi::AcpiError;
use hypervisor_boot::kernel::KernelError;
use hypervisor_boot::paging::PagingError;
use hypervisor_boot::sections::NotAnImage;
use serial::log;
use uefi::prelude::*;

/// Why the boot was given up. Nothing has been changed then, and the firmware goes on.
#[derive(Debug)]
enum BootError {
    Firmware(Status),
    OutOfMemory { bytes: u64 },
    Image(NotAnImage),
    MissingSection(&'static str),
    CommandLineNotText,
    Kernel(KernelError),
    Acpi(AcpiError),
    Paging(PagingError),
    FiveLevelPaging,
    Processor(hypervisor_hal::Missing),
    MemoryMapTooLong { entries: usize },
}

impl core::fmt::Display for BootError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Firmware(status) => write!(f, "the firmware answered {status}; update it or report this machine"),
            Self::OutOfMemory { bytes } => {
                write!(f, "the firmware has no free piece of {bytes} bytes; add memory, or set entente.pool_mib lower")
            }
            Self::Image(error) => error.fmt(f),
            Self::MissingSection(name) => {
                write!(f, "the image has no section {name}, or two; build it with `cargo xtask image`")
            }
            Self::CommandLineNotText => f.write_str("section .cmdline is not UTF-8; correct the recipe"),
            Self::Kernel(error) => error.fmt(f),
            Self::Acpi(error) => error.fmt(f),
            Self::Paging(error) => error.fmt(f),
            Self::FiveLevelPaging => {
                f.write_str("the firmware uses 5-level paging, which is not supported; switch it off in its setup")
            }
            Self::Processor(missing) => missing.fmt(f),
            Self::MemoryMapTooLong { entries } => {
                write!(f, "the firmware's memory map has more than {entries} entries; report this machine")
            }
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),*) => {
        $(impl From<$source> for BootError { fn from(e: $source) -> Self { Self::$variant(e) } })*
    };
}
from!(
    NotAnImage => Image, KernelError => Kernel, AcpiError => Acpi, PagingError => Paging,
    hypervisor_hal::Missing => Processor
);

impl<T: core::fmt::Debug> From<uefi::Error<T>> for BootError {
    fn from(error: uefi::Error<T>) -> Self {
        Self::Firmware(error.status())
    }
}

static LEFT_FIRMWARE: AtomicBool = AtomicBool::new(false);
static IMAGE_BASE: AtomicU64 = AtomicU64::new(0);

/// Whether the firmware's boot services are gone and our own page tables in use.
fn left_firmware() -> bool {
    LEFT_FIRMWARE.load(Ordering::SeqCst)
}

/// The screen, once the firmware has left it to us.
fn framebuffer() -> Option<hypervisor_hal::handoff::Framebuffer> {
    if left_firmware() {
        processors::machine().handoff.framebuffer
    } else {
        None
    }
}

/// Where our image was loaded, for addresses in a crash report.
fn image_base() -> u64 {
    IMAGE_BASE.load(Ordering::Relaxed)
}

#[entry]
fn main() -> Status {
    serial::initialize();
    log!("hypervisor {} starts", env!("CARGO_PKG_VERSION"));
    match launch::prepare() {
        Ok(prepared) => prepared.launch(),
        Err(error) => {
            tell(&error);
            Status::LOAD_ERROR
        }
    }
}

/// Says what the person at the PC should know, on the serial port and on the firmware's screen, and
/// leaves time to read it.
fn tell(what: &dyn core::fmt::Display) {
    log!("{what}");
    uefi::system::with_stdout(|console| {
        use core::fmt::Write;
        // A console that fails leaves the serial port as the only place.
        let _ = writeln!(console, "entente: {what}");
    });
    uefi::boot::stall(core::time::Duration::from_secs(5));
}
