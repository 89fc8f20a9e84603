//! A guest's processor.

use super::control::VmxCpu;
use super::control_registers::ControlRegister;
use super::controls::primary;
use super::exceptions::{self, Intercepted};
use super::registers::{self, Exchanged};
use super::run_bounds::PauseLoop;
use super::state::Processor;
use super::vmcs::{Field, Vmcs, event, interruptibility, reason};
use super::{Vmx, exits, switch, tables};
use crate::cpu::{self, EFER_LMA, EFER_LME, EFER_NXE};
use crate::machine::Machine;
use crate::memory::PoolBox;
use crate::tags::Tag;
use crate::unswitched::GuestState;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use hypervisor_abi::Registers;
use hypervisor_core::hal::{Exit, Hpa, State, Vcpu};

const RFLAGS_IF: u64 = 1 << 9;
/// EFER: SCE, LME, LMA, NXE; all else is not the guest's.
const EFER_OF_GUESTS: u64 = 1 | EFER_LME | EFER_LMA | EFER_NXE;

/// The page in which the CPU keeps the task priority (SDM vol. 3 §30.1.1).
#[repr(C, align(4096))]
struct ApicPage([AtomicU32; 1024]);

impl ApicPage {
    const PRIORITY: usize = 0x80 / 4;

    /// Priority class, 0 to 15.
    fn task_priority(&self) -> u8 {
        (self.0[Self::PRIORITY].load(Relaxed) >> 4) as u8 & 15
    }

    fn set_task_priority(&self, class: u8) {
        self.0[Self::PRIORITY].store(u32::from(class & 15) << 4, Relaxed);
    }
}

/// What a guest's processor has besides VMCS and general registers.
pub struct Guest {
    unswitched: GuestState,
    exchanged: Exchanged,
    apic_page: PoolBox<ApicPage>,
    ept_pointer: u64,
    /// None that is good anywhere, once translations are to be dropped.
    tag: Tag,
    /// The CPU whose host state the VMCS has.
    host_cpu: Option<usize>,
    /// Priority class of an interrupt that waits.
    window: Option<u8>,
    nmi_waits: bool,
    /// Something waits, or the VMCS still asks for an exit.
    asks: bool,
    primary_at_rest: u32,
    /// What the VMCS has of these.
    primary: u32,
    tpr_threshold: u8,
}

/// A guest's processor under VMX.
pub type VmxVcpu = Processor<Guest>;

impl VmxVcpu {
    pub fn create(machine: &'static Machine<Vmx>, root: Hpa, tsc_offset: u64) -> Option<Self> {
        let Vmx {
            features,
            permissions,
            ..
        } = &machine.extension;
        let pool = machine.memory.pool();
        let apic_page = PoolBox::new(pool, ApicPage([const { AtomicU32::new(0) }; 1024]))?;
        let mut vmcs = Vmcs::new(pool, features.revision)?;
        let ept_pointer = tables::pointer(root);
        vmcs.set_controls(&features.guest);
        if let Some(bound) = PauseLoop::new(&features.guest) {
            bound.write_to(&mut vmcs);
        }
        vmcs.with(|vmcs| {
            for (field, value) in [
                (Field::EXCEPTION_BITMAP, exceptions::BITMAP),
                (Field::MSR_BITMAP, permissions.guest_msrs),
                (Field::VIRTUAL_APIC_PAGE, apic_page.physical()),
                (Field::TPR_THRESHOLD, 0),
                (Field::EPT_POINTER, ept_pointer),
                (Field::TSC_OFFSET, tsc_offset),
            ] {
                vmcs.write(field, value);
            }
        });
        let role = Guest {
            unswitched: GuestState::new(pool, machine.components.guest)?,
            exchanged: Exchanged::default(),
            apic_page,
            ept_pointer,
            tag: Tag::default(),
            host_cpu: None,
            window: None,
            nmi_waits: false,
            asks: false,
            primary_at_rest: features.guest.primary,
            primary: features.guest.primary,
            tpr_threshold: 0,
        };
        let mut vcpu = Processor {
            vmcs,
            registers: [0; 16],
            event: None,
            cr0: ControlRegister::cr0_of_guest(features.cr0.ones, features.cr0.allowed),
            cr4: ControlRegister::cr4_of_guest(features.cr4.ones, features.cr4.allowed),
            role,
        };
        vcpu.reset(None);
        Some(vcpu)
    }

