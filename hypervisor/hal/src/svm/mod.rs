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
//! `permissions` port and MSR bitmaps · `tables` nested tables' entries · `tags` TLB tags.

mod control;
mod exits;
pub mod features;
mod guest;
mod permissions;
mod state;
mod switch;
mod tables;
mod tags;
mod vmcb;

use crate::cpu;
use crate::entropy::Entropy;
use crate::memory::PhysicalMemory;
use hypervisor_abi::Vendor;
use hypervisor_core::hal::{Hal, Hpa, NestedEntry};
use permissions::Permissions;

pub use control::start;

/// This vendor's machine.
pub struct Svm {
    memory: &'static PhysicalMemory,
    entropy: Entropy,
    cpu_count: usize,
    permissions: Permissions,
    extended: crate::extended::Components,
}

impl Svm {
    /// The machine; `None` when the pool can't hold its permission maps.
    pub fn new(memory: &'static PhysicalMemory, seed: [u8; 32], cpu_count: usize) -> Option<Self> {
        Some(Self {
            memory,
            entropy: Entropy::new(seed),
            cpu_count,
            permissions: Permissions::new(memory)?,
            extended: crate::extended::Components::of_this_cpu(),
        })
    }
}

impl Hal for Svm {
    type Memory = &'static PhysicalMemory;
    type Cpu = control::SvmCpu;
    type Vcpu = guest::SvmVcpu;
    const VENDOR: Vendor = Vendor::Svm;

    fn memory(&self) -> &Self::Memory {
        &self.memory
    }

    fn tsc(&self) -> u64 {
        cpu::rdtsc()
    }

    fn random(&self) -> u64 {
        self.entropy.next()
    }

    fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
        cpu::cpuid(leaf, subleaf)
    }

    fn cpu_count(&self) -> usize {
        self.cpu_count
    }

    fn new_vcpu(&'static self, root: Hpa, tsc_offset: u64) -> Option<Self::Vcpu> {
        guest::SvmVcpu::create(self, root, tsc_offset)
    }

    fn nested_entry(entry: NestedEntry) -> u64 {
        tables::encode(entry)
    }

    fn decode_nested_entry(value: u64, level: u32) -> Option<NestedEntry> {
        tables::decode(value, level)
    }
}
