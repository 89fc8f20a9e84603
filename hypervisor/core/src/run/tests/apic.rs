//! Interrupts between processors, ends of interrupts, timers.

use super::{msi, started, wrmsr};
use crate::hal::Exit;
use crate::hal::fake::FakeVcpu;
use hypervisor_abi::{Call, ExitReason, Status};
use std::sync::atomic::Ordering::SeqCst;

const X2APIC_EOI: u32 = 0x80b;
const X2APIC_ICR: u32 = 0x830;

#[test]
fn an_ipi_reaches_the_other_processor_and_names_whom_to_tell() {
    let (mut c, handle) = started(2);
    // To a processor that is with the vmm: nobody to tell, no exit.
    c.then(handle, 0, |v| wrmsr(v, X2APIC_ICR, 1 << 32 | 0x80));
    c.then(handle, 0, |_| Exit::Interrupt);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.page(handle, 0).signal.load(SeqCst), 0);
    c.then(handle, 1, |v| {
        assert_eq!(v.injected, [0x80]);
        v.registers.rflags |= 1 << 9;
        wrmsr(v, X2APIC_EOI, 0)
    });
    c.then(handle, 1, |_| Exit::Halt);
    assert_eq!(c.run(handle, 1), Ok(ExitReason::Halted));
    // To one that is blocked: wake it, and before anything else.
    c.then(handle, 0, |v| wrmsr(v, X2APIC_ICR, 1 << 32 | 0x81));
    c.then(handle, 0, |_| panic!("entered before the other was told"));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    let page = c.page(handle, 0);
    assert_eq!((page.signal.load(SeqCst), page.wake.load(SeqCst)), (0, 2));
    // To one that runs: signal it.
    let mut other = c.sibling();
    c.then(handle, 1, move |v| {
        assert_eq!(v.injected, [0x80, 0x81]);
        other.with(handle, 0, |v| v.script.clear());
        other.then(handle, 0, |v| wrmsr(v, X2APIC_ICR, 1 << 32 | 0x82));
        assert_eq!(other.run(handle, 0), Ok(ExitReason::Interrupted));
        let page = other.page(handle, 0);
        assert_eq!((page.signal.load(SeqCst), page.wake.load(SeqCst)), (2, 0));
        Exit::Interrupt
    });
    assert_eq!(c.run(handle, 1), Ok(ExitReason::Interrupted));
}

#[test]
fn the_guest_starts_its_other_processors() {
    let (mut c, handle) = started(1);
    c.call(Call::CreateProcessor, handle, [1, 1, 0, 0]).unwrap();
    assert_eq!(c.run(handle, 1), Ok(ExitReason::WaitForStartup));
    // INIT to all but itself, then start-up at 8000h.
    c.then(handle, 0, |v| wrmsr(v, X2APIC_ICR, 0xc_4500));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.page(handle, 0).wake.load(SeqCst), 2);
    assert_eq!(c.run(handle, 1), Ok(ExitReason::WaitForStartup));
    c.then(handle, 0, |v| wrmsr(v, X2APIC_ICR, 1 << 32 | 0x4608));
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.page(handle, 0).wake.load(SeqCst), 2);
    assert_eq!(c.run(handle, 1), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 1, |v| v.registers.rip), 0x8000);
    // A second start-up message does nothing to one that runs.
    c.then(handle, 0, |v| wrmsr(v, X2APIC_ICR, 1 << 32 | 0x4609));
    c.run(handle, 0).unwrap();
    c.run(handle, 1).unwrap();
    assert_eq!(c.with(handle, 1, |v| v.registers.rip), 0x8000);
}

#[test]
fn an_init_resets_what_lies_in_the_cpu_too() {
    let (mut c, handle) = started(1);
    c.call(Call::CreateProcessor, handle, [1, 1, 0, 0]).unwrap();
    assert_eq!(c.run(handle, 1), Ok(ExitReason::WaitForStartup));
    for message in [0xc_4500, 1 << 32 | 0x4608] {
        c.then(handle, 0, move |v| wrmsr(v, X2APIC_ICR, message));
        c.run(handle, 0).unwrap();
    }
    let mut other = c.sibling();
    c.then(handle, 1, move |v| {
        v.star_in_cpu = [1, 2, 3, 4];
        other.then(handle, 0, |v| wrmsr(v, X2APIC_ICR, 0xc_4500));
        other.run(handle, 0).unwrap();
        Exit::Cpuid
    });
    assert_eq!(c.run(handle, 1), Ok(ExitReason::WaitForStartup));
    let registers = c.with(handle, 1, |v| v.registers);
    assert_eq!((registers.star, registers.rip), ([0; 4], 0xfff0));
}

