//! Instructions that exit and go on without the vmm.

use super::wrmsr;
use crate::hal::fake::{Caller, FakeVcpu};
use crate::hal::{Exception, Exit};
use hypervisor_abi::{Call, ExitReason};
use std::sync::atomic::Ordering::SeqCst;

/// Plays one exit and answers what the guest is then.
fn after(step: Step) -> (Option<Exception>, u64, [u64; 16]) {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.with(handle, 0, |v| v.registers.rip = 0x100);
    c.then(handle, 0, step);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    c.with(handle, 0, |v| (v.exception, v.registers.rip, v.gpr))
}

/// The exception and the instruction pointer afterwards.
type Outcome = (Option<Exception>, u64);
type Step = fn(&mut FakeVcpu) -> Exit;

const DONE: Outcome = (None, 0x102);
const FAULT: Outcome = (Some(Exception::GeneralProtection), 0x100);

#[test]
fn cpuid_names_the_interface() {
    let (exception, rip, gpr) = after(|v| {
        v.gpr[0] = 0x4000_0001;
        Exit::Cpuid
    });
    assert_eq!((exception, rip), DONE);
    assert_eq!(gpr[0], u64::from(u32::from_le_bytes(*b"Hv#1")));
}

#[test]
fn registers_are_read_and_written_or_fault() {
    let (exception, rip, gpr) = after(|v| {
        v.gpr[1] = 0x1b;
        Exit::ReadMsr
    });
    assert_eq!((exception, rip), DONE);
    assert_eq!((gpr[0], gpr[2]), (0xfee0_0900, 0));
    let rows: [(Step, Outcome); 5] = [
        // VM_HSAVE_PA is nobody's in a guest.
        (|v| wrmsr(v, 0xc001_0117, 0), FAULT),
        (|v| wrmsr(v, 0x277, 0x0006_0006_0006_0006), DONE),
        (|v| wrmsr(v, 0x277, 2), FAULT),
        (|v| wrmsr(v, 0xc000_0080, 1 << 8), DONE),
        (|v| wrmsr(v, 0xc000_0080, 1 << 12), FAULT),
    ];
    for (row, (step, expected)) in rows.into_iter().enumerate() {
        let (exception, rip, _) = after(step);
        assert_eq!((exception, rip), expected, "row {row}");
    }
}

#[test]
fn what_does_not_exist_is_an_invalid_opcode() {
    for step in [(|_| Exit::Undefined) as Step, |_| Exit::Hypercall] {
        let (exception, rip, _) = after(step);
        assert_eq!((exception, rip), (Some(Exception::InvalidOpcode), 0x100));
    }
}

#[test]
fn cache_flushes_do_nothing_and_go_on() {
    let (exception, rip, _) = after(|_| Exit::CacheFlush);
    assert_eq!((exception, rip), DONE);
}

#[test]
fn xsetbv_takes_x87_and_refuses_what_is_not_there() {
    let rows: [(Step, Outcome); 3] = [
        (
            |v| {
                (v.gpr[0], v.gpr[1], v.gpr[2]) = (1, 0, 0);
                Exit::SetXcr
            },
            DONE,
        ),
        (
            |v| {
                (v.gpr[0], v.gpr[1], v.gpr[2]) = (0, 0, 0);
                Exit::SetXcr
            },
            FAULT,
        ),
        (
            |v| {
                (v.gpr[0], v.gpr[1], v.gpr[2]) = (1, 1, 0);
                Exit::SetXcr
            },
            FAULT,
        ),
    ];
    for (row, (step, expected)) in rows.into_iter().enumerate() {
        let (exception, rip, _) = after(step);
        assert_eq!((exception, rip), expected, "row {row}");
    }
}

#[test]
fn crash_and_reset_go_to_the_vmm() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    for i in 0..5u32 {
        c.then(handle, 0, move |v| {
            wrmsr(v, 0x4000_0100 + i, u64::from(i) + 10)
        });
    }
    c.then(handle, 0, |v| wrmsr(v, 0x4000_0105, 1 << 63));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Crash));
    let page = c.page(handle, 0);
    let data = [0, 1, 2, 3, 4, 5].map(|i: usize| page.data[i].load(SeqCst));
    assert_eq!(data, [10, 11, 12, 13, 14, 1 << 63]);
    c.then(handle, 0, |v| wrmsr(v, 0x4000_0003, 1));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Reset));
}

#[test]
fn a_barrier_is_made_where_the_guest_asks_for_it() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |v| wrmsr(v, 0x49, 1));
    c.run(handle, 0).unwrap();
    assert_eq!(c.cpu.barriers, 1);
}

#[test]
fn a_written_time_stamp_counter_moves_the_offset() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |v| wrmsr(v, 0x10, 1_000_000));
    c.run(handle, 0).unwrap();
    let now = c.hal.tsc.load(SeqCst);
    assert_eq!(
        c.with(handle, 0, |v| v.tsc_offset.wrapping_add(now)),
        1_000_000
    );
}

#[test]
fn exits_are_counted_by_who_answered_them() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |_| Exit::Cpuid);
    c.then(handle, 0, |_| Exit::Shutdown);
    c.run(handle, 0).unwrap();
    c.run(handle, 0).unwrap();
    c.call(Call::GetState, handle, [0, 2, 0, 0]).unwrap();
    let offset = hypervisor_abi::state_area_offset(0) as u64;
    let at = crate::hal::Hpa(c.hal.memory.frame(0).0 + offset);
    let words = crate::hal::Memory::guest_page(&c.hal.memory, at).unwrap();
    let counters = [0, 1, 2, 3].map(|i: usize| words[i].load(SeqCst));
    // Two of the three were not the hypervisor's own: shutdown and an interrupt.
    assert_eq!(counters, [3, 1, 1, 0]);
}
