//! RDMSR and WRMSR: local APIC, Hyper-V registers, emulated registers.

use super::effect;
use crate::decode::Instruction;
use crate::hal::{Hal, State};
use crate::run::{Next, Run};

/// RDMSR.
pub fn read<H: Hal>(run: &mut Run<'_, H>) -> Next {
    let Some(next) = run.next_rip(Instruction::Rdmsr) else {
        return run.invalid_opcode();
    };
    let context = run.context();
    let processor = &mut *run.processor;
    let msr = processor.vcpu.gpr(1) as u32;
    match processor
        .emulated
        .rdmsr(&run.machine.partition, msr, &context)
    {
        Ok(value) => {
            processor.vcpu.set_gpr(0, value & 0xffff_ffff);
            processor.vcpu.set_gpr(2, value >> 32);
            processor.vcpu.advance_to(next);
            Next::Resume
        }
        Err(_) => run.general_protection(),
    }
}

/// WRMSR.
pub fn write<H: Hal>(run: &mut Run<'_, H>) -> Next {
    let Some(next) = run.next_rip(Instruction::Wrmsr) else {
        return run.invalid_opcode();
    };
    let context = run.context();
    let processor = &mut *run.processor;
    let msr = processor.vcpu.gpr(1) as u32;
    let value = processor.vcpu.gpr(2) << 32 | processor.vcpu.gpr(0) & 0xffff_ffff;
    match processor
        .emulated
        .wrmsr(&run.machine.partition, msr, value, &context)
    {
        Ok(effect) => effect::apply(run, effect, Some(next)),
        Err(_) => run.general_protection(),
    }
}
