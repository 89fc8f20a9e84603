//! The control domain's processor on one physical CPU.
//!
//! Its normal life costs few exits: it has all ports, nearly all model-specific registers, and gets
//! its interrupts directly.

use super::control_registers::{ControlRegister, cr0, cr4};
use super::controls::{primary, secondary};
use super::features::Features;
use super::host::HostState;
use super::mitigations::Mitigations;
use super::nmi::Waiting;
use super::state::Processor;
use super::vmcs::{Field, SegmentField, Vmcs, event, interruptibility, reason};
use super::{Vmx, exits, nmi, switch, tables};
use crate::cpu::{self, EFER_LMA, EFER_LME, EFER_NXE};
use crate::handoff::{BOOT_CS, BOOT_DS, EntryState};
use crate::machine::{Arrival, Machine};
use crate::memory::PoolBox;
use crate::tags::{self, Tags};
use crate::unswitched;
use hypervisor_core::hal::{Cpu, Exit};

/// Number of tags that a VPID of 16 bits gives.
const TAGS: u32 = 1 << 16;
/// PAT after reset (SDM vol. 3 table 12-12).
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;

/// What a physical CPU keeps besides the control domain's registers.
pub struct Host {
    pub index: usize,
    pub tags: Tags,
    /// What exits on this CPU load.
    pub state: HostState,
    /// What entries to guests do here: a PC's CPUs can differ in it.
    pub mitigations: Mitigations,
    /// The control domain's state while a guest is attached.
    pub unswitched: unswitched::HostState,
    /// Where NMIs go that the hypervisor itself takes on this CPU.
    pub nmi: &'static Waiting,
    /// An NMI of the control domain that it did not get yet.
    pub nmi_pending: bool,
    /// The primary controls that the VMCS has.
    primary: u32,
    /// Those that it has while nothing waits.
    primary_at_rest: u32,
    /// Another CPU is reporting a crash: this one is to stop.
    crash_under_way: fn() -> bool,
}

/// A physical CPU.
pub type VmxCpu = Processor<Host>;

/// Puts this CPU under the hypervisor: VMX on, the control domain's processor in the state of its
/// entry.
///
/// # Safety
/// Those of [`Extension::start`](crate::machine::Extension::start).
pub unsafe fn start(
    machine: &'static Machine<Vmx>,
    features: &Features,
    arrival: &Arrival<'_>,
) -> Option<PoolBox<VmxCpu>> {
    let Arrival { index, entry, .. } = *arrival;
    let pool = machine.memory.pool();
    let region = pool.allocate(1)?;
    // SAFETY: XSAVE exists by (3); first thing on this CPU by (1).
    unsafe { cpu::prepare() };
    // SAFETY: (3); the page was allocated for this.
    unsafe { features.enable(region) };
    switch::invalidate_all();

    let state = HostState::of_this_cpu();
    let host = Host {
        index,
        tags: Tags::new(index, TAGS),
        state,
        mitigations: match machine.extension.mitigations {
            true => Mitigations::of_this_cpu(),
            false => Mitigations::default(),
        },
        unswitched: unswitched::HostState::new(pool, machine.components)?,
        nmi: nmi::waiting(index)?,
        nmi_pending: false,
        primary: features.control_domain.primary,
        primary_at_rest: features.control_domain.primary,
        crash_under_way: arrival.crash_under_way,
    };
    let mut cpu = Processor {
        vmcs: Vmcs::new(pool, features.revision)?,
        registers: [0; 16],
        event: None,
        cr0: ControlRegister::cr0_of_control_domain(features.cr0.ones, features.cr0.allowed),
        cr4: ControlRegister::cr4_of_control_domain(features.cr4.ones, features.cr4.allowed),
        role: host,
    };
    cpu.vmcs.load();
    nmi::activate(index);
    cpu.vmcs.set_controls(&features.control_domain);
    cpu.vmcs.with(|vmcs| {
        state.write_to(vmcs);
        vmcs.write(
            Field::MSR_BITMAP,
            machine.extension.permissions.control_msrs,
        );
        vmcs.write(Field::VPID, tags::CONTROL_DOMAIN.into());
        vmcs.write(Field::EPT_POINTER, tables::pointer(arrival.root));
        if features.control_domain.secondary & secondary::XSAVES != 0 {
            vmcs.write(Field::XSS_EXITING, 0);
        }
    });
    enter_long_mode(&mut cpu, entry);
    PoolBox::new(pool, cpu)
}

