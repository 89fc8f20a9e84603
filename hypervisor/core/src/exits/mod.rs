//! What each exit of a guest leads to; one file for each that takes more than a line.

pub mod cpuid;
pub mod effect;
pub mod halt;
pub mod hypercall;
pub mod io;
pub mod memory;
pub mod msr;
pub mod xsetbv;

use crate::decode::Instruction;
use crate::hal::{Exception, Exit, Hal, State};
use crate::run::{Next, Run};
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::{ExitReason, Vendor};

/// Handles an exit.
pub fn handle<H: Hal>(run: &mut Run<'_, H>, exit: Exit) -> Next {
    match exit {
        // Left pending for the control domain, which takes it as soon as we return to it.
        Exit::Interrupt => Next::Leave(ExitReason::Interrupted),
        Exit::InterruptWindow => Next::Resume,
        Exit::MachineCheck => {
            run.cpu.inject_exception(Exception::MachineCheck);
            Next::Leave(ExitReason::Interrupted)
        }
        Exit::Cpuid => cpuid::handle(run),
        Exit::ReadMsr => msr::read(run),
        Exit::WriteMsr => msr::write(run),
        Exit::Hypercall => hypercall::handle(run),
        Exit::Halt => halt::handle(run),
        Exit::SetXcr => xsetbv::handle(run),
        // Guests have no memory that is not coherent with caches.
        Exit::CacheFlush => match run
            .skip(Instruction::Wbinvd)
            .or_else(|| run.skip(Instruction::Invd))
        {
            Some(()) => Next::Resume,
            None => run.invalid_opcode(),
        },
        Exit::Undefined => run.invalid_opcode(),
        Exit::Io {
            port,
            size_bytes,
            input,
            string,
            repeat,
            next_rip,
        } => io::handle(
            run,
            io::Access {
                port,
                size_bytes,
                input,
                string,
                repeat,
                next_rip,
            },
        ),
        Exit::NestedFault {
            address,
            write,
            fetch,
            present,
        } => memory::handle(run, address, write, fetch, present),
        Exit::TaskSwitch { selector, source } => {
            let data = &run.slot.page.data;
            data[0].store(selector.into(), Relaxed);
            data[1].store(source.into(), Relaxed);
            run.leave_with_registers(ExitReason::TaskSwitch)
        }
        Exit::Shutdown => run.leave_with_registers(ExitReason::Shutdown),
        Exit::InvalidState => run.leave_with_registers(ExitReason::InvalidState),
        Exit::Init => unsupported(run, u64::MAX, 0, 0),
        Exit::Other { code, info1, info2 } => unsupported(run, code, info1, info2),
    }
}

fn unsupported<H: Hal>(run: &mut Run<'_, H>, code: u64, info1: u64, info2: u64) -> Next {
    let data = &run.slot.page.data;
    data[0].store(code, Relaxed);
    data[1].store(info1, Relaxed);
    data[2].store(info2, Relaxed);
    run.leave_with_registers(ExitReason::Unsupported)
}

impl<H: Hal> Run<'_, H> {
    /// Address behind the instruction that exited, which must be `expected`.
    #[inline]
    pub fn next_rip(&mut self, expected: Instruction) -> Option<u64> {
        let (machine, memory) = (self.machine, self.hal.memory());
        let processor = &mut *self.processor;
        processor.fetch.next_rip(
            &processor.vcpu,
            expected,
            |gpa| machine.read_guest(memory, gpa),
            |gpa| machine.guest_page(memory, gpa),
        )
    }

    /// Steps over the instruction.
    pub fn skip(&mut self, instruction: Instruction) -> Option<()> {
        let next = self.next_rip(instruction)?;
        self.processor.vcpu.advance_to(next);
        Some(())
    }

    /// #UD for the guest.
    pub fn invalid_opcode(&mut self) -> Next {
        self.processor
            .vcpu
            .inject_exception(Exception::InvalidOpcode);
        Next::Resume
    }

    /// #GP for the guest.
    pub fn general_protection(&mut self) -> Next {
        self.processor
            .vcpu
            .inject_exception(Exception::GeneralProtection);
        Next::Resume
    }

    /// To the vmm, which wants to see all registers.
    pub fn leave_with_registers(&mut self, reason: ExitReason) -> Next {
        self.registers_wanted = true;
        Next::Leave(reason)
    }

    /// The vendor's hypercall instruction.
    pub fn hypercall_instruction() -> Instruction {
        match H::VENDOR {
            Vendor::Svm => Instruction::Vmmcall,
            Vendor::Vmx => Instruction::Vmcall,
        }
    }
}
