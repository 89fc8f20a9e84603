//! A guest's processor.

use super::control::{FLUSH_ALL, NESTED_PAGING, SvmCpu};
use super::state::{Processor, event};
use super::vmcb::{ALL_DEBUG_REGISTERS, Vmcb, VmcbSegment, exit, misc1, misc2, misc3};
use super::{Svm, exits, switch};
use crate::cpu::{self, EFER_LMA, EFER_SVME};
use crate::machine::Machine;
use crate::memory::PoolBox;
use crate::tags::Tag;
use crate::unswitched::GuestState;
use core::sync::atomic::AtomicU64;
use hypervisor_abi::Registers;
use hypervisor_core::hal::{Exit, Hpa, Vcpu};

/// What a guest's processor has besides VMCB and general registers.
pub struct Guest {
    unswitched: GuestState,
    /// None that is good anywhere, once translations are to be dropped.
    tag: Tag,
    /// An NMI is being handled: no other until IRET.
    nmi_masked: bool,
    /// An interrupt was handed to the CPU as a virtual one, and the guest has not taken it yet.
    interrupt_requested: bool,
}

/// A guest's processor under SVM.
pub type SvmVcpu = Processor<Guest>;

/// Fields of `virtual_interrupt` (APM vol. 2 appendix B, offset 60h).
mod virtual_interrupt {
    pub const TPR: u64 = 0xf;
    pub const REQUEST: u64 = 1 << 8;
    pub const PRIORITY_SHIFT: u32 = 16;
    pub const IGNORE_TPR: u64 = 1 << 20;
    pub const MASKING: u64 = 1 << 24;
    pub const VECTOR_SHIFT: u32 = 32;
    /// All that a request consists of.
    pub const WHOLE_REQUEST: u64 =
        REQUEST | 0xf << PRIORITY_SHIFT | IGNORE_TPR | 0xff << VECTOR_SHIFT;
}

const RFLAGS_IF: u64 = 1 << 9;
/// Of the intercepts of control registers (APM vol. 2 appendix B, offset 0).
const CR8_WRITES: u32 = 1 << (16 + 8);
/// DR7 after reset: no breakpoint is on.
const DR7_INITIAL: u64 = 0x400;
/// DR7: an access to a debug register is a #DB.
const DR7_GENERAL_DETECT: u64 = 1 << 13;
/// #DB and #AC can loop without end inside the CPU when a guest's handlers fault on themselves.
const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

impl SvmVcpu {
    pub fn create(machine: &'static Machine<Svm>, root: Hpa, tsc_offset: u64) -> Option<Self> {
        let Svm {
            features,
            permissions,
        } = &machine.extension;
        let pool = machine.memory.pool();
        let mut vmcb = PoolBox::new(pool, Vmcb::zeroed())?;
        vmcb.intercept_dr = ALL_DEBUG_REGISTERS;
        vmcb.intercept_exceptions = EXCEPTIONS;
        vmcb.intercept_misc1 = misc1::INTR
            | misc1::NMI
            | misc1::INIT
            | misc1::RDPMC
            | misc1::CPUID
            | misc1::INVD
            | misc1::HLT
            | misc1::INVLPGA
            | misc1::IOIO
            | misc1::MSR
            | misc1::SHUTDOWN;
        vmcb.intercept_misc2 = misc2::OWN_INSTRUCTIONS
            | misc2::VMMCALL
            | misc2::WBINVD
            | misc2::MONITOR
            | misc2::MWAIT
            | misc2::XSETBV
            | misc2::RDPRU;
        vmcb.intercept_misc3 = misc3::INVLPGB | misc3::TLBSYNC;
        vmcb.iopm_base = permissions.guest_ports;
        vmcb.msrpm_base = permissions.guest_msrs;
        vmcb.tsc_offset = tsc_offset;
        vmcb.virtual_interrupt = virtual_interrupt::MASKING;
        vmcb.nested_control = NESTED_PAGING;
        vmcb.nested_cr3 = root.0;
        if let Some(bound) = features.pause_loop {
            bound.write_to(&mut vmcb);
        }
        let role = Guest {
            unswitched: GuestState::new(pool, machine.components.guest)?,
            tag: Tag::default(),
            nmi_masked: false,
            interrupt_requested: false,
        };
        let mut vcpu = Processor {
            vmcb,
            registers: [0; 16],
            has_next_rip: features.next_rip,
            role,
        };
        vcpu.load_reset_state(None);
        Some(vcpu)
    }
}