    /// A tag of this CPU, and no translation that is older than the wish to drop them.
    #[cold]
    fn take_tag(&mut self, cpu: &mut VmxCpu) {
        let role = &mut self.role;
        let (tag, flush_all) = cpu.role.tags.take();
        role.tag = tag;
        if flush_all {
            switch::invalidate_all();
        } else {
            // A new tag drops what leads from linear addresses. What leads from guest-physical ones
            // has no tag: it goes by the tables' root (§29.4.1).
            switch::invalidate_ept(role.ept_pointer);
        }
        self.vmcs.write(Field::VPID, tag.number.into());
    }

    /// Asks for the exits that what waits needs. An interrupt that only the task priority holds back
    /// waits for that; any other for the flags.
    #[cold]
    fn ask_for_windows(&mut self) {
        let role = &mut self.role;
        let mut controls = role.primary_at_rest;
        let mut threshold = 0;
        match role.window {
            Some(class) if class <= role.apic_page.task_priority() => threshold = class,
            Some(_) => controls |= primary::INTERRUPT_WINDOW_EXITING,
            None => {}
        }
        if role.nmi_waits {
            controls |= primary::NMI_WINDOW_EXITING;
        }
        if threshold != role.tpr_threshold {
            role.tpr_threshold = threshold;
            self.vmcs.write(Field::TPR_THRESHOLD, threshold.into());
        }
        role.asks = threshold != 0 || controls != role.primary_at_rest;
        if controls != role.primary {
            role.primary = controls;
            self.vmcs.write(Field::PRIMARY_CONTROLS, controls.into());
        }
    }

    /// An exception or NMI that exited. `None`: it was given back to the guest.
    #[inline(never)]
    fn exception(&mut self, cpu: &mut VmxCpu) -> Option<Exit> {
        match Intercepted::new(self.vmcs.read(Field::EXIT_EVENT) as u32) {
            Intercepted::Nmi => {
                cpu.role.nmi_pending = true;
                return Some(Exit::Interrupt);
            }
            Intercepted::MachineCheck => return Some(Exit::MachineCheck),
            Intercepted::Debug { by_int1 } => self.debug_exception(by_int1),
            Intercepted::AlignmentCheck => {
                self.inject(event::EXCEPTION, exceptions::ALIGNMENT_CHECK, Some(0));
            }
            Intercepted::Other => {
                return Some(exits::decode(reason::EXCEPTION_OR_NMI, |field| {
                    self.vmcs.read(field)
                }));
            }
        }
        None
    }

    /// Gives a #DB back to the guest, as if it had not exited.
    fn debug_exception(&mut self, by_int1: bool) {
        if by_int1 && let Some(next) = self.next_rip() {
            self.advance_to(next);
        }
        let [cr2, dr6] = cpu::read_fault_registers();
        let dr6 = self.vmcs.with(|vmcs| {
            let registers = [dr6, vmcs.read(Field::DR7)];
            let [dr6, dr7] =
                exceptions::debug_registers(registers, vmcs.read(Field::QUALIFICATION));
            vmcs.write(Field::DR7, dr7);
            let shadow = vmcs.read(Field::INTERRUPTIBILITY);
            let step = exceptions::pending_step(vmcs.read(Field::RFLAGS), shadow);
            if step != 0 {
                let pending = vmcs.read(Field::PENDING_DEBUG);
                vmcs.write(Field::PENDING_DEBUG, pending | step);
            }
            dr6
        });
        cpu::write_fault_registers([cr2, dr6]);
        self.inject(event::EXCEPTION, exceptions::DEBUG, None);
    }

