//! What the control domain's and a guest's processor share: a VMCB and the general registers.

use super::switch;
use super::vmcb::Vmcb;
use crate::memory::PoolBox;
use hypervisor_core::hal::{CodeMode, Exception, Paging, State};

/// Bits of a code segment's attributes.
const CS_LONG: u16 = 1 << 9;
const CS_DEFAULT_BIG: u16 = 1 << 10;
const EFER_LMA: u64 = 1 << 10;

/// EVENTINJ and EXITINTINFO (APM vol. 2 §15.20).
pub mod event {
    pub const INTERRUPT: u64 = 0 << 8;
    pub const NMI: u64 = 2 << 8;
    pub const EXCEPTION: u64 = 3 << 8;
    pub const TYPE: u64 = 7 << 8;
    pub const ERROR_CODE_VALID: u64 = 1 << 11;
    pub const VALID: u64 = 1 << 31;
}

/// A processor under the hypervisor: `R` is its role.
pub struct Processor<R> {
    pub vmcb: PoolBox<Vmcb>,
    /// RAX and RSP are those of the VMCB.
    pub registers: [u64; 16],
    /// CPUID 8000_000A EDX bit 3.
    pub has_next_rip: bool,
    pub role: R,
}

impl<R> Processor<R> {
    /// One world switch. An event whose delivery the exit interrupted is made pending again
    /// (§15.7.2); software interrupts are not, since their instruction runs again.
    ///
    /// # Safety
    /// Those of [`switch::enter`].
    #[inline(always)]
    pub unsafe fn switch(&mut self) {
        // SAFETY: the caller's.
        unsafe { switch::enter(&mut self.vmcb, &mut self.registers) };
        let interrupted = self.vmcb.exit_interrupt_info;
        self.vmcb.event_injection = 0;
        if interrupted & event::VALID != 0 {
            let vector = interrupted & 0xff;
            let software = vector == 3 || vector == 4;
            match interrupted & event::TYPE {
                event::INTERRUPT | event::NMI => self.vmcb.event_injection = interrupted,
                event::EXCEPTION if !software => self.vmcb.event_injection = interrupted,
                _ => {}
            }
        }
    }

    pub fn inject(&mut self, kind: u64, vector: u8, error_code: Option<u32>) {
        let code = error_code.map_or(0, |c| u64::from(c) << 32 | event::ERROR_CODE_VALID);
        self.vmcb.event_injection = u64::from(vector) | kind | event::VALID | code;
    }
}

impl<R> State for Processor<R> {
    fn gpr(&self, index: usize) -> u64 {
        match index {
            0 => self.vmcb.rax,
            4 => self.vmcb.rsp,
            _ => self.registers[index & 15],
        }
    }

    fn set_gpr(&mut self, index: usize, value: u64) {
        match index {
            0 => self.vmcb.rax = value,
            4 => self.vmcb.rsp = value,
            _ => self.registers[index & 15] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.vmcb.rip
    }

    fn advance_to(&mut self, rip: u64) {
        self.vmcb.rip = rip;
        self.vmcb.interrupt_shadow &= !1;
    }

    fn rflags(&self) -> u64 {
        self.vmcb.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.vmcb.rflags = value;
    }

    fn next_rip(&self) -> Option<u64> {
        (self.has_next_rip && self.vmcb.next_rip != 0).then_some(self.vmcb.next_rip)
    }

    fn cpl(&self) -> u8 {
        self.vmcb.cpl
    }

    #[inline(always)]
    fn code_mode(&self) -> CodeMode {
        let attributes = self.vmcb.cs.attributes;
        if self.vmcb.efer & EFER_LMA != 0 && attributes & CS_LONG != 0 {
            CodeMode::Bits64
        } else if attributes & CS_DEFAULT_BIG != 0 {
            CodeMode::Bits32
        } else {
            CodeMode::Bits16
        }
    }

    #[inline(always)]
    fn cs_base(&self) -> u64 {
        if self.code_mode() == CodeMode::Bits64 {
            0
        } else {
            self.vmcb.cs.base
        }
    }

    #[inline(always)]
    fn paging(&self) -> Paging {
        Paging {
            cr0: self.vmcb.cr0,
            cr3: self.vmcb.cr3,
            cr4: self.vmcb.cr4,
            efer: self.vmcb.efer,
        }
    }

    fn inject_exception(&mut self, exception: Exception) {
        match exception {
            Exception::InvalidOpcode => self.inject(event::EXCEPTION, 6, None),
            Exception::GeneralProtection => self.inject(event::EXCEPTION, 13, Some(0)),
            // The injection pushes the error code alone (APM vol. 2 §15.20): CR2 is set here.
            Exception::PageFault {
                error_code,
                address,
            } => {
                self.vmcb.cr2 = address;
                self.inject(event::EXCEPTION, 14, Some(error_code));
            }
            Exception::MachineCheck => self.inject(event::EXCEPTION, 18, None),
        }
    }
}