// In line what every exit executes, or every exit to the vmm: each function there is 30 instructions.
impl Vcpu<SvmCpu> for SvmVcpu {
    #[inline(always)]
    fn attach(&mut self, cpu: &mut SvmCpu) {
        switch::vmsave(&mut cpu.vmcb);
        // SAFETY: the guest runs next, or `detach` loads the control domain's again.
        unsafe { switch::vmload(&self.vmcb) };
        self.role.unswitched.attach(&mut cpu.role.unswitched);
        if self.vmcb.dr7 != DR7_INITIAL {
            self.take_debug_registers(cpu);
        }
    }

    #[inline(always)]
    fn detach(&mut self, cpu: &mut SvmCpu) {
        self.role.unswitched.detach(&mut cpu.role.unswitched);
        self.vmcb.intercept_dr = ALL_DEBUG_REGISTERS;
        switch::vmsave(&mut self.vmcb);
        // SAFETY: the control domain runs next.
        unsafe { switch::vmload(&cpu.vmcb) };
    }

    #[inline(always)]
    fn enter(&mut self, cpu: &mut SvmCpu) -> Exit {
        let guest = self;
        if !cpu.role.tags.holds(guest.role.tag) {
            let (tag, flush_all) = cpu.role.tags.take();
            guest.role.tag = tag;
            guest.vmcb.asid = tag.number;
            if flush_all {
                guest.vmcb.tlb_control = FLUSH_ALL;
            }
        }
        loop {
            // SAFETY: SVM is on on this CPU (`cpu` proves it); the VMCB intercepts VMRUN, and the
            // nested tables map frames of the guest pool and overlay pages alone.
            unsafe { guest.switch() };
            guest.vmcb.tlb_control = 0;
            guest.note_taken_interrupt();
            match guest.vmcb.exit_code {
                exit::DB => {
                    // Its delivery would open the debug registers to the handler; an injection doesn't.
                    guest.vmcb.dr7 &= !DR7_GENERAL_DETECT;
                    guest.inject(event::EXCEPTION, 1, None);
                }
                exit::AC => guest.inject(event::EXCEPTION, 17, Some(0)),
                exit::IRET => {
                    guest.role.nmi_masked = false;
                    guest.vmcb.intercept_misc1 &= !misc1::IRET;
                }
                exit::CR8_WRITE => guest.forget_window(),
                // The instruction runs again, on the guest's own registers.
                code if exit::DEBUG_REGISTERS.contains(&code) => {
                    guest.take_debug_registers(cpu);
                }
                _ => return exits::decode(&guest.vmcb),
            }
        }
    }

    fn flush_translations(&mut self) {
        self.role.tag = Tag::default();
    }

    fn registers(&self) -> Registers {
        let v = &self.vmcb;
        let mut gpr = self.registers;
        (gpr[0], gpr[4]) = (v.rax, v.rsp);
        let mut ss = v.ss;
        ss.attributes = ss.attributes & !0x60 | u16::from(v.cpl) << 5;
        Registers {
            gpr,
            rip: v.rip,
            rflags: v.rflags,
            es: v.es.into(),
            cs: v.cs.into(),
            ss: ss.into(),
            ds: v.ds.into(),
            fs: v.fs.into(),
            gs: v.gs.into(),
            ldtr: v.ldtr.into(),
            tr: v.tr.into(),
            gdtr: v.gdtr.into(),
            idtr: v.idtr.into(),
            cr0: v.cr0,
            cr2: v.cr2,
            cr3: v.cr3,
            cr4: v.cr4,
            cr8: u64::from(self.task_priority()),
            efer: v.efer & !EFER_SVME,
            xcr0: self.role.unswitched.xcr0(),
            dr: self.role.unswitched.debug_registers,
            dr6: v.dr6,
            dr7: v.dr7,
            star: v.star,
            kernel_gs_base: v.kernel_gs_base,
            sysenter: v.sysenter,
            pat: v.guest_pat,
            interrupt_shadow: v.interrupt_shadow & 1,
        }
    }

