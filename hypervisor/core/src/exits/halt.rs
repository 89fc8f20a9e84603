//! HLT.

use crate::decode::Instruction;
use crate::hal::{Hal, State};
use crate::run::{Next, Run};

const RFLAGS_IF: u64 = 1 << 9;

/// Handles the exit. What wakes the processor is looked at before the next entry.
pub fn handle<H: Hal>(run: &mut Run<'_, H>) -> Next {
    if run.skip(Instruction::Hlt).is_none() {
        return run.invalid_opcode();
    }
    if run.processor.vcpu.rflags() & RFLAGS_IF != 0 {
        run.processor.emulated.halt();
    } else {
        run.processor.emulated.halt_masked();
    }
    Next::Resume
}
