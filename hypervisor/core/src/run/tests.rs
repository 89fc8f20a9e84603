//! The run loop with guests that do what a test wrote down.

mod apic;
mod completion;
mod instructions;
mod map;
mod races;

use crate::hal::fake::{Caller, FakeVcpu};
use crate::hal::{Exception, Exit};
use hypervisor_abi::{Call, EXTINT_REQUEST, EXTINT_VECTOR, ExitReason, FRAME_SIZE, Handle, Status};
use std::sync::atomic::Ordering::SeqCst;

/// An address and data that send `vector` to the processor with this APIC id.
fn msi(id: u64, vector: u64) -> [u64; 4] {
    [0xfee0_0000 | id << 12, vector, 0, 0]
}

/// A guest's WRMSR.
fn wrmsr(vcpu: &mut FakeVcpu, msr: u32, value: u64) -> Exit {
    (vcpu.gpr[1], vcpu.gpr[0], vcpu.gpr[2]) = (u64::from(msr), value & 0xffff_ffff, value >> 32);
    Exit::WriteMsr
}

/// A machine with `processors` processors that have switched their local APIC on, in x2APIC mode.
fn started(processors: u64) -> (Caller, Handle) {
    let mut c = Caller::alone(600, 8);
    let handle = c.machine(processors);
    let guard = c.find(handle);
    for index in 0..processors {
        let slot = guard.as_deref().unwrap().processor(index).unwrap();
        let mut body = slot.body.lock();
        let startup = |mode| crate::apic::Ipi {
            mode,
            vector: 0x10,
            level: false,
            destination: crate::apic::Destination::Myself,
        };
        if index != 0 {
            let _ = body
                .emulated
                .deliver(&startup(crate::apic::DeliveryMode::StartUp));
        }
        body.vcpu
            .script
            .push_back(Box::new(|v| wrmsr(v, 0x1b, 0xfee0_0d00)));
        body.vcpu
            .script
            .push_back(Box::new(|v| wrmsr(v, 0x80f, 0x1ff)));
    }
    drop(guard);
    for index in 0..processors {
        assert_eq!(c.run(handle, index), Ok(ExitReason::Interrupted));
        assert!(c.with(handle, index, |v| v.exception.is_none()));
    }
    (c, handle)
}

#[test]
fn a_kick_that_comes_before_entry_ends_the_run() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    let page = c.page(handle, 0);
    c.then(handle, 0, |_| Exit::Halt);
    page.exit_request.store(1, SeqCst);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 0, |v| v.script.len()), 1, "not entered");
    assert_eq!(page.exit_request.load(SeqCst), 1, "the vmm clears it");
    page.exit_request.store(0, SeqCst);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted));
}

#[test]
fn a_kick_while_the_guest_runs_ends_the_run_at_its_next_exit() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    let page = c.page(handle, 0);
    c.then(handle, 0, |_| {
        page.exit_request.store(1, SeqCst);
        Exit::Cpuid
    });
    c.then(handle, 0, |_| panic!("entered again"));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
}

#[test]
fn the_state_is_attached_for_a_run_and_no_longer() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    let root = c.find(handle).as_deref().unwrap().root;
    c.then(handle, 0, move |v| {
        assert!(v.attached && v.root == root, "over its machine's tables");
        Exit::Cpuid
    });
    c.run(handle, 0).unwrap();
    assert!(!c.with(handle, 0, |v| v.attached));
}

#[test]
fn whoever_sends_is_told_to_signal_or_wake_and_once_is_enough() {
    let (mut c, handle) = started(1);
    let assert =
        move |c: &mut Caller, vector| c.call(Call::AssertInterrupt, handle, msi(0, vector));
    // With the vmm: it will look.
    assert_eq!(assert(&mut c, 0x40), Ok([0, 0]));
    // Inside: signal, and only once before it looks.
    let mut other = c.sibling();
    c.then(handle, 0, move |v| {
        assert_eq!(v.injected, [0x40]);
        assert_eq!(assert(&mut other, 0x50), Ok([1, 0]));
        assert_eq!(assert(&mut other, 0x51), Ok([0, 0]));
        Exit::Interrupt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    c.with(handle, 0, |v| v.interruptible = false);
    // It takes both, and halts on what the flags hold back: no halt at all.
    c.then(handle, 0, |v| {
        v.registers.rflags |= 1 << 9;
        Exit::Halt
    });
    c.then(handle, 0, |v| {
        assert_eq!(v.window, Some(5));
        Exit::Interrupt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
}

#[test]
fn a_halted_processor_is_woken() {
    let (mut c, handle) = started(1);
    let halt = |v: &mut FakeVcpu| {
        v.registers.rflags |= 1 << 9;
        Exit::Halt
    };
    c.then(handle, 0, halt);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted), "nothing came");
    let woken = c.call(Call::AssertInterrupt, handle, msi(0, 0x61));
    assert_eq!(woken, Ok([0, 1]));
    let again = c.call(Call::AssertInterrupt, handle, msi(0, 0x62));
    assert_eq!(again, Ok([0, 0]), "it is being woken");
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 0, |v| v.injected.clone()), [0x62]);
}

#[test]
fn what_comes_in_while_a_processor_halts_is_not_slept_over() {
    let (mut c, handle) = started(1);
    let mut other = c.sibling();
    c.then(handle, 0, move |v| {
        v.registers.rflags |= 1 << 9;
        let told = other.call(Call::AssertInterrupt, handle, msi(0, 0x70));
        assert_eq!(told, Ok([1, 0]));
        Exit::Halt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted), "not Halted");
    assert_eq!(c.with(handle, 0, |v| v.injected.clone()), [0x70]);
}