    /// Loads all registers that were found legal.
    fn load_registers(&mut self, r: &Registers, exchanged: Exchanged) {
        self.registers = r.gpr;
        self.vmcs.with(|vmcs| {
            registers::write(vmcs, r);
            vmcs.write(Field::CR3, r.cr3);
            // A shadow of STI is only legal with interrupts on; that of SS always.
            let shadow = match (r.interrupt_shadow & 1, r.rflags & RFLAGS_IF) {
                (0, _) => 0,
                (_, 0) => 2,
                _ => 1,
            };
            let kept = vmcs.read(Field::INTERRUPTIBILITY) & !interruptibility::SHADOW;
            vmcs.write(Field::INTERRUPTIBILITY, kept | shadow);
            vmcs.write(
                Field::PENDING_DEBUG,
                exceptions::pending_step(r.rflags, shadow),
            );
        });
        self.load_control_registers(r.cr0, r.cr4, r.efer);
        self.role.exchanged = exchanged;
        self.flush_translations();
        self.set_task_priority(r.cr8 as u8);
    }
}

impl Vcpu<VmxCpu> for VmxVcpu {
    fn attach(&mut self, cpu: &mut VmxCpu) {
        cpu.vmcs.shelve();
        self.vmcs.load();
        if self.role.host_cpu != Some(cpu.role.index) {
            self.role.host_cpu = Some(cpu.role.index);
            let state = cpu.role.state;
            self.vmcs.with(|vmcs| state.write_to(vmcs));
        }
        let host = &mut cpu.role.unswitched;
        self.role.unswitched.attach(host);
        self.role.unswitched.take_debug_registers(host);
        self.role.exchanged.swap();
        // From here on only the hypervisor runs until the entry.
        cpu.role.mitigations.flush_l1d();
    }

    fn detach(&mut self, cpu: &mut VmxCpu) {
        self.role.exchanged.swap();
        self.role.unswitched.detach(&mut cpu.role.unswitched);
        self.vmcs.unload();
        cpu.vmcs.load();
    }

    #[inline(always)]
    fn enter(&mut self, cpu: &mut VmxCpu) -> Exit {
        if !cpu.role.tags.holds(self.role.tag) {
            self.take_tag(cpu);
        }
        loop {
            if self.role.asks {
                self.ask_for_windows();
            }
            if cpu.role.nmi.is_waiting() {
                return Exit::Interrupt;
            }
            // SAFETY: VMX is on on this CPU (`cpu` proves it), `attach` made the VMCS current with this
            // CPU's host state; the nested tables map frames of the guest pool and overlay pages alone.
            let exit_reason = unsafe { self.switch(cpu.role.mitigations.clear_buffers) };
            if reason::is_of_instruction(exit_reason) {
                return exits::decode(exit_reason, |field| self.vmcs.read(field));
            }
            match exit_reason {
                reason::EXCEPTION_OR_NMI => {
                    if let Some(exit) = self.exception(cpu) {
                        return exit;
                    }
                }
                reason::NMI_WINDOW => {
                    // The handler may have asked for it behind our back.
                    (self.role.primary, self.role.nmi_waits, self.role.asks) = (0, false, true);
                    return Exit::InterruptWindow;
                }
                reason::CONTROL_REGISTER if self.control_register_access() => {}
                _ => return exits::decode(exit_reason, |field| self.vmcs.read(field)),
            }
        }
    }

    fn flush_translations(&mut self) {
        self.role.tag = Tag::default();
    }

    fn registers(&self) -> Registers {
        let paging = self.paging();
        let mut r = Registers {
            gpr: self.registers,
            cr0: paging.cr0,
            cr2: self.role.exchanged.cr2,
            cr3: paging.cr3,
            cr4: paging.cr4,
            cr8: u64::from(self.task_priority()),
            efer: paging.efer,
            xcr0: self.role.unswitched.xcr0(),
            dr: self.role.unswitched.debug_registers,
            dr6: self.role.exchanged.dr6,
            star: self.role.exchanged.star,
            kernel_gs_base: self.role.exchanged.kernel_gs_base,
            ..Default::default()
        };
        self.vmcs.with(|vmcs| {
            registers::read(vmcs, &mut r);
            let shadow = vmcs.read(Field::INTERRUPTIBILITY) & interruptibility::SHADOW;
            r.interrupt_shadow = u64::from(shadow != 0);
        });
        r
    }