/// The state in which Linux's 64-bit entry and the wake-up vector expect a CPU.
fn enter_long_mode(cpu: &mut VmxCpu, entry: &EntryState) {
    const CODE: u64 = 0xa09b;
    const DATA: u64 = 0xc093;
    const NO_TABLE: u64 = 0x1_0000;
    const TASK: u64 = 0x8b;
    cpu.registers[6] = entry.rsi;
    cpu.vmcs.with(|vmcs| {
        use SegmentField::*;
        for (segment, selector, rights, limit) in [
            (Cs, BOOT_CS, CODE, u32::MAX),
            (Ss, BOOT_DS, DATA, u32::MAX),
            (Ds, BOOT_DS, DATA, u32::MAX),
            (Es, BOOT_DS, DATA, u32::MAX),
            (Fs, 0, DATA, u32::MAX),
            (Gs, 0, DATA, u32::MAX),
            (Ldtr, 0, NO_TABLE, 0xffff),
            (Tr, 0, TASK, 0xffff),
        ] {
            vmcs.write(segment.selector(), selector.into());
            vmcs.write(segment.rights(), rights);
            vmcs.write(segment.limit(), limit.into());
            vmcs.write(segment.base(), 0);
        }
        for (field, value) in [
            (Field::GDTR_LIMIT, entry.gdt_limit.into()),
            (Field::GDTR_BASE, entry.gdt_base),
            (Field::IDTR_LIMIT, 0),
            (Field::IDTR_BASE, 0),
            (Field::CR3, entry.cr3),
            (Field::DR7, 0x400),
            (Field::RFLAGS, 2),
            (Field::RIP, entry.rip),
            (Field::RSP, entry.rsp),
            (Field::PAT, PAT_RESET),
            (Field::SYSENTER_CS, 0),
            (Field::SYSENTER_ESP, 0),
            (Field::SYSENTER_EIP, 0),
        ] {
            vmcs.write(field, value);
        }
    });
    // Linux loads page tables with no-execute bits on the other CPUs before it sets NXE itself.
    cpu.load_control_registers(
        cr0::PE | cr0::ET | cr0::NE | cr0::PG,
        cr4::PAE,
        EFER_LME | EFER_LMA | EFER_NXE,
    );
}

impl VmxCpu {
    /// Injects an NMI that waits, or asks for an exit as soon as it can be taken.
    fn offer_nmi(&mut self) {
        loop {
            self.role.nmi_pending |= self.role.nmi.take();
            let mut controls = self.role.primary_at_rest;
            if self.role.nmi_pending {
                // A crash report stops the other CPUs by NMI, be it in the control domain, in a guest
                // or in the hypervisor that they take it; any other is the control domain's.
                while (self.role.crash_under_way)() {
                    core::hint::spin_loop();
                }
                let blocked = interruptibility::SHADOW | interruptibility::NMI;
                if self.event.is_none() && self.vmcs.read(Field::INTERRUPTIBILITY) & blocked == 0 {
                    self.inject(event::NMI, 2, None);
                    self.role.nmi_pending = false;
                } else {
                    controls |= primary::NMI_WINDOW_EXITING;
                }
            }
            if controls != self.role.primary {
                self.role.primary = controls;
                self.vmcs.write(Field::PRIMARY_CONTROLS, controls.into());
            }
            // One that came before the controls were written is not forgotten.
            if !self.role.nmi.is_waiting() {
                return;
            }
        }
    }
}

impl Cpu for VmxCpu {
    fn index(&self) -> usize {
        self.role.index
    }

    fn enter(&mut self) -> Exit {
        loop {
            self.offer_nmi();
            // SAFETY: `start` has switched VMX on here and filled the VMCS, which is current while no
            // guest is attached; the nested tables hide the hypervisor's memory.
            let exit_reason = unsafe { self.switch(false) };
            match exit_reason {
                // Nothing but NMI: no exception of the control domain exits.
                reason::EXCEPTION_OR_NMI => self.role.nmi_pending = true,
                // The handler may have asked for it behind our back.
                reason::NMI_WINDOW => self.role.primary = 0,
                reason::CONTROL_REGISTER if self.control_register_access() => {}
                reason::NOT_ENTERED => {
                    return Exit::Other {
                        code: reason::NOT_ENTERED.into(),
                        info1: self.vmcs.read(Field::INSTRUCTION_ERROR),
                        info2: 0,
                    };
                }
                _ => return exits::decode(exit_reason, |field| self.vmcs.read(field)),
            }
        }
    }

    fn efer(&self) -> u64 {
        self.vmcs.read(Field::EFER)
    }

    fn set_efer(&mut self, value: u64) -> bool {
        // LMA is read-only to software.
        let old = self.efer();
        self.vmcs
            .write(Field::EFER, value & !EFER_LMA | old & EFER_LMA);
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
