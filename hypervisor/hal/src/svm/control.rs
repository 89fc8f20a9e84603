//! The control domain's processor on one physical CPU.
//!
//! Its normal life costs no exits: it has all ports, nearly all model-specific registers, and gets
//! its interrupts directly.

use super::features::Features;
use super::state::Processor;
use super::vmcb::{Vmcb, VmcbSegment, exit, misc1, misc2};
use super::{Svm, exits};
use crate::cpu::{self, EFER_LMA, EFER_LME, EFER_NXE, EFER_SVME};
use crate::handoff::{BOOT_CS, BOOT_DS, EntryState};
use crate::machine::{Arrival, Machine};
use crate::memory::PoolBox;
use crate::tags::{self, Tags};
use crate::unswitched::HostState;
use hypervisor_core::hal::{Cpu, Exit};

/// What a physical CPU keeps besides the control domain's registers.
pub struct Host {
    pub index: usize,
    pub tags: Tags,
    /// The control domain's state while a guest is attached.
    pub unswitched: HostState,
    /// Another CPU is reporting a crash: this one is to stop.
    crash_under_way: fn() -> bool,
}

/// A physical CPU.
pub type SvmCpu = Processor<Host>;

/// Nested control: nested paging on.
pub const NESTED_PAGING: u64 = 1;
/// TLB_CONTROL: flush everything (APM vol. 2 §15.16.2).
pub const FLUSH_ALL: u32 = 1;

/// Puts this CPU under the hypervisor: SVM on, the control domain's processor in the state of its
/// entry.
///
/// # Safety
/// Those of [`Extension::start`](crate::machine::Extension::start).
pub unsafe fn start(
    machine: &'static Machine<Svm>,
    features: &Features,
    arrival: &Arrival<'_>,
) -> Option<PoolBox<SvmCpu>> {
    let Arrival { index, entry, .. } = *arrival;
    let svm = &machine.extension;
    let pool = machine.memory.pool();
    let save_area = pool.allocate(1)?;
    // SAFETY: XSAVE exists by (3); first thing on this CPU by (1).
    unsafe { cpu::prepare() };
    // SAFETY: (3); the page was allocated for this.
    unsafe { super::features::enable(save_area) };

    let mut vmcb = PoolBox::new(pool, Vmcb::zeroed())?;
    vmcb.intercept_misc1 =
        misc1::NMI | misc1::INIT | misc1::CPUID | misc1::INVLPGA | misc1::MSR | misc1::SHUTDOWN;
    vmcb.intercept_misc2 = misc2::OWN_INSTRUCTIONS | misc2::VMMCALL;
    vmcb.msrpm_base = svm.permissions.control_msrs;
    vmcb.iopm_base = svm.permissions.guest_ports; // looked at only with the intercept on
    vmcb.asid = tags::CONTROL_DOMAIN;
    vmcb.tlb_control = FLUSH_ALL;
    vmcb.nested_control = NESTED_PAGING;
    vmcb.nested_cr3 = arrival.root.0;
    enter_long_mode(&mut vmcb, entry);

    let host = Host {
        index,
        tags: Tags::new(index, features.tags),
        unswitched: HostState::new(pool, machine.components)?,
        crash_under_way: arrival.crash_under_way,
    };
    let mut registers = [0; 16];
    registers[6] = entry.rsi;
    let mut cpu = Processor {
        vmcb,
        registers,
        has_next_rip: features.next_rip,
        role: host,
    };
    super::switch::vmsave(&mut cpu.vmcb);
    // VMSAVE brought the hypervisor's own FS, GS, TR and LDTR: the control domain starts without.
    cpu.vmcb.fs = VmcbSegment {
        attributes: 0xc93,
        limit: u32::MAX,
        ..Default::default()
    };
    cpu.vmcb.gs = cpu.vmcb.fs;
    cpu.vmcb.ldtr = VmcbSegment {
        attributes: 0x82,
        limit: 0xffff,
        ..Default::default()
    };
    cpu.vmcb.tr = VmcbSegment {
        attributes: 0x8b,
        limit: 0xffff,
        ..Default::default()
    };
    // SAFETY: the hypervisor uses none of these registers; the control domain runs next.
    unsafe { super::switch::vmload(&cpu.vmcb) };
    PoolBox::new(pool, cpu)
}

/// The state in which Linux's 64-bit entry and the wake-up vector expect a CPU.
fn enter_long_mode(vmcb: &mut Vmcb, entry: &EntryState) {
    const CR0_PE_ET_NE_PG: u64 = 1 | 1 << 4 | 1 << 5 | 1 << 31;
    const CR4_PAE: u64 = 1 << 5;
    vmcb.cs = VmcbSegment {
        selector: BOOT_CS,
        attributes: 0xa9b,
        limit: u32::MAX,
        base: 0,
    };
    let data = VmcbSegment {
        selector: BOOT_DS,
        attributes: 0xc93,
        limit: u32::MAX,
        base: 0,
    };
    (vmcb.ss, vmcb.ds, vmcb.es) = (data, data, data);
    vmcb.gdtr = VmcbSegment {
        limit: u32::from(entry.gdt_limit),
        base: entry.gdt_base,
        ..Default::default()
    };
    // Linux loads page tables with no-execute bits on the other CPUs before it sets NXE itself.
    vmcb.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME;
    vmcb.cr0 = CR0_PE_ET_NE_PG;
    vmcb.cr3 = entry.cr3;
    vmcb.cr4 = CR4_PAE;
    vmcb.dr6 = 0xffff_0ff0;
    vmcb.dr7 = 0x400;
    vmcb.rflags = 2;
    vmcb.rip = entry.rip;
    vmcb.rsp = entry.rsp;
    vmcb.guest_pat = 0x0007_0406_0007_0406;
}

impl Cpu for SvmCpu {
    fn index(&self) -> usize {
        self.role.index
    }

    fn enter(&mut self) -> Exit {
        loop {
            // SAFETY: `start` has switched SVM on here and intercepts VMRUN; the nested tables hide
            // the hypervisor's memory.
            unsafe { self.switch() };
            self.vmcb.tlb_control = 0;
            if self.vmcb.exit_code != exit::NMI {
                self.vmcb.intercept_misc1 |= misc1::NMI;
                return exits::decode(&self.vmcb);
            }
            // A crash report stops the other CPUs by NMI; any other is the control domain's. It is
            // still pending, and without the intercept the next entry takes it.
            while (self.role.crash_under_way)() {
                core::hint::spin_loop();
            }
            self.vmcb.intercept_misc1 &= !misc1::NMI;
        }
    }

    fn efer(&self) -> u64 {
        self.vmcb.efer & !EFER_SVME
    }

    fn set_efer(&mut self, value: u64) -> bool {
        // LMA is read-only to software; SVME stays set, as VMRUN demands.
        self.vmcb.efer = value & !(EFER_LMA | EFER_SVME) | self.vmcb.efer & EFER_LMA | EFER_SVME;
        true
    }

    fn read_msr(&self, register: u32) -> Option<u64> {
        (register == cpu::msr::APIC_BASE).then(cpu::apic_base)
    }

    fn write_msr(&mut self, register: u32, value: u64) -> bool {
        register == cpu::msr::APIC_BASE && cpu::set_apic_base(value)
    }

    fn set_xcr0(&mut self, value: u64) {
        // SAFETY: the caller checked the value; XCR0 is the control domain's here.
        unsafe { cpu::xsetbv(value) };
    }

    fn flush_caches(&mut self) {
        cpu::write_back_and_invalidate_caches();
    }

    fn prediction_barrier(&mut self) {
        self.role.unswitched.prediction_barrier();
    }
}