    fn set_registers(&mut self, r: &Registers) -> bool {
        let legal = r.efer & !EFER_OF_GUESTS == 0
            && r.cr0 >> 32 == 0
            && r.cr8 <= 15
            && r.dr7 >> 32 == 0
            && self.role.unswitched.takes_xcr0(r.xcr0);
        let Some(exchanged) = Exchanged::from_registers(r).filter(|_| legal) else {
            return false;
        };
        self.load_registers(r, exchanged);
        self.role.unswitched.set_xcr0(r.xcr0);
        self.role.unswitched.debug_registers = r.dr;
        true
    }

    fn set_directory_pointers(&mut self, entries: [u64; 4]) -> bool {
        let legal = entries
            .into_iter()
            .all(|entry| registers::is_legal_directory_pointer(entry, cpu::physical_bits()));
        if legal {
            self.vmcs.with(|vmcs| {
                for (field, entry) in Field::DIRECTORY_POINTERS.into_iter().zip(entries) {
                    vmcs.write(field, entry);
                }
            });
        }
        legal
    }

    fn interruptible(&self) -> bool {
        self.event.is_none()
            && self.vmcs.with(|vmcs| {
                vmcs.read(Field::RFLAGS) & RFLAGS_IF != 0
                    && vmcs.read(Field::INTERRUPTIBILITY) & interruptibility::SHADOW == 0
            })
    }

    fn inject_interrupt(&mut self, vector: u8) {
        self.inject(event::INTERRUPT, vector, None);
    }

    fn inject_nmi(&mut self) -> bool {
        let blocked = interruptibility::SHADOW | interruptibility::NMI;
        if self.event.is_some() || self.vmcs.read(Field::INTERRUPTIBILITY) & blocked != 0 {
            (self.role.nmi_waits, self.role.asks) = (true, true);
            return false;
        }
        self.inject(event::NMI, 2, None);
        self.role.nmi_waits = false;
        true
    }

    fn request_window(&mut self, priority_class: Option<u8>) {
        self.role.window = priority_class;
        self.role.asks |= priority_class.is_some();
    }

    fn task_priority(&self) -> u8 {
        self.role.apic_page.task_priority()
    }

    fn set_task_priority(&mut self, cr8: u8) {
        self.role.apic_page.set_task_priority(cr8);
    }

    fn reset(&mut self, startup: Option<u8>) {
        let mut registers = registers::after_reset(startup);
        registers.xcr0 = self.xcr0();
        self.event = None;
        self.role.nmi_waits = false;
        self.vmcs.write(Field::INTERRUPTIBILITY, 0);
        if let Some(exchanged) = Exchanged::from_registers(&registers) {
            self.load_registers(&registers, exchanged);
        }
        self.role.unswitched.debug_registers = [0; 4];
    }

    fn efer(&self) -> u64 {
        self.vmcs.read(Field::EFER)
    }

    fn set_efer(&mut self, value: u64) -> bool {
        let old = self.efer();
        let paging = self.paging().cr0 >> 31 & 1 != 0;
        if value & !EFER_OF_GUESTS != 0 || paging && (value ^ old) & EFER_LME != 0 {
            return false;
        }
        self.vmcs
            .write(Field::EFER, value & !EFER_LMA | old & EFER_LMA);
        true
    }

    fn xcr0(&self) -> u64 {
        self.role.unswitched.xcr0()
    }

    fn set_xcr0(&mut self, value: u64) {
        self.role.unswitched.set_xcr0(value);
    }

    fn set_pat(&mut self, value: u64) {
        self.vmcs.write(Field::PAT, value);
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcs.write(Field::TSC_OFFSET, offset);
    }

    fn extended_state(&self) -> &[AtomicU64] {
        self.role.unswitched.extended()
    }

    fn set_extended_state(&mut self, image: &[AtomicU64]) {
        self.role.unswitched.set_extended(image);
    }
}
