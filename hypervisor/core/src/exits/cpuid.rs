//! CPUID: what the guest's processor is.

use crate::decode::Instruction;
use crate::hal::{Hal, State};
use crate::run::{Next, Run};

/// Handles the exit.
pub fn handle<H: Hal>(run: &mut Run<'_, H>) -> Next {
    let Some(next) = run.next_rip(Instruction::Cpuid) else {
        return run.invalid_opcode();
    };
    let context = run.context();
    let processor = &mut *run.processor;
    let (leaf, subleaf) = (processor.vcpu.gpr(0) as u32, processor.vcpu.gpr(1) as u32);
    let [eax, ebx, ecx, edx] =
        processor
            .emulated
            .cpuid(&run.machine.partition, leaf, subleaf, &context, H::cpuid);
    for (register, value) in [(0, eax), (3, ebx), (1, ecx), (2, edx)] {
        processor.vcpu.set_gpr(register, u64::from(value));
    }
    processor.vcpu.advance_to(next);
    Next::Resume
}
