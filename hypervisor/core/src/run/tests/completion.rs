//! What the vmm answers to an exit.

use super::wrmsr;
use crate::hal::fake::Caller;
use crate::hal::{Exception, Exit};
use hypervisor_abi::{
    Completion, ExitReason, Handle, IO_IN, IO_REPEAT, IO_STRING, MEMORY_FETCH, MEMORY_PRESENT,
    MEMORY_WRITE, Status,
};
use std::sync::atomic::Ordering::SeqCst;

fn port(size_bytes: u8, input: bool) -> Exit {
    Exit::Io {
        port: 0x3f8,
        size_bytes,
        input,
        string: false,
        repeat: false,
        next_rip: 0x102,
    }
}

fn data(c: &Caller, handle: Handle) -> [u64; 8] {
    let page = c.page(handle, 0);
    [0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| page.data[i].load(SeqCst))
}

fn complete(c: &Caller, handle: Handle, completion: Completion, value: u64) {
    let page = c.page(handle, 0);
    page.data[0].store(value, SeqCst);
    page.completion.store(completion as u32, SeqCst);
}

#[test]
fn in_fills_as_many_bytes_as_it_is_wide() {
    for (size, expected) in [
        (1, 0x1122_3344_5566_77ff),
        (2, 0x1122_3344_5566_eeff),
        // The upper half is cleared, as by any 32-bit result.
        (4, 0xccdd_eeff),
    ] {
        let mut c = Caller::alone(200, 4);
        let handle = c.machine(1);
        c.then(handle, 0, move |v| {
            v.gpr[0] = 0x1122_3344_5566_7788;
            port(size, true)
        });
        assert_eq!(c.run(handle, 0), Ok(ExitReason::Io));
        assert_eq!(data(&c, handle)[..3], [0x3f8, u64::from(size), IO_IN]);
        complete(&c, handle, Completion::Io, 0x1234_5678_ccdd_eeff);
        assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
        let (rax, rip) = c.with(handle, 0, |v| (v.gpr[0], v.registers.rip));
        assert_eq!((rax, rip), (expected, 0x102), "{size} bytes");
        assert_eq!(c.page(handle, 0).completion.load(SeqCst), 0, "used");
    }
}

#[test]
fn out_shows_as_many_bytes_as_it_is_wide() {
    for (size, expected) in [(1, 0x88), (2, 0x7788), (4, 0x5566_7788)] {
        let mut c = Caller::alone(200, 4);
        let handle = c.machine(1);
        c.then(handle, 0, move |v| {
            v.gpr[0] = 0x1122_3344_5566_7788;
            port(size, false)
        });
        assert_eq!(c.run(handle, 0), Ok(ExitReason::Io));
        assert_eq!(data(&c, handle)[..4], [0x3f8, u64::from(size), 0, expected]);
        // A result that no instruction waits for is nobody's.
        complete(&c, handle, Completion::Io, 5);
        assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
        assert_eq!(c.with(handle, 0, |v| v.gpr[0]), 0x1122_3344_5566_7788);
    }
}

#[test]
fn a_string_access_stays_at_its_instruction_and_shows_registers() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |v| {
        (v.registers.rip, v.gpr[1]) = (0x100, 7);
        Exit::Io {
            port: 0x1f0,
            size_bytes: 2,
            input: true,
            string: true,
            repeat: true,
            next_rip: 0x102,
        }
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Io));
    let shown = data(&c, handle);
    assert_eq!(shown[..3], [0x1f0, 2, IO_IN | IO_STRING | IO_REPEAT]);
    assert_eq!(shown[4], 0x102);
    let page = c.page(handle, 0);
    let mut registers = page.registers.load();
    assert_eq!((registers.rip, registers.gpr[1]), (0x100, 7));
    (registers.rip, registers.gpr[1]) = (0x102, 0);
    page.registers.store(&registers);
    complete(&c, handle, Completion::Registers, 0);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    c.with(handle, 0, |v| {
        assert_eq!((v.registers.rip, v.gpr[1]), (0x102, 0))
    });
}

#[test]
fn an_unknown_completion_is_refused_and_the_right_one_still_taken() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |_| port(1, true));
    c.run(handle, 0).unwrap();
    let page = c.page(handle, 0);
    for number in [4, u32::MAX] {
        page.completion.store(number, SeqCst);
        assert_eq!(c.run(handle, 0), Err(Status::InvalidArgument));
    }
    complete(&c, handle, Completion::Io, 0x5a);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 0, |v| v.gpr[0]), 0x5a);
}

