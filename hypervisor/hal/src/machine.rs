//! The machine as `hypervisor_core` asks for it: what is the same on both vendors, and what a
//! vendor's extension adds.

use crate::cpu;
use crate::entropy::Entropy;
use crate::extended::Components;
use crate::handoff::{EntryState, Handoff};
use crate::memory::{PhysicalMemory, PoolBox};
use crate::start::Shared;
use core::fmt::Display;
use hypervisor_abi::Vendor;
use hypervisor_core::hal::{Cpu, Hal, Hpa, NestedEntry, Vcpu};
use spin::Once;

/// The machine with a vendor's extension.
pub struct Machine<E> {
    pub memory: &'static PhysicalMemory,
    entropy: Entropy,
    cpu_count: usize,
    /// Extended state that processors may have.
    pub components: Components,
    pub extension: E,
}

/// How a CPU enters the control domain.
pub struct Arrival<'a> {
    /// Its number, 0 is the one that booted.
    pub index: usize,
    /// The root of the nested tables, which map no memory of the hypervisor.
    pub root: Hpa,
    /// The control domain's first state on it.
    pub entry: &'a EntryState,
    /// Another CPU is reporting a crash: this one is to stop.
    pub crash_under_way: fn() -> bool,
}

/// A vendor's virtualization extension: AMD SVM or Intel VMX.
pub trait Extension: Sync + Sized + 'static {
    const VENDOR: Vendor;
    type Cpu: Cpu;
    type Vcpu: Vcpu<Self::Cpu> + Send;
    /// What a CPU's extension can do, in words where a person asks.
    type Features: Copy + Display + PartialEq + Send + Sync;
    /// What a CPU lacks, and what a person can do about it.
    type Missing: Display;

    /// Checks this CPU and changes nothing.
    fn check() -> Result<Self::Features, Self::Missing>;
    /// Whether nested tables may hold pages of 1 GiB.
    fn gigabyte_pages(features: &Self::Features) -> bool;
    /// What all CPUs share; `None` when the pool is used up. `mitigations`: as the hand-over has it.
    fn new(
        memory: &'static PhysicalMemory,
        features: &Self::Features,
        mitigations: bool,
    ) -> Option<Self>;
    /// Switches the extension on on this CPU and prepares the control domain's processor.
    ///
    /// # Safety
    /// 1. Called once on each CPU, on the host page tables, with interrupts off.
    /// 2. The tables at `arrival.root` map no memory of the hypervisor.
    /// 3. `features` comes from [`Extension::check`] on this CPU.
    unsafe fn start(
        machine: &'static Machine<Self>,
        features: &Self::Features,
        arrival: &Arrival<'_>,
    ) -> Option<PoolBox<Self::Cpu>>;
    /// A new guest processor over the nested tables at `root`.
    fn new_vcpu(machine: &'static Machine<Self>, root: Hpa, tsc_offset: u64) -> Option<Self::Vcpu>;
    /// Encodes an entry of nested tables.
    fn nested_entry(entry: NestedEntry) -> u64;
    /// Decodes one.
    fn decode_nested_entry(value: u64, level: u32) -> Option<NestedEntry>;
    /// As [`Hal::identity_entry`].
    fn identity_entry(&self, address: Hpa, level: u32) -> Option<u64>;
    /// Where CPUs find what they share.
    fn shared() -> &'static Once<Shared<Self>>;
}

impl<E: Extension> Machine<E> {
    /// The machine; `None` when the pool can't hold what the extension needs.
    pub fn new(
        memory: &'static PhysicalMemory,
        handoff: &Handoff,
        features: &E::Features,
    ) -> Option<Self> {
        Some(Self {
            memory,
            entropy: Entropy::new(handoff.seed),
            cpu_count: handoff.cpus().len(),
            components: Components::of_this_cpu(),
            extension: E::new(memory, features, handoff.mitigations)?,
        })
    }
}

impl<E: Extension> Hal for Machine<E> {
    type Memory = &'static PhysicalMemory;
    type Cpu = E::Cpu;
    type Vcpu = E::Vcpu;
    const VENDOR: Vendor = E::VENDOR;

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
        E::new_vcpu(self, root, tsc_offset)
    }

    fn nested_entry(entry: NestedEntry) -> u64 {
        E::nested_entry(entry)
    }

    fn decode_nested_entry(value: u64, level: u32) -> Option<NestedEntry> {
        E::decode_nested_entry(value, level)
    }

    fn identity_entry(&self, address: Hpa, level: u32) -> Option<u64> {
        self.extension.identity_entry(address, level)
    }
}