    fn set_registers(&mut self, r: &Registers) -> bool {
        if r.efer & EFER_SVME != 0
            || r.cr0 >> 32 != 0
            || r.cr8 > 15
            || r.dr6 >> 32 != 0
            || r.dr7 >> 32 != 0
        {
            return false;
        }
        let guest = self;
        if !guest.role.unswitched.takes_xcr0(r.xcr0) {
            return false;
        }
        guest.registers = r.gpr;
        let v = &mut guest.vmcb;
        (v.rax, v.rsp) = (r.gpr[0], r.gpr[4]);
        (v.rip, v.rflags) = (r.rip, r.rflags);
        (v.es, v.cs, v.ss, v.ds) = (r.es.into(), r.cs.into(), r.ss.into(), r.ds.into());
        (v.fs, v.gs, v.ldtr, v.tr) = (r.fs.into(), r.gs.into(), r.ldtr.into(), r.tr.into());
        (v.gdtr, v.idtr) = (r.gdtr.into(), r.idtr.into());
        v.cpl = (r.ss.attributes >> 5) as u8 & 3;
        (v.cr0, v.cr2, v.cr3, v.cr4) = (r.cr0, r.cr2, r.cr3, r.cr4);
        v.efer = r.efer | EFER_SVME;
        (v.dr6, v.dr7) = (r.dr6, r.dr7);
        v.star = r.star;
        v.kernel_gs_base = r.kernel_gs_base;
        v.sysenter = r.sysenter;
        v.guest_pat = r.pat;
        v.interrupt_shadow = v.interrupt_shadow & !1 | r.interrupt_shadow & 1;
        guest.role.unswitched.set_xcr0(r.xcr0);
        guest.role.unswitched.debug_registers = r.dr;
        guest.flush_translations();
        guest.set_task_priority(r.cr8 as u8);
        true
    }

    fn interruptible(&self) -> bool {
        self.vmcb.rflags & RFLAGS_IF != 0
            && self.vmcb.interrupt_shadow & 1 == 0
            && self.vmcb.event_injection == 0
            && !self.role.interrupt_requested
    }

    /// As an event (§15.20), or as a virtual interrupt (§15.21.4), which the CPU takes like a physical
    /// one. Silicon does both; QEMU (7.2 to 10.0 at least), which saves no next RIP, delivers an event
    /// once more, and Bochs may leave a virtual interrupt alone (docs/decisions/0004).
    fn inject_interrupt(&mut self, vector: u8) {
        if self.has_next_rip {
            return self.inject(event::INTERRUPT, vector, None);
        }
        let vmcb = &mut self.vmcb;
        vmcb.intercept_misc1 &= !misc1::VINTR;
        vmcb.virtual_interrupt = vmcb.virtual_interrupt & !virtual_interrupt::WHOLE_REQUEST
            | virtual_interrupt::REQUEST
            | virtual_interrupt::IGNORE_TPR
            | u64::from(vector) << virtual_interrupt::VECTOR_SHIFT;
        self.role.interrupt_requested = true;
    }

    fn inject_nmi(&mut self) -> bool {
        if self.role.nmi_masked
            || self.vmcb.event_injection != 0
            || self.vmcb.interrupt_shadow & 1 != 0
        {
            return false;
        }
        self.inject(event::NMI, 2, None);
        self.role.nmi_masked = true;
        self.vmcb.intercept_misc1 |= misc1::IRET;
        true
    }

    fn request_window(&mut self, priority_class: Option<u8>) {
        // While a virtual interrupt waits, nothing else can come in: what is behind it is of a lower
        // class and has to wait for the end of its handler, which exits.
        if self.role.interrupt_requested {
            return;
        }
        // A virtual interrupt that is intercepted before it is delivered (§15.21.4). Its priority
        // makes the CPU wait for the task priority too.
        let vmcb = &mut self.vmcb;
        vmcb.virtual_interrupt &= !virtual_interrupt::WHOLE_REQUEST;
        match priority_class {
            Some(class) => {
                vmcb.virtual_interrupt |= virtual_interrupt::REQUEST
                    | u64::from(class & 15) << virtual_interrupt::PRIORITY_SHIFT;
                vmcb.intercept_misc1 |= misc1::VINTR;
                if !self.has_next_rip {
                    vmcb.intercept_cr |= CR8_WRITES;
                }
            }
            None => vmcb.intercept_misc1 &= !misc1::VINTR,
        }
    }

    fn task_priority(&self) -> u8 {
        (self.vmcb.virtual_interrupt & virtual_interrupt::TPR) as u8
    }

    fn set_task_priority(&mut self, cr8: u8) {
        let field = &mut self.vmcb.virtual_interrupt;
        *field = *field & !virtual_interrupt::TPR | u64::from(cr8) & virtual_interrupt::TPR;
    }

    fn reset(&mut self, startup: Option<u8>) {
        self.load_reset_state(startup);
    }

    fn efer(&self) -> u64 {
        self.vmcb.efer & !EFER_SVME
    }

    fn set_efer(&mut self, value: u64) -> bool {
        // SCE, LME, LMA, NXE, FFXSR; the extension itself is not the guest's.
        const KNOWN: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 14;
        if value & !KNOWN != 0 {
            return false;
        }
        let old = self.vmcb.efer;
        let paging = self.vmcb.cr0 >> 31 & 1 != 0;
        if paging && (value ^ old) & cpu::EFER_LME != 0 {
            return false;
        }
        self.vmcb.efer = value & !EFER_LMA | old & EFER_LMA | EFER_SVME;
        true
    }