#[test]
fn the_end_of_a_level_interrupt_is_told_to_the_vmm_once() {
    let (mut c, handle) = started(1);
    let level = [0xfee0_0000, 1 << 15 | 1 << 14 | 0x55, 0, 0];
    c.call(Call::AssertInterrupt, handle, level).unwrap();
    c.then(handle, 0, |v| {
        assert_eq!(v.injected, [0x55]);
        wrmsr(v, X2APIC_EOI, 0)
    });
    c.then(handle, 0, |v| wrmsr(v, X2APIC_EOI, 0));
    c.then(handle, 0, |_| Exit::Interrupt);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::EndOfInterrupt));
    assert_eq!(c.page(handle, 0).data[0].load(SeqCst), 0x55);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
}

#[test]
fn a_guest_that_cannot_take_an_interrupt_exits_when_it_can() {
    let (mut c, handle) = started(1);
    c.call(Call::AssertInterrupt, handle, msi(0, 0x91)).unwrap();
    c.with(handle, 0, |v| v.interruptible = false);
    c.then(handle, 0, |v| {
        assert_eq!((v.window, v.injected.len()), (Some(9), 0));
        v.interruptible = true;
        Exit::InterruptWindow
    });
    c.then(handle, 0, |v| {
        assert_eq!((v.window, v.injected.as_slice()), (None, &[0x91][..]));
        Exit::Interrupt
    });
    c.run(handle, 0).unwrap();
}

#[test]
fn the_task_priority_holds_interrupts_back_until_it_falls() {
    let (mut c, handle) = started(1);
    c.then(handle, 0, |v| {
        v.registers.cr8 = 10;
        Exit::Cpuid
    });
    c.run(handle, 0).unwrap();
    c.call(Call::AssertInterrupt, handle, msi(0, 0x91)).unwrap();
    c.then(handle, 0, |v| {
        assert_eq!((v.window, v.injected.len()), (Some(9), 0));
        v.registers.cr8 = 8;
        Exit::InterruptWindow
    });
    c.then(handle, 0, |v| {
        assert_eq!(v.injected, [0x91]);
        Exit::Interrupt
    });
    c.run(handle, 0).unwrap();
}

#[test]
fn an_nmi_goes_first_and_does_not_nest() {
    let (mut c, handle) = started(1);
    let nmi = [0xfee0_0000, 4 << 8, 0, 0];
    c.call(Call::AssertInterrupt, handle, msi(0, 0x91)).unwrap();
    c.call(Call::AssertInterrupt, handle, nmi).unwrap();
    let mut other = c.sibling();
    c.then(handle, 0, move |v| {
        assert_eq!((v.injected.as_slice(), v.window), (&[2][..], Some(9)));
        other.call(Call::AssertInterrupt, handle, nmi).unwrap();
        v.interruptible = true;
        Exit::InterruptWindow
    });
    c.then(handle, 0, |v| {
        assert_eq!(v.injected, [2, 0x91], "the second waits for IRET");
        v.nmi_masked = false;
        Exit::Cpuid
    });
    c.then(handle, 0, |v| {
        assert_eq!(v.injected, [2, 0x91, 2]);
        Exit::Interrupt
    });
    c.run(handle, 0).unwrap();
}

#[test]
fn the_next_deadline_is_that_of_the_guests_timer() {
    let (mut c, handle) = started(1);
    let now = c.hal.tsc.load(SeqCst);
    let arm = |v: &mut FakeVcpu, count| wrmsr(v, 0x838, count);
    // One shot, vector 0x31, divided by 1.
    c.then(handle, 0, |v| wrmsr(v, 0x83e, 0xb));
    c.then(handle, 0, |v| wrmsr(v, 0x832, 0x31));
    c.then(handle, 0, move |v| arm(v, 5000));
    c.then(handle, 0, |v| {
        v.registers.rflags |= 1 << 9;
        Exit::Halt
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted));
    let deadline = c.page(handle, 0).next_deadline.load(SeqCst);
    assert_eq!(deadline, now + 5000);
    c.hal.tsc.store(deadline - 1, SeqCst);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Halted));
    c.hal.tsc.store(deadline, SeqCst);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 0, |v| v.injected.clone()), [0x31]);
    assert_eq!(c.page(handle, 0).next_deadline.load(SeqCst), u64::MAX);
}

#[test]
fn an_init_to_itself_by_an_emulated_instruction_resets_it_where_it_is() {
    let (mut c, handle) = started(1);
    c.with(handle, 0, |v| v.registers.rip = 0x1234);
    // The interrupt command register's halves, high one first: to APIC 0, INIT.
    for (offset, value) in [(0x310, 0), (0x300, 0x4500)] {
        c.call(Call::AccessApic, handle, [0, offset, value, 1])
            .unwrap();
    }
    // The first processor doesn't wait for start-up.
    assert_eq!(c.with(handle, 0, |v| v.registers.rip), 0xfff0);
}

