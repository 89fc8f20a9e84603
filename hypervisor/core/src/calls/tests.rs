//! The calls that read and write state, and those that do not exist.

use crate::hal::fake::Caller;
use crate::hal::{CodeMode, Hpa, Memory};
use hypervisor_abi::{
    ABI_VERSION, CALL_SIGNATURE, Call, Handle, Registers, Segment, Status, Vendor,
    state_area_offset,
};
use std::sync::atomic::Ordering::SeqCst;

const NONE: Handle = Handle(0, 0);

#[test]
fn query_needs_no_right_and_names_the_cpu() {
    let c = Caller::alone(200, 4);
    let mut second = Caller::new(c.hal, c.machines, 1);
    let answer = second.call(Call::Query, NONE, [0; 4]);
    let expected = [
        u64::from(ABI_VERSION) | 1 << 32,
        2 | (Vendor::Svm as u64) << 32,
    ];
    assert_eq!(answer, Ok(expected));
}

#[test]
fn what_is_no_call_is_refused_and_leaves_the_registers() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    for rax in [
        0,
        Call::Run as u64,
        CALL_SIGNATURE | u64::from(Call::LAST + 1),
        CALL_SIGNATURE | 0xffff,
        CALL_SIGNATURE ^ 1 << 16,
        CALL_SIGNATURE ^ 1 << 63,
        u64::MAX,
    ] {
        let refused = c.raw(rax, handle, [0; 4]);
        assert_eq!(refused, Err(Status::UnknownCall), "{rax:#x}");
    }
}

#[test]
fn a_caller_outside_64_bit_mode_is_refused() {
    let mut c = Caller::alone(200, 4);
    for mode in [CodeMode::Bits16, CodeMode::Bits32] {
        c.cpu.code_mode = Some(mode);
        let refused = c.call(Call::Query, NONE, [0; 4]);
        assert_eq!(refused, Err(Status::WrongMode));
    }
}

#[test]
fn no_call_but_two_goes_without_a_handle() {
    let mut c = Caller::alone(200, 4);
    c.machine(1);
    for number in 0..=Call::LAST {
        let call = Call::from_number(number).unwrap();
        let free = matches!(call, Call::Query | Call::CreateMachine);
        let answer = c.call(call, NONE, [0; 4]);
        assert_eq!(answer == Err(Status::StaleHandle), !free, "{call:?}");
    }
}

#[test]
fn what_a_machine_took_of_the_pool_is_free_after_its_end() {
    let mut c = Caller::alone(400, 4);
    let watcher = c.machine(1);
    let free = |c: &mut Caller| c.call(Call::FreePages, watcher, [0; 4]).unwrap()[0];
    let before = free(&mut c);
    let other = c.create(1).unwrap();
    c.call(Call::CreateProcessor, other, [0; 4]).unwrap();
    // The root of its tables, and what its processor shows to the guest.
    assert!(free(&mut c) + 4 <= before);
    c.call(Call::DestroyMachine, other, [0; 4]).unwrap();
    assert_eq!(free(&mut c), before);
}

#[test]
fn registers_come_back_as_they_were_set() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(2);
    let mut registers = Registers {
        rip: 0x7c00,
        rflags: 0x202,
        cr3: 0x5000,
        xcr0: 1,
        pat: 0x0007_0406_0007_0406,
        ..Default::default()
    };
    registers.gpr = core::array::from_fn(|i| 0x1111 * i as u64);
    registers.cs = Segment {
        selector: 8,
        attributes: 0xa9b,
        limit: u32::MAX,
        base: 0x1234_5678_9abc,
    };
    let page = c.page(handle, 1);
    page.registers.store(&registers);
    assert_eq!(c.call(Call::SetState, handle, [1, 0, 0, 0]), Ok([0; 2]));
    page.registers.store(&Registers::default());
    assert_eq!(c.call(Call::GetState, handle, [1, 0, 0, 0]), Ok([0; 2]));
    assert_eq!(page.registers.load(), registers);
    // The other processor's stay.
    c.call(Call::GetState, handle, [0, 0, 0, 0]).unwrap();
    assert_ne!(c.page(handle, 0).registers.load().rip, 0x7c00);
    registers.cr8 = 16;
    page.registers.store(&registers);
    let illegal = c.call(Call::SetState, handle, [1, 0, 0, 0]);
    assert_eq!(illegal, Err(Status::InvalidState));
}

#[test]
fn extended_state_goes_through_the_state_area_of_its_processor() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(2);
    let memory = &c.hal.memory;
    let area = |index| {
        let at = memory.frame(0).0 + state_area_offset(index) as u64;
        memory.guest_page(Hpa(at)).unwrap()
    };
    for (i, word) in area(1).iter().enumerate() {
        word.store(0xabc0 + i as u64, SeqCst);
    }
    assert_eq!(c.call(Call::SetState, handle, [1, 1, 0, 0]), Ok([0; 2]));
    area(1).iter().for_each(|word| word.store(0, SeqCst));
    assert_eq!(c.call(Call::GetState, handle, [1, 1, 0, 0]), Ok([0; 2]));
    assert_eq!(area(1)[100].load(SeqCst), 0xabc0 + 100);
    assert_eq!(area(0)[100].load(SeqCst), 0, "not the other's");
}

#[test]
fn groups_that_cannot_be_copied_are_refused() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    for (call, group) in [
        (Call::GetState, 3),
        (Call::GetState, u64::MAX),
        (Call::SetState, 2),
        (Call::SetState, 3),
    ] {
        let refused = c.call(call, handle, [0, group, 0, 0]);
        assert_eq!(refused, Err(Status::InvalidArgument), "{call:?} {group}");
    }
}

#[test]
fn only_messages_to_local_apics_are_interrupts() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(1);
    for [address, data] in [
        [0, 0x40],
        [0xfed0_0000, 0x40],
        [0x1_fee0_0000, 0x40],
        [u64::MAX, 0x40],
        // Reserved delivery mode.
        [0xfee0_0000, 3 << 8],
    ] {
        let refused = c.call(Call::AssertInterrupt, handle, [address, data, 0, 0]);
        assert_eq!(refused, Err(Status::InvalidArgument), "{address:#x}");
    }
    // To an APIC that is not there: nobody to tell.
    let nobody = c.call(Call::AssertInterrupt, handle, [0xfee0_9000, 0x40, 0, 0]);
    assert_eq!(nobody, Ok([0, 0]));
}
