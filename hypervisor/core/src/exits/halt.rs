//! HLT.

use crate::decode::Instruction;
use crate::hal::Hal;
use crate::run::{Next, Run};

/// Handles the exit. What wakes the processor is looked at before the next entry.
pub fn handle<H: Hal>(run: &mut Run<'_, H>) -> Next {
    if run.skip(Instruction::Hlt).is_none() {
        return run.invalid_opcode();
    }
    run.processor.emulated.halt();
    Next::Resume
}