#[test]
fn the_vmm_reads_and_writes_the_apic_for_its_emulator() {
    let (mut c, handle) = started(2);
    let level = [0xfee0_0000, 1 << 15 | 1 << 14 | 0x55, 0, 0];
    c.call(Call::AssertInterrupt, handle, level).unwrap();
    c.run(handle, 0).unwrap();
    let mut access =
        |offset, value, write| c.call(Call::AccessApic, handle, [0, offset, value, write]);
    assert_eq!(
        access(0xf0, 0, 0),
        Ok([0x1ff, 0]),
        "spurious vector register"
    );
    assert_eq!(access(0x80, 0x30, 1), Ok([0, 0]));
    assert_eq!(access(0x80, 0, 0), Ok([0x30, 0]));
    assert_eq!(
        access(0xb0, 0, 1),
        Ok([0, 1 << 8 | 0x55]),
        "end of interrupt"
    );
    assert_eq!(access(0xb0, 0, 1), Ok([0, 0]), "none in service");
    for offset in [4096, 1 << 32, u64::MAX] {
        assert_eq!(access(offset, 0, 0), Err(Status::InvalidArgument));
        assert_eq!(access(offset, 0, 1), Err(Status::InvalidArgument));
    }
    assert_eq!(c.with(handle, 0, |v| v.registers.cr8), 3, "CR8 follows");
}

#[test]
fn messages_and_events_reach_the_synic() {
    let (mut c, handle) = started(1);
    for (msr, value) in [
        (0x4000_0080, 1),
        (0x4000_0082, 0x6001),
        (0x4000_0083, 0x7001),
        (0x4000_0092, 0x52),
    ] {
        c.then(handle, 0, move |v| wrmsr(v, msr, value));
    }
    c.run(handle, 0).unwrap();
    // A message anywhere in the control frame, across two pages too.
    let offset = hypervisor_abi::SCRATCH_OFFSET as u64 + 4096 - 8;
    let (memory, frame) = (&c.hal.memory, c.hal.memory.frame(0).0);
    let put = |i: u64, value| {
        let at = offset + i * 8;
        let page = crate::hal::Memory::guest_page(memory, crate::hal::Hpa(frame + at)).unwrap();
        page[(at % 4096 / 8) as usize].store(value, SeqCst);
    };
    put(0, 0x10 | 240 << 32);
    put(2, 0xfeed);
    assert_eq!(
        c.call(Call::PostMessage, handle, [0, 2, offset, 0]),
        Ok([0, 0])
    );
    assert_eq!(c.call(Call::SignalEvent, handle, [0, 2, 77, 0]), Ok([0, 0]));
    c.run(handle, 0).unwrap();
    assert_eq!(c.with(handle, 0, |v| v.injected.clone()), [0x52]);
    let guard = c.find(handle);
    let word = |gpa| guard.as_deref().unwrap().read_guest(&c.hal.memory, gpa);
    assert_eq!(word(0x7000 + 0x200), Some(0x10 | 240 << 32));
    assert_eq!(word(0x7000 + 0x210), Some(0xfeed));
    assert_eq!(word(0x6000 + 0x200 + 8), Some(1 << 13), "flag 77");
}

#[test]
fn messages_and_events_that_cannot_be_are_refused() {
    let (mut c, handle) = started(1);
    let end = hypervisor_abi::FRAME_SIZE;
    let offset = hypervisor_abi::SCRATCH_OFFSET as u64;
    let mut post = |a| c.call(Call::PostMessage, handle, a);
    for arguments in [
        [0, 16, offset, 0],
        [0, u64::MAX, offset, 0],
        [0, 2, offset + 4, 0],
        [0, 2, end - 248, 0],
        [0, 2, end, 0],
        [0, 2, u64::MAX - 7, 0],
        // All zero: a message has a type.
        [0, 2, offset, 0],
    ] {
        assert_eq!(
            post(arguments),
            Err(Status::InvalidArgument),
            "{arguments:?}"
        );
    }
    for arguments in [[0, 16, 0, 0], [0, 2, 2048, 0], [0, 2, 1 << 16, 0]] {
        let refused = c.call(Call::SignalEvent, handle, arguments);
        assert_eq!(refused, Err(Status::InvalidArgument), "{arguments:?}");
    }
    // Nobody looks: sixteen wait, the next one is told.
    for _ in 0..16 {
        assert!(c.call(Call::SignalEvent, handle, [0, 2, 1, 0]).is_ok());
    }
    let full = c.call(Call::SignalEvent, handle, [0, 2, 1, 0]);
    assert_eq!(full, Err(Status::Busy));
    c.run(handle, 0).unwrap();
    assert!(c.call(Call::SignalEvent, handle, [0, 2, 1, 0]).is_ok());
}
