//! Intel Virtual Machine Extensions (SDM vol. 3, chapters 24 to 30).
//!
//! No external interrupt is ever taken inside the hypervisor: every exit clears RFLAGS.IF, and an
//! interrupt that ends a guest's run is not acknowledged, so it is still there when the control
//! domain runs. An NMI or a machine check can come at any time; `nmi` keeps the first for the
//! control domain.
//!
//! `svm` mirrors these files name for name:
//! `features` what the CPU must have · `control` the control domain on one CPU · `guest` a guest's
//! processor · `state` what both share · `switch` the world switch · `exits` its reasons ·
//! `permissions` MSR bitmaps · `tables` nested tables' entries · `run_bounds` runs that only wait.
//! Here alone: `vmcs` the control structure's fields · `controls` which of its controls are on ·
//! `control_registers` bits of CR0 and CR4 that stay · `exceptions` those that exit · `registers` a
//! guest's registers as the vmm has them · `host` what exits load · `mitigations` what a CPU forgets
//! before a guest runs · `nmi`.

mod control;
mod control_registers;
mod controls;
mod exceptions;
mod exits;
pub mod features;
mod guest;
mod host;
mod mitigations;
pub mod nmi;
mod permissions;
mod registers;
mod run_bounds;
mod state;
mod switch;
mod tables;
mod vmcs;

use crate::cpu;
use crate::machine::{Arrival, Extension, Machine};
use crate::memory::{PhysicalMemory, PoolBox};
use crate::start::Shared;
use features::{Features, Missing};
use hypervisor_abi::Vendor;
use hypervisor_core::hal::{Hpa, NestedEntry};
use hypervisor_core::memory::types::{FIXED_REGISTERS, MemoryTypes};
use permissions::Permissions;
use spin::Once;

/// This vendor's extension: what all CPUs share.
pub struct Vmx {
    features: Features,
    /// Whether entries to guests do what their CPU needs.
    mitigations: bool,
    permissions: Permissions,
    memory_types: MemoryTypes,
}

impl Extension for Vmx {
    const VENDOR: Vendor = Vendor::Vmx;
    type Cpu = control::VmxCpu;
    type Vcpu = guest::VmxVcpu;
    type Features = Features;
    type Missing = Missing;

    fn check() -> Result<Features, Missing> {
        features::check()
    }

    fn gigabyte_pages(features: &Features) -> bool {
        features.gigabyte_pages
    }

    fn new(
        memory: &'static PhysicalMemory,
        features: &Features,
        mitigations: bool,
    ) -> Option<Self> {
        Some(Self {
            features: *features,
            mitigations,
            permissions: Permissions::new(memory)?,
            memory_types: memory_types(),
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
        guest::VmxVcpu::create(machine, root, tsc_offset)
    }

    fn nested_entry(entry: NestedEntry) -> u64 {
        tables::encode(entry)
    }

    fn decode_nested_entry(value: u64, level: u32) -> Option<NestedEntry> {
        tables::decode(value, level)
    }

    fn identity_entry(&self, address: Hpa, level: u32) -> Option<u64> {
        let length = 1 << (12 + 9 * (level - 1));
        let memory_type = self.memory_types.of(address.0, length)?;
        Some(tables::identity(address, level, memory_type))
    }

    fn shared() -> &'static Once<Shared<Self>> {
        static SHARED: Once<Shared<Vmx>> = Once::new();
        &SHARED
    }
}

/// What the firmware wrote into this CPU's memory type registers.
fn memory_types() -> MemoryTypes {
    const MTRR: u32 = 1 << 12;
    const CAPABILITIES: u32 = 0xfe;
    const DEFAULT_TYPE: u32 = 0x2ff;
    const FIRST_VARIABLE: u32 = 0x200;
    const FIXED: u64 = 1 << 8;
    let mut types = MemoryTypes::default();
    if cpu::cpuid(1, 0)[3] & MTRR == 0 {
        return types;
    }
    // SAFETY: CPUID says that the registers exist, and the capabilities which of them.
    unsafe {
        let capabilities = cpu::rdmsr(CAPABILITIES);
        types.default_type = cpu::rdmsr(DEFAULT_TYPE);
        let count = (capabilities & 0xff) as usize;
        for (pair, register) in types
            .variable
            .iter_mut()
            .take(count)
            .zip((FIRST_VARIABLE..).step_by(2))
        {
            *pair = (cpu::rdmsr(register), cpu::rdmsr(register + 1));
        }
        if capabilities & FIXED != 0 {
            for (value, register) in types.fixed.iter_mut().zip(FIXED_REGISTERS) {
                *value = cpu::rdmsr(register);
            }
        }
    }
    types
}
