//! Taking rights away while processors run.

use super::{started, wrmsr};
use crate::hal::fake::Caller;
use crate::hal::{Exit, Gpa};
use hypervisor_abi::{Call, ExitReason, FRAME_SIZE, Handle, PAGE_SIZE};

fn with_memory() -> (Caller, Handle) {
    let (mut c, handle) = started(2);
    let arguments = [Caller::linear(1), 0, FRAME_SIZE, 3];
    c.call(Call::AddMemory, handle, arguments).unwrap();
    (c, handle)
}

#[test]
fn a_change_is_complete_when_nobody_runs_under_the_old_map() {
    for (call, arguments) in [
        (Call::RemoveMemory, [0, PAGE_SIZE, 0, 0]),
        (Call::ProtectMemory, [0x1000, PAGE_SIZE, 1, 0]),
    ] {
        let (mut c, handle) = with_memory();
        assert!(c.run(handle, 0).is_ok());
        let flushes = c.with(handle, 0, |v| v.flushes);
        let mut other = c.sibling();
        c.then(handle, 0, move |_| {
            // Only processor 0 is inside.
            let changed = other.call(call, handle, arguments);
            assert_eq!(changed, Ok([PAGE_SIZE, 1]));
            let still = other.call(Call::SyncMemory, handle, [0; 4]);
            assert_eq!(still, Ok([1, 0]));
            Exit::Cpuid
        });
        let mut other = c.sibling();
        c.then(handle, 0, move |v| {
            assert_eq!(v.flushes, flushes + 1, "before the next entry");
            let done = other.call(Call::SyncMemory, handle, [0; 4]);
            assert_eq!(done, Ok([0, 0]), "{call:?}");
            Exit::Interrupt
        });
        assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
        assert_eq!(c.with(handle, 0, |v| v.flushes), flushes + 1);
    }
}

#[test]
fn a_processor_with_the_vmm_needs_no_kick_and_comes_back_under_the_new_map() {
    let (mut c, handle) = with_memory();
    c.run(handle, 0).unwrap();
    let flushes = c.with(handle, 0, |v| v.flushes);
    let removed = c.call(Call::RemoveMemory, handle, [0, PAGE_SIZE, 0, 0]);
    assert_eq!(removed, Ok([PAGE_SIZE, 0]));
    c.run(handle, 0).unwrap();
    c.run(handle, 0).unwrap();
    assert_eq!(c.with(handle, 0, |v| v.flushes), flushes + 1, "once");
}

#[test]
fn an_overlay_that_moves_makes_others_drop_the_old_translation() {
    let (mut c, handle) = with_memory();
    // Processor 1's overlays change while processor 0 is inside.
    c.then(handle, 1, |v| wrmsr(v, 0x4000_0083, 0x3001));
    c.then(handle, 1, |_| panic!("others must be told first"));
    let mut other = c.sibling();
    c.then(handle, 0, move |_| {
        let told = other.run(handle, 1);
        assert_eq!(told, Ok(ExitReason::Interrupted));
        let page = other.page(handle, 1);
        assert_eq!(page.signal.load(super::SeqCst), 1);
        Exit::Interrupt
    });
    c.run(handle, 0).unwrap();
    let frame = c.hal.memory.frame(1);
    let at = |c: &Caller, gpa| {
        let guard = c.find(handle);
        let map = guard.as_deref().unwrap().map.lock();
        map.translate(&c.hal.memory, Gpa(gpa))
    };
    assert_ne!(at(&c, 0x3000).unwrap().0, frame.0 + 0x3000, "the overlay");
    c.with(handle, 1, |v| v.script.clear());
    c.then(handle, 1, |v| wrmsr(v, 0x4000_0083, 0x4001));
    c.run(handle, 1).unwrap();
    assert_eq!(at(&c, 0x3000).unwrap().0, frame.0 + 0x3000, "below it");
    assert_ne!(at(&c, 0x4000).unwrap().0, frame.0 + 0x4000);
}

#[test]
fn the_hypercall_page_holds_the_call_and_cannot_be_written() {
    let (mut c, handle) = with_memory();
    c.then(handle, 0, |v| wrmsr(v, 0x4000_0000, 0x8100 << 48));
    c.then(handle, 0, |v| wrmsr(v, 0x4000_0001, 0x5001));
    c.run(handle, 0).unwrap();
    let guard = c.find(handle);
    let machine = guard.as_deref().unwrap();
    // ENDBR64; VMMCALL; RET.
    let code = machine.read_guest(&c.hal.memory, 0x5000).unwrap();
    assert_eq!(code, 0xc3d9_010f_fa1e_0ff3);
    let held = machine.hypercall_page;
    assert_eq!(
        machine.map.lock().translate(&c.hal.memory, Gpa(0x5000)),
        Some(held)
    );
}