#[test]
fn a_halt_with_interrupts_disabled_waits_for_an_nmi() {
    let (mut c, handle) = started(1);
    c.then(handle, 0, |v| {
        v.registers.rflags &= !(1 << 9);
        Exit::Halt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted));
    let page = c.page(handle, 0);
    assert_eq!(page.next_deadline.load(SeqCst), u64::MAX);
    c.call(Call::AssertInterrupt, handle, msi(0, 0x70)).unwrap();
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted));
    let nmi = c.call(Call::AssertInterrupt, handle, msi(0, 4 << 8));
    assert_eq!(nmi, Ok([0, 1]));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 0, |v| v.injected.clone()), [2]);
}

#[test]
fn an_interrupt_of_the_8259s_is_asked_for_when_it_can_be_taken() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    let page = c.page(handle, 0);
    // At reset LINT0 is masked but the APIC is off, so the line goes through.
    page.extint.store(EXTINT_REQUEST, SeqCst);
    c.with(handle, 0, |v| v.interruptible = false);
    c.then(handle, 0, |v| {
        assert_eq!(v.window, Some(15));
        v.interruptible = true;
        Exit::InterruptWindow
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::ExternalInterrupt));
    // The vmm acknowledges; the line falls with it.
    page.extint.store(EXTINT_VECTOR | 0x08, SeqCst);
    c.then(handle, 0, |v| {
        assert_eq!((v.injected.as_slice(), v.window), (&[8][..], None));
        Exit::Interrupt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(page.extint.load(SeqCst), 0, "the vector is used up");
    // A line that stays asserted is asked for again.
    page.extint
        .store(EXTINT_REQUEST | EXTINT_VECTOR | 0x70, SeqCst);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(page.extint.load(SeqCst), EXTINT_REQUEST);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::ExternalInterrupt));
}

#[test]
fn an_interrupt_of_the_8259s_ends_a_halt() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |v| {
        v.registers.rflags |= 1 << 9;
        Exit::Halt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted));
    c.page(handle, 0).extint.store(EXTINT_REQUEST, SeqCst);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::ExternalInterrupt));
}

#[test]
fn each_exit_has_its_reason_and_its_numbers() {
    let other = Exit::Other {
        code: 0x7d,
        info1: 5,
        info2: 6,
    };
    let task_switch = Exit::TaskSwitch {
        selector: 0x28,
        source: 2,
    };
    let rows = [
        (task_switch, ExitReason::TaskSwitch, [0x28, 2, 0]),
        (Exit::Interrupt, ExitReason::Interrupted, [0; 3]),
        (Exit::Shutdown, ExitReason::Shutdown, [0; 3]),
        (Exit::InvalidState, ExitReason::InvalidState, [0; 3]),
        (other, ExitReason::Unsupported, [0x7d, 5, 6]),
        (Exit::Init, ExitReason::Unsupported, [u64::MAX, 0, 0]),
    ];
    for (exit, reason, data) in rows {
        let mut c = Caller::alone(200, 4);
        let handle = c.machine(1);
        c.then(handle, 0, move |v| {
            v.registers.rip = 0x1234;
            exit
        });
        assert_eq!(c.run(handle, 0), Ok(reason));
        let page = c.page(handle, 0);
        assert_eq!(page.reason.load(SeqCst), reason as u32);
        assert_eq!([0, 1, 2].map(|i| page.data[i].load(SeqCst)), data);
        if reason != ExitReason::Interrupted {
            assert_eq!(page.registers.rip.load(SeqCst), 0x1234);
        }
    }
}

#[test]
fn a_machine_check_is_the_control_domains() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |_| Exit::MachineCheck);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.cpu.exception, Some(Exception::MachineCheck));
}

#[test]
fn others_wait_for_their_startup() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(2);
    assert_eq!(c.run(handle, 1), Ok(ExitReason::WaitForStartup));
    let page = c.page(handle, 1);
    assert_eq!(page.next_deadline.load(SeqCst), u64::MAX);
    // INIT, then a start-up message as an MSI can carry it.
    let init = c.call(Call::AssertInterrupt, handle, msi(1, 5 << 8));
    assert_eq!(init, Ok([0, 2]));
    assert_eq!(c.run(handle, 1), Ok(ExitReason::WaitForStartup));
    let startup = c.call(Call::AssertInterrupt, handle, msi(1, 6 << 8 | 0x9f));
    assert_eq!(startup, Ok([0, 2]));
    c.then(handle, 1, |v| {
        assert_eq!(v.registers.rip, 0x9_f000);
        Exit::Interrupt
    });
    assert_eq!(c.run(handle, 1), Ok(ExitReason::Interrupted));
}

#[test]
fn a_running_processor_is_busy_to_all_calls_on_it() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    let mut other = c.sibling();
    c.then(handle, 0, move |_| {
        for (call, arguments) in [
            (Call::Run, [0; 4]),
            (Call::GetState, [0; 4]),
            (Call::SetState, [0; 4]),
            (Call::AccessApic, [0, 0x20, 0, 0]),
            (Call::DestroyMachine, [0; 4]),
        ] {
            let busy = other.call(call, handle, arguments);
            assert_eq!(busy, Err(Status::Busy), "{call:?}");
        }
        // What does not touch the processor goes on.
        let linear = Caller::linear(1);
        let added = other.call(Call::AddMemory, handle, [linear, 0, FRAME_SIZE, 3]);
        assert_eq!(added, Ok([FRAME_SIZE, 0]));
        assert!(
            other
                .call(Call::CreateProcessor, handle, [1, 1, 0, 0])
                .is_ok()
        );
        Exit::Interrupt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
}
