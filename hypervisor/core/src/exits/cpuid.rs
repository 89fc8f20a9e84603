//! CPUID: what the guest's processor is.

use crate::decode::Instruction;
use crate::hal::{Hal, State};
use crate::policy::cpuid::is_constant;
use crate::run::{Next, Run};

/// Answers that never change, as the processor got them first: the one exit that each guest makes all
/// the time, and CPUs need not agree about all of them.
pub struct Answers([Answer; 8]);

#[derive(Clone, Copy)]
struct Answer {
    /// EAX and ECX, as CPUID was asked.
    asked: [u32; 2],
    /// EAX, EBX, ECX, EDX.
    values: [u32; 4],
}

impl Default for Answers {
    fn default() -> Self {
        Self(core::array::from_fn(|place| Answer {
            asked: Answer::nothing(place as u32),
            values: [0; 4],
        }))
    }
}

impl Answer {
    /// What is never asked where `leaf` has its place: a leaf of another place.
    const fn nothing(leaf: u32) -> [u32; 2] {
        [leaf ^ 1, 0]
    }
}

impl Answers {
    /// Where the answer for a leaf is, if it is known.
    #[inline(always)]
    fn place(&mut self, leaf: u32) -> &mut Answer {
        &mut self.0[(leaf & 7) as usize]
    }
}

/// Handles the exit.
#[inline(always)]
pub fn handle<H: Hal>(run: &mut Run<'_, H>) -> Next {
    let Some(next) = run.next_rip(Instruction::Cpuid) else {
        return run.invalid_opcode();
    };
    let vcpu = &run.processor.vcpu;
    let asked = [vcpu.gpr(0) as u32, vcpu.gpr(1) as u32];
    if run.processor.cpuid_answers.place(asked[0]).asked != asked {
        ask(run, asked);
    }
    let [eax, ebx, ecx, edx] = run.processor.cpuid_answers.place(asked[0]).values;
    let vcpu = &mut run.processor.vcpu;
    for (register, value) in [(0, eax), (3, ebx), (1, ecx), (2, edx)] {
        vcpu.set_gpr(register, u64::from(value));
    }
    vcpu.advance_to(next);
    Next::Resume
}

/// Works the answer out and puts it into its place; one that may change counts for this time.
#[inline(never)]
fn ask<H: Hal>(run: &mut Run<'_, H>, asked: [u32; 2]) {
    let context = run.context();
    let processor = &mut *run.processor;
    let [leaf, subleaf] = asked;
    let partition = &run.machine.partition;
    let values = processor
        .emulated
        .cpuid(partition, leaf, subleaf, &context, H::cpuid);
    let asked = match is_constant(leaf) {
        true => asked,
        false => Answer::nothing(leaf),
    };
    *processor.cpuid_answers.place(leaf) = Answer { asked, values };
}
