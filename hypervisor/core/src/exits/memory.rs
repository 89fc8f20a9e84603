//! Accesses that the nested tables refuse: the xAPIC page is ours, all else is the vmm's.

use super::effect;
use crate::decode::{STATUS_FLAGS, decode_apic_access};
use crate::hal::{Gpa, Hal, State};
use crate::run::{Next, Run};
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::{ExitReason, MEMORY_FETCH, MEMORY_PRESENT, MEMORY_WRITE};

/// Handles the exit.
pub fn handle<H: Hal>(
    run: &mut Run<'_, H>,
    address: Gpa,
    write: bool,
    fetch: bool,
    present: bool,
) -> Next {
    if !fetch
        && run.processor.apic_page == Some(address.0 & !0xfff)
        && let Some(next) = apic(run, (address.0 & 0xfff) as u32)
    {
        return next;
    }
    let flag = |on, flag| if on { flag } else { 0 };
    let data = &run.slot.page.data;
    data[0].store(address.0, Relaxed);
    let flags =
        flag(write, MEMORY_WRITE) | flag(fetch, MEMORY_FETCH) | flag(present, MEMORY_PRESENT);
    data[1].store(flags, Relaxed);
    run.leave_with_registers(ExitReason::Memory)
}

/// A register of the xAPIC page. `None`: an instruction that only the vmm's emulator knows; it
/// comes back with `AccessApic`.
fn apic<H: Hal>(run: &mut Run<'_, H>, offset: u32) -> Option<Next> {
    let (machine, memory) = (run.machine, run.hal.memory());
    let tsc = run.hal.tsc();
    let processor = &mut *run.processor;
    let (bytes, count) = processor
        .fetch
        .bytes(&processor.vcpu, |gpa| machine.read_guest(memory, gpa))?;
    let access = decode_apic_access(bytes.get(..count)?, processor.vcpu.code_mode())?;
    let partition = &machine.partition;
    let emulated = &mut processor.emulated;
    let vcpu = &mut processor.vcpu;
    let outcome = access.resolve(
        || emulated.read_apic(partition, offset, tsc),
        |register| vcpu.gpr(usize::from(register)),
    );
    if let Some((register, value)) = outcome.register {
        vcpu.set_gpr(usize::from(register), value);
    }
    if let Some(flags) = outcome.flags {
        vcpu.set_rflags(vcpu.rflags() & !STATUS_FLAGS | flags);
    }
    let next = vcpu.rip().wrapping_add(u64::from(access.length));
    let effect = match outcome.store {
        Some(value) => processor.emulated.write_apic(partition, offset, value, tsc),
        None => crate::effect::Effect::None,
    };
    Some(effect::apply(run, effect, Some(next)))
}
