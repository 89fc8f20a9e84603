//! What the control domain's and a guest's processor share: a VMCS, the general registers, and what
//! the VMCS does not hold of events and control registers.

use super::control_registers::{ControlRegister, cr0, is_illegal_cr0};
use super::switch;
use super::vmcs::{
    Current, Field, SegmentField, Vmcs, entry_long_mode, event, interruptibility, reason,
};
use crate::cpu::{self, EFER_LMA};
use hypervisor_core::hal::{CodeMode, Exception, Paging, State};

/// Access rights of a segment as a VMCS has them (SDM vol. 3 table 25-2).
pub mod rights {
    pub const DPL_SHIFT: u32 = 5;
    pub const LONG: u64 = 1 << 13;
    pub const DEFAULT_BIG: u64 = 1 << 14;
}

/// An event to inject at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// As in [`Field::ENTRY_EVENT`].
    pub info: u32,
    pub error_code: u32,
    /// Of a page fault: its address.
    pub cr2: Option<u64>,
}

/// A processor under the hypervisor: `R` is its role.
pub struct Processor<R> {
    pub vmcs: Vmcs,
    /// RSP is that of the VMCS.
    pub registers: [u64; 16],
    pub event: Option<Event>,
    pub cr0: ControlRegister,
    pub cr4: ControlRegister,
    pub role: R,
}

impl<R> Processor<R> {
    /// One world switch, before which the CPU may forget what its buffers hold; answers the exit's
    /// reason. An event whose delivery the exit interrupted is
    /// made pending again (§28.2.4); software interrupts are not, since their instruction runs again.
    ///
    /// # Safety
    /// Those of [`switch::enter`]; the VMCS is the current one.
    #[inline(always)]
    pub unsafe fn switch(&mut self, clear_buffers: bool) -> u32 {
        if self.event.is_some() {
            self.load_event();
        }
        // SAFETY: the caller's; `launched` is kept along with the VMCS.
        let exit_reason =
            unsafe { switch::enter(&mut self.registers, self.vmcs.launched, clear_buffers) };
        self.vmcs.launched = true;
        // An instruction of its own: no event was on its way, and no IRET.
        if !reason::is_of_instruction(exit_reason) {
            self.keep_event(exit_reason);
        }
        exit_reason
    }

    /// Gives the CPU the event that waits.
    #[cold]
    fn load_event(&mut self) {
        let Some(event) = self.event.take() else {
            return;
        };
        if let Some(cr2) = event.cr2 {
            cpu::set_cr2(cr2);
        }
        self.vmcs.with(|vmcs| {
            vmcs.write(Field::ENTRY_EVENT, event.info.into());
            vmcs.write(Field::ENTRY_ERROR_CODE, event.error_code.into());
        });
    }

    /// Makes an event pending again whose delivery the exit interrupted.
    #[inline(never)]
    fn keep_event(&mut self, exit_reason: u32) {
        if exit_reason == reason::NOT_ENTERED {
            self.vmcs.launched = false;
            return;
        }
        self.vmcs.with(|vmcs| {
            let interrupted = vmcs.read(Field::VECTORING_EVENT) as u32;
            if exit_reason & reason::ENTRY_FAILURE != 0 {
                // An exit would have cleared it.
                vmcs.write(Field::ENTRY_EVENT, 0);
            } else if interrupted & event::VALID != 0 {
                self.event = interrupted_event(vmcs, interrupted);
            } else {
                block_nmis_again(vmcs, exit_reason);
            }
        });
    }

    /// Injects an event at the next entry.
    pub fn inject(&mut self, kind: u32, vector: u8, error_code: Option<u32>) {
        // In real mode no exception has an error code.
        let error_code = error_code.filter(|_| self.vmcs.read(Field::CR0) & cr0::PE != 0);
        self.event = Some(Event {
            info: u32::from(vector)
                | kind
                | event::VALID
                | error_code.map_or(0, |_| event::ERROR_CODE_VALID),
            error_code: error_code.unwrap_or(0),
            cr2: None,
        });
    }

    /// Gives the hardware the control registers that the processor is to see, and says in the entry
    /// controls whether that is long mode.
    pub fn load_control_registers(&mut self, cr0: u64, cr4: u64, efer: u64) {
        let (cr0, cr4) = (self.cr0.set(cr0), self.cr4.set(cr4));
        let (see_cr0, see_cr4) = (self.cr0, self.cr4);
        self.vmcs.with(|vmcs| {
            vmcs.write(Field::CR0, cr0);
            vmcs.write(Field::CR4, cr4);
            vmcs.write(Field::CR0_MASK, see_cr0.mask());
            vmcs.write(Field::CR4_MASK, see_cr4.mask());
            vmcs.write(Field::CR0_SHADOW, see_cr0.shadow());
            vmcs.write(Field::CR4_SHADOW, see_cr4.shadow());
            vmcs.write(Field::EFER, efer);
            entry_long_mode(vmcs, efer & EFER_LMA != 0);
        });
    }

    /// A write to CR0 or CR4 that exited. `false`: it was some other access, which nothing asked for.
    #[inline(never)]
    pub fn control_register_access(&mut self) -> bool {
        const REGISTER: u64 = 0xf;
        const ACCESS: u64 = 3 << 4;
        let qualification = self.vmcs.read(Field::QUALIFICATION);
        if qualification & ACCESS != 0 {
            return false;
        }
        let mut value = self.gpr((qualification >> 8 & 15) as usize);
        if self.code_mode() != CodeMode::Bits64 {
            value &= 0xffff_ffff;
        }
        let again = match qualification & REGISTER {
            0 => {
                let again = !is_illegal_cr0(value) && self.cr0.write(value);
                self.vmcs.write(Field::CR0_SHADOW, self.cr0.shadow());
                again
            }
            4 => {
                let again = self.cr4.write(value);
                self.vmcs.write(Field::CR4_SHADOW, self.cr4.shadow());
                again
            }
            _ => return false,
        };
        if !again {
            self.inject_exception(Exception::GeneralProtection);
        }
        true
    }
}

