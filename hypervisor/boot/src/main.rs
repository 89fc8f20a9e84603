//! The UEFI executable: starts the hypervisor, and under it the control domain.
//!
//! A unified image: this program, and in further sections the control domain's kernel, initial
//! RAM disk and command line (UAPI.5). It leaves the firmware, builds the host's page tables and
//! descriptor tables, starts every CPU and hands each to `hypervisor_hal` with a
//! [`hypervisor_hal::handoff::Handoff`].
//!
//! It never loads anything from a disk, never parks a CPU in the firmware, never touches an
//! interrupt controller after the CPUs are up, and holds no driver but that of the serial port.
//! Unsafe code is in `machine/`; what can be decided without a machine is in the library.
#![cfg_attr(target_os = "uefi", no_std, no_main)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod machine;

/// On any other target there is nothing to run: the crate is only checked there.
#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("hypervisor: a UEFI executable; build it with --target x86_64-unknown-uefi");
    std::process::exit(1);
}
