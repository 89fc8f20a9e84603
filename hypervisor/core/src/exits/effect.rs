//! What a write to an emulated register leaves to do.

use crate::effect::Effect;
use crate::fetch::Words;
use crate::hal::{Cpu, Gpa, Hal, Memory, State, Vcpu};
use crate::hyperv::{Overlay, OverlayKind, ReferenceClock, hypercall};
use crate::run::{Next, Run};
use core::sync::atomic::Ordering::Relaxed;
use hypervisor_abi::ExitReason;

/// Does it, and steps to `next_rip` unless the write turns out to fault.
pub fn apply<H: Hal>(run: &mut Run<'_, H>, effect: Effect, next_rip: Option<u64>) -> Next {
    if let Effect::Efer(value) = effect
        && !run.processor.vcpu.set_efer(value)
    {
        return run.general_protection();
    }
    if let Some(next) = next_rip {
        run.processor.vcpu.advance_to(next);
    }
    run.slot
        .identity
        .store(run.processor.identity().pack(), Relaxed);
    // A write of the task priority by its register must reach the one that CR8 shows.
    let priority = run.processor.emulated.task_priority();
    run.processor.vcpu.set_task_priority(priority);
    match effect {
        Effect::None | Effect::Efer(_) => {}
        Effect::SendIpi(ipi) => {
            if run.machine.send(Some(run.index), &ipi, &mut run.others) {
                run.restart = run.processor.emulated.deliver(&ipi).restart();
                if run.restart.is_some() {
                    return Next::Leave(ExitReason::Interrupted);
                }
            }
        }
        Effect::EndOfInterrupt(vector) => {
            run.slot.page.data[0].store(u64::from(vector), Relaxed);
            return Next::Leave(ExitReason::EndOfInterrupt);
        }
        Effect::Overlay(overlay) => place(run, overlay),
        Effect::ApicPage(page) => run.processor.apic_page = page,
        Effect::Pat(value) => run.processor.vcpu.set_pat(value),
        Effect::TscOffset(offset) => run.processor.vcpu.set_tsc_offset(offset),
        Effect::PredictionBarrier => run.cpu.prediction_barrier(),
        Effect::Crash(parameters) => {
            for (data, value) in run.slot.page.data.iter().zip(parameters) {
                data.store(value, Relaxed);
            }
            return Next::Leave(ExitReason::Crash);
        }
        Effect::Reset => return Next::Leave(ExitReason::Reset),
    }
    Next::Resume
}

/// Moves an overlay. One that finds no page of the pool for its tables stays away; the guest then
/// sees its own memory there, which its drivers notice.
fn place<H: Hal>(run: &mut Run<'_, H>, overlay: Overlay) {
    let memory = run.hal.memory();
    let machine = run.machine;
    let mut shared = machine.shared_overlays.lock();
    let (page, place, writable) = match overlay.kind {
        OverlayKind::Hypercall => {
            fill(memory.page(machine.hypercall_page), |i| {
                hypercall::page_word(H::VENDOR, i)
            });
            (machine.hypercall_page, &mut shared[0], false)
        }
        OverlayKind::ReferenceTsc => {
            let words = ReferenceClock::new(machine.partition.tsc_hz).page();
            fill(memory.page(machine.reference_tsc_page), |i| {
                words.get(i).copied().unwrap_or(0)
            });
            (machine.reference_tsc_page, &mut shared[1], false)
        }
        kind => match run.processor.overlay(kind) {
            Some(own) => (own.page, &mut own.gpa, true),
            None => return,
        },
    };
    let mut map = machine.map.lock();
    if let Some(old) = place.take() {
        map.remove_overlay(memory, Gpa(old));
    }
    if let Some(gpa) = overlay.gpa
        && map.place_overlay(memory, Gpa(gpa), page, writable).is_ok()
    {
        *place = Some(gpa);
    }
    drop(map);
    drop(shared);
    let stale = machine.map_changed() & !(1 << run.index);
    run.others.signal |= stale;
}

fn fill(page: Words, word: impl Fn(usize) -> u64) {
    for (i, place) in page.iter().enumerate() {
        place.store(word(i), Relaxed);
    }
}