#[test]
fn a_page_fault_is_raised_with_the_registers_of_the_elements_before_it() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |v| {
        v.registers.rip = 0x100;
        Exit::NestedFault {
            address: crate::hal::Gpa(0xa_0000),
            write: false,
            fetch: false,
            present: false,
        }
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Memory));
    let page = c.page(handle, 0);
    page.registers.gpr[1].store(2, SeqCst);
    page.data[1].store(2, SeqCst);
    page.data[2].store(0x7000_0000_1000, SeqCst);
    // No other exception, and no error code that has no register.
    complete(&c, handle, Completion::Exception, 13);
    assert_eq!(c.run(handle, 0), Err(Status::InvalidArgument));
    page.data[1].store(1 << 32, SeqCst);
    complete(&c, handle, Completion::Exception, 14);
    assert_eq!(c.run(handle, 0), Err(Status::InvalidArgument));
    assert_eq!(c.with(handle, 0, |v| v.exception), None);
    page.data[1].store(2, SeqCst);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    let expected = Exception::PageFault {
        error_code: 2,
        address: 0x7000_0000_1000,
    };
    c.with(handle, 0, |v| {
        assert_eq!(v.exception, Some(expected));
        assert_eq!((v.registers.rip, v.gpr[1]), (0x100, 2));
    });
    assert_eq!(page.completion.load(SeqCst), 0, "used");
}

#[test]
fn registers_that_are_no_state_are_refused_and_nothing_is_lost() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |_| port(1, true));
    c.run(handle, 0).unwrap();
    let page = c.page(handle, 0);
    page.registers.cr8.store(16, SeqCst);
    page.completion.store(Completion::Registers as u32, SeqCst);
    assert_eq!(c.run(handle, 0), Err(Status::InvalidState));
    complete(&c, handle, Completion::Io, 0x5a);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 0, |v| v.gpr[0]), 0x5a);
}

#[test]
fn a_result_that_did_not_come_never_lands_in_a_later_instruction() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |_| port(1, true));
    c.then(handle, 0, |v| {
        v.gpr[0] = 0x77;
        port(1, false)
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Io));
    // No completion: "go on".
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Io));
    complete(&c, handle, Completion::Io, 0x5a);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    assert_eq!(c.with(handle, 0, |v| v.gpr[0]), 0x77);
}

#[test]
fn a_refused_access_names_the_address_and_its_kind() {
    for (write, fetch, present, flags) in [
        (false, false, false, 0),
        (true, false, true, MEMORY_WRITE | MEMORY_PRESENT),
        (false, true, false, MEMORY_FETCH),
    ] {
        let mut c = Caller::alone(200, 4);
        let handle = c.machine(1);
        c.then(handle, 0, move |v| {
            v.registers.rip = 0x10;
            Exit::NestedFault {
                address: crate::hal::Gpa(0xa_0123),
                write,
                fetch,
                present,
            }
        });
        assert_eq!(c.run(handle, 0), Ok(ExitReason::Memory));
        assert_eq!(data(&c, handle)[..2], [0xa_0123, flags]);
        assert_eq!(c.page(handle, 0).registers.rip.load(SeqCst), 0x10);
        assert_eq!(c.with(handle, 0, |v| v.registers.rip), 0x10);
    }
}

#[test]
fn a_hypercall_for_the_vmm_gets_its_result() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    c.then(handle, 0, |v| wrmsr(v, 0x4000_0000, 0x8100 << 48));
    c.then(handle, 0, |v| wrmsr(v, 0x4000_0001, 0x5001));
    // HvPostMessage: input value, input parameter, output parameter.
    c.then(handle, 0, |v| {
        v.registers.rip = 0x20;
        (v.gpr[1], v.gpr[2], v.gpr[8]) = (0x5c, 0x6000, 0x7000);
        Exit::Hypercall
    });
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Hypercall));
    assert_eq!(data(&c, handle)[..3], [0x5c, 0x6000, 0x7000]);
    complete(&c, handle, Completion::Io, 0x1_0000_0005);
    assert_eq!(c.run(handle, 0), Ok(ExitReason::Interrupted));
    let (rax, rip) = c.with(handle, 0, |v| (v.gpr[0], v.registers.rip));
    assert_eq!((rax, rip), (0x1_0000_0005, 0x22));
}