/// What to inject again.
fn interrupted_event(vmcs: Current, info: u32) -> Option<Event> {
    match info & event::TYPE {
        event::INTERRUPT | event::EXCEPTION => {}
        event::NMI => {
            // The injection blocks NMIs again, and must not find them blocked.
            let state = vmcs.read(Field::INTERRUPTIBILITY);
            vmcs.write(Field::INTERRUPTIBILITY, state & !interruptibility::NMI);
        }
        _ => return None,
    }
    let has_error_code = info & event::ERROR_CODE_VALID != 0;
    Some(Event {
        // Bit 12 is undefined here and must be 0 there.
        info: info & !event::NMI_UNBLOCKED,
        error_code: if has_error_code {
            vmcs.read(Field::VECTORING_ERROR_CODE) as u32
        } else {
            0
        },
        // What its delivery has loaded already stays.
        cr2: None,
    })
}

/// An IRET that exited had unblocked NMIs already, and will run again (§28.2.3).
fn block_nmis_again(vmcs: Current, exit_reason: u32) {
    let by_iret = match exit_reason {
        reason::EPT_VIOLATION => vmcs.read(Field::QUALIFICATION) & 1 << 12 != 0,
        reason::EXCEPTION_OR_NMI => vmcs.read(Field::EXIT_EVENT) as u32 & event::NMI_UNBLOCKED != 0,
        _ => false,
    };
    if by_iret {
        let state = vmcs.read(Field::INTERRUPTIBILITY);
        vmcs.write(Field::INTERRUPTIBILITY, state | interruptibility::NMI);
    }
}

impl<R> State for Processor<R> {
    fn gpr(&self, index: usize) -> u64 {
        match index {
            4 => self.vmcs.read(Field::RSP),
            _ => self.registers[index & 15],
        }
    }

    fn set_gpr(&mut self, index: usize, value: u64) {
        match index {
            4 => self.vmcs.write(Field::RSP, value),
            _ => self.registers[index & 15] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.vmcs.read(Field::RIP)
    }

    #[inline(always)]
    fn advance_to(&mut self, rip: u64) {
        self.vmcs.with(|vmcs| {
            vmcs.write(Field::RIP, rip);
            let state = vmcs.read(Field::INTERRUPTIBILITY);
            if state & interruptibility::SHADOW != 0 {
                vmcs.write(Field::INTERRUPTIBILITY, state & !interruptibility::SHADOW);
            }
        });
    }

    fn rflags(&self) -> u64 {
        self.vmcs.read(Field::RFLAGS)
    }

    fn set_rflags(&mut self, value: u64) {
        self.vmcs.write(Field::RFLAGS, value);
    }

    #[inline(always)]
    fn next_rip(&self) -> Option<u64> {
        // Every exit that an instruction causes says its length (§28.2.5).
        let (rip, next) = self.vmcs.with(|vmcs| {
            let rip = vmcs.read(Field::RIP);
            (rip, rip.wrapping_add(vmcs.read(Field::INSTRUCTION_LENGTH)))
        });
        // The mode matters only where four gigabytes end.
        Some(match (rip ^ next) >> 32 {
            0 => next,
            _ if self.code_mode() == CodeMode::Bits64 => next,
            _ => next & 0xffff_ffff,
        })
    }

    fn cpl(&self) -> u8 {
        (self.vmcs.read(SegmentField::Ss.rights()) >> rights::DPL_SHIFT) as u8 & 3
    }

    fn code_mode(&self) -> CodeMode {
        self.vmcs.with(|vmcs| {
            let rights = vmcs.read(SegmentField::Cs.rights());
            if rights & rights::LONG != 0 && vmcs.read(Field::EFER) & EFER_LMA != 0 {
                CodeMode::Bits64
            } else if rights & rights::DEFAULT_BIG != 0 {
                CodeMode::Bits32
            } else {
                CodeMode::Bits16
            }
        })
    }

    fn cs_base(&self) -> u64 {
        if self.code_mode() == CodeMode::Bits64 {
            0
        } else {
            self.vmcs.read(SegmentField::Cs.base())
        }
    }

    #[inline(always)]
    fn paging(&self) -> Paging {
        self.vmcs.with(|vmcs| Paging {
            cr0: self.cr0.seen(vmcs.read(Field::CR0)),
            cr3: vmcs.read(Field::CR3),
            cr4: self.cr4.seen(vmcs.read(Field::CR4)),
            efer: vmcs.read(Field::EFER),
        })
    }

    fn inject_exception(&mut self, exception: Exception) {
        match exception {
            Exception::InvalidOpcode => self.inject(event::EXCEPTION, 6, None),
            Exception::GeneralProtection => self.inject(event::EXCEPTION, 13, Some(0)),
            Exception::PageFault {
                error_code,
                address,
            } => {
                self.inject(event::EXCEPTION, 14, Some(error_code));
                if let Some(event) = &mut self.event {
                    event.cr2 = Some(address);
                }
            }
            Exception::MachineCheck => self.inject(event::EXCEPTION, 18, None),
        }
    }
}
