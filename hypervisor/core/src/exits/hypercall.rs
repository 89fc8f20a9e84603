//! Hyper-V hypercalls of the guest (TLFS chapter 3).

use crate::hal::{CodeMode, Hal, State};
use crate::processor::HypercallAnswer;
use crate::run::{Next, Owed, Run};
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::ExitReason;

/// Handles the exit.
pub fn handle<H: Hal>(run: &mut Run<'_, H>) -> Next {
    let Some(next) = run.next_rip(Run::<H>::hypercall_instruction()) else {
        return run.invalid_opcode();
    };
    let processor = &mut *run.processor;
    let vcpu = &processor.vcpu;
    let cr0 = vcpu.paging().cr0;
    let answer = processor.emulated.hypercall(
        &run.machine.partition,
        |i| vcpu.gpr(i),
        vcpu.code_mode(),
        vcpu.cpl(),
        cr0,
    );
    match answer {
        HypercallAnswer::InvalidOpcode => run.invalid_opcode(),
        HypercallAnswer::Done(result) => {
            store_result(&mut processor.vcpu, result);
            processor.vcpu.advance_to(next);
            Next::Resume
        }
        HypercallAnswer::ToVmm(input) => {
            for (data, value) in run.slot.page.data.iter().zip(input) {
                data.store(value, Relaxed);
            }
            processor.owed = Owed::Hypercall;
            processor.vcpu.advance_to(next);
            Next::Leave(ExitReason::Hypercall)
        }
    }
}

/// Puts a result value where the caller's mode expects it: RAX, or EDX:EAX.
pub fn store_result(state: &mut impl State, result: u64) {
    if state.code_mode() == CodeMode::Bits64 {
        state.set_gpr(0, result);
    } else {
        state.set_gpr(0, result & 0xffff_ffff);
        state.set_gpr(2, result >> 32);
    }
}
