//! XSETBV: which extended state the guest uses.

use crate::decode::Instruction;
use crate::hal::{Hal, State, Vcpu};
use crate::run::{Next, Run};

/// Handles the exit.
pub fn handle<H: Hal>(run: &mut Run<'_, H>) -> Next {
    let Some(next) = run.next_rip(Instruction::Xsetbv) else {
        return run.invalid_opcode();
    };
    let processor = &mut *run.processor;
    let value = processor.vcpu.gpr(2) << 32 | processor.vcpu.gpr(0) & 0xffff_ffff;
    if processor.vcpu.cpl() != 0 {
        return run.general_protection();
    }
    match processor
        .emulated
        .xsetbv(processor.vcpu.gpr(1) as u32, value, H::cpuid)
    {
        Ok(xcr0) => {
            processor.vcpu.set_xcr0(xcr0);
            processor.vcpu.advance_to(next);
            Next::Resume
        }
        Err(_) => run.general_protection(),
    }
}