    fn xcr0(&self) -> u64 {
        self.role.unswitched.xcr0()
    }

    fn set_xcr0(&mut self, value: u64) {
        self.role.unswitched.set_xcr0(value);
    }

    fn set_pat(&mut self, value: u64) {
        self.vmcb.guest_pat = value;
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb.tsc_offset = offset;
    }

    fn extended_state(&self) -> &[AtomicU64] {
        self.role.unswitched.extended()
    }

    fn set_extended_state(&mut self, image: &[AtomicU64]) {
        self.role.unswitched.set_extended(image);
    }
}

impl SvmVcpu {
    /// Whether the guest took the virtual interrupt: the CPU then cleared the request. An interrupt
    /// whose delivery was cut short is an interrupted event as well, and is not asked for twice.
    fn note_taken_interrupt(&mut self) {
        let cut_short = self.vmcb.event_injection & event::VALID != 0
            && self.vmcb.event_injection & event::TYPE == event::INTERRUPT;
        if self.role.interrupt_requested
            && (cut_short || self.vmcb.virtual_interrupt & virtual_interrupt::REQUEST == 0)
        {
            self.role.interrupt_requested = false;
            self.vmcb.virtual_interrupt &= !virtual_interrupt::WHOLE_REQUEST;
        }
    }

    /// QEMU ends itself at a write of CR8 while a virtual interrupt waits (docs/decisions/0004). None waits when
    /// the instruction runs again; the window is asked for anew at the next exit, whose time the control domain's
    /// tick bounds.
    #[cold]
    fn forget_window(&mut self) {
        self.vmcb.intercept_cr &= !CR8_WRITES;
        if !self.role.interrupt_requested {
            self.vmcb.virtual_interrupt &= !virtual_interrupt::WHOLE_REQUEST;
            self.vmcb.intercept_misc1 &= !misc1::VINTR;
        }
    }

    /// Brings DR0 to DR3 into the CPU: for a guest with breakpoints when it is attached, for any
    /// other when it touches a debug register. Until then they are the control domain's, which such
    /// a guest can't see.
    #[cold]
    fn take_debug_registers(&mut self, cpu: &mut SvmCpu) {
        let host = &mut cpu.role.unswitched;
        self.role.unswitched.take_debug_registers(host);
        self.vmcb.intercept_dr = 0;
    }

    /// The state after INIT (SDM vol. 3 table 9-1; the extended state stays), or at a start-up
    /// vector.
    fn load_reset_state(&mut self, startup: Option<u8>) {
        let v = &mut self.vmcb;
        let data = VmcbSegment {
            selector: 0,
            attributes: 0x93,
            limit: 0xffff,
            base: 0,
        };
        (v.es, v.ss, v.ds, v.fs, v.gs) = (data, data, data, data, data);
        v.cs = match startup {
            None => VmcbSegment {
                selector: 0xf000,
                attributes: 0x9b,
                limit: 0xffff,
                base: 0xffff_0000,
            },
            Some(vector) => VmcbSegment {
                selector: u16::from(vector) << 8,
                attributes: 0x9b,
                limit: 0xffff,
                base: u64::from(vector) << 12,
            },
        };
        v.ldtr = VmcbSegment {
            attributes: 0x82,
            limit: 0xffff,
            ..Default::default()
        };
        v.tr = VmcbSegment {
            attributes: 0x8b,
            limit: 0xffff,
            ..Default::default()
        };
        v.gdtr = VmcbSegment {
            limit: 0xffff,
            ..Default::default()
        };
        v.idtr = v.gdtr;
        v.cpl = 0;
        v.efer = EFER_SVME;
        v.cr0 = 0x6000_0010;
        (v.cr2, v.cr3, v.cr4) = (0, 0, 0);
        (v.dr6, v.dr7) = (0xffff_0ff0, DR7_INITIAL);
        v.rflags = 2;
        v.rip = if startup.is_none() { 0xfff0 } else { 0 };
        (v.rax, v.rsp) = (0, 0);
        v.star = [0; 4];
        v.kernel_gs_base = 0;
        v.sysenter = [0; 3];
        v.guest_pat = 0x0007_0406_0007_0406;
        v.interrupt_shadow = 0;
        v.event_injection = 0;
        v.virtual_interrupt &= !virtual_interrupt::WHOLE_REQUEST;
        self.registers = [0; 16];
        // Family, model and stepping, as after a real reset.
        self.registers[2] = u64::from(cpu::cpuid(1, 0)[0]);
        self.role.unswitched.debug_registers = [0; 4];
        self.role.nmi_masked = false;
        self.role.interrupt_requested = false;
        self.role.tag = Tag::default();
    }
}
