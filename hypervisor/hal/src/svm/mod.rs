//! AMD Secure Virtual Machine (APM vol. 2, chapter 15).
//!
//! No interrupt is ever taken inside the hypervisor: the global interrupt flag is clear from
//! [`control::start`] on, whenever the control domain or a guest does not run. RFLAGS.IF is set all
//! the while, because with virtual interrupt masking the host's IF decides whether an interrupt
//! ends a guest's run (§15.21.1).
//!
//! `vmx` mirrors these files name for name:
//! `features` what the CPU must have · `control` the control domain on one CPU · `guest` a guest's
//! processor · `state` what both share · `switch` the world switch · `exits` its reasons ·
//! `permissions` port and MSR bitmaps · `tables` nested tables' entries · `run_bounds` runs that only
//! wait. Here alone: `vmcb` the control block's layout.

mod control;
mod exits;
pub mod features;
mod guest;
mod permissions;
mod run_bounds;
mod state;
mod switch;
mod tables;
mod vmcb;

use crate::machine::{Arrival, Extension, Machine};
use crate::memory::{PhysicalMemory, PoolBox};
use crate::start::Shared;
use features::{Features, Missing};
use hypervisor_abi::Vendor;
use hypervisor_core::hal::{Hpa, NestedEntry};
use permissions::Permissions;
use spin::Once;

/// This vendor's extension: what all CPUs share.
pub struct Svm {
    features: Features,
    permissions: Permissions,
}

impl Extension for Svm {
    const VENDOR: Vendor = Vendor::Svm;
    type Cpu = control::SvmCpu;
    type Vcpu = guest::SvmVcpu;
    type Features = Features;
    type Missing = Missing;

    fn check() -> Result<Features, Missing> {
        features::check()
    }

    fn gigabyte_pages(features: &Features) -> bool {
        features.gigabyte_pages
    }

    fn new(memory: &'static PhysicalMemory, features: &Features, _: bool) -> Option<Self> {
        Some(Self {
            features: *features,
            permissions: Permissions::new(memory)?,
        })
    }

    /// # Safety
    /// Those of [`Extension::start`].
    unsafe fn start(
        machine: &'static Machine<Self>,
        features: &Features,
        arrival: &Arrival<'_>,
    ) -> Option<PoolBox<Self::Cpu>> {
        // SAFETY: the caller's.
        unsafe { control::start(machine, features, arrival) }
    }

    fn new_vcpu(machine: &'static Machine<Self>, root: Hpa, tsc_offset: u64) -> Option<Self::Vcpu> {
        guest::SvmVcpu::create(machine, root, tsc_offset)
    }

    fn nested_entry(entry: NestedEntry) -> u64 {
        tables::encode(entry)
    }

    fn decode_nested_entry(value: u64, level: u32) -> Option<NestedEntry> {
        tables::decode(value, level)
    }

    fn identity_entry(&self, address: Hpa, level: u32) -> Option<u64> {
        // The memory type registers work below nested tables too.
        Some(tables::encode(NestedEntry::Page {
            address,
            writable: true,
            level,
        }))
    }

    fn shared() -> &'static Once<Shared<Self>> {
        static SHARED: Once<Shared<Svm>> = Once::new();
        &SHARED
    }
}
