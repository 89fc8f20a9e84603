//! Life, death and memory of machines, through the registers of a call.

mod model;
mod shortage;

use crate::hal::fake::Caller;
use crate::hal::{Gpa, Hpa};
use crate::machine::MAX_MACHINES;
use hypervisor_abi::{Access, Call, FRAME_SIZE, Handle, PAGE_SIZE, Status};
use std::sync::atomic::Ordering::Relaxed;

const NONE: Handle = Handle(0, 0);

fn add(c: &mut Caller, handle: Handle, frame: usize, gpa: u64, length: u64) -> Result<u64, Status> {
    let arguments = [Caller::linear(frame), gpa, length, Access::Write as u64];
    c.call(Call::AddMemory, handle, arguments)
        .map(|[done, _]| done)
}

fn at(c: &Caller, handle: Handle, gpa: u64) -> Option<Hpa> {
    let guard = c.find(handle);
    let map = guard.as_deref().unwrap().map.lock();
    map.translate(&c.hal.memory, Gpa(gpa))
}

#[test]
fn a_handle_is_right_in_every_bit_or_names_nothing() {
    let mut c = Caller::alone(200, 4);
    let Handle(low, high) = c.machine(1);
    for bit in 0..128 {
        let wrong = match bit {
            0..64 => Handle(low ^ 1 << bit, high),
            _ => Handle(low, high ^ 1 << (bit - 64)),
        };
        for call in [Call::Run, Call::DestroyMachine, Call::SyncMemory] {
            let refused = c.call(call, wrong, [0; 4]);
            assert_eq!(refused, Err(Status::StaleHandle), "bit {bit}, {call:?}");
        }
    }
    assert!(c.call(Call::SyncMemory, Handle(low, high), [0; 4]).is_ok());
}

#[test]
fn a_handle_dies_with_its_machine() {
    let mut c = Caller::alone(200, 4);
    let first = c.machine(1);
    assert!(c.call(Call::DestroyMachine, first, [0; 4]).is_ok());
    let again = c.call(Call::DestroyMachine, first, [0; 4]);
    assert_eq!(again, Err(Status::StaleHandle));
    let second = c.machine(1);
    assert_ne!(first, second);
    let stale = c.call(Call::Run, first, [0; 4]);
    assert_eq!(stale, Err(Status::StaleHandle));
    assert!(c.run(second, 0).is_ok());
}

#[test]
fn no_page_stays_behind_a_machine() {
    let mut c = Caller::alone(400, 4);
    let free = c.hal.memory.free_pages();
    for _ in 0..3 {
        let handle = c.machine(4);
        assert_eq!(add(&mut c, handle, 1, 0, FRAME_SIZE), Ok(FRAME_SIZE));
        assert!(c.hal.memory.free_pages() < free);
        c.call(Call::DestroyMachine, handle, [0; 4]).unwrap();
        assert_eq!(c.hal.memory.free_pages(), free);
    }
}

#[test]
fn only_what_the_caller_may_write_makes_a_machine() {
    let mut c = Caller::alone(200, 4);
    c.configure(1);
    // Present, writable and user, each missing once.
    for rights in [0, 6, 5, 3] {
        c.sees_with(1..2, rights);
        assert_eq!(c.create(1), Err(Status::NotMapped), "rights {rights}");
    }
    c.sees_with(1..2, 7);
    assert!(c.create(1).is_ok());
    for linear in [1, PAGE_SIZE, FRAME_SIZE - 1].map(|o| Caller::linear(2) + o) {
        let odd = c.call(Call::CreateMachine, NONE, [linear, 0, 0, 0]);
        assert_eq!(odd, Err(Status::InvalidArgument));
    }
    for linear in [
        0,
        Caller::linear(40),
        1 << 47,
        1 << 63,
        u64::MAX - (FRAME_SIZE - 1),
    ] {
        let unmapped = c.call(Call::CreateMachine, NONE, [linear, 0, 0, 0]);
        assert_eq!(unmapped, Err(Status::NotMapped), "{linear:#x}");
    }
}

#[test]
fn memory_outside_the_pool_makes_no_machine() {
    let mut c = Caller::alone(200, 4);
    // The caller maps them well; they are just no frames of guests.
    c.sees(4..6);
    let outside = [Caller::linear(4), 0, 0, 0];
    let refused = c.call(Call::CreateMachine, NONE, outside);
    assert_eq!(refused, Err(Status::NotGuestMemory));
    let handle = c.machine(0);
    assert_eq!(
        add(&mut c, handle, 4, 0, PAGE_SIZE),
        Err(Status::NotGuestMemory)
    );
    // What is inside is mapped, what follows is not.
    assert_eq!(add(&mut c, handle, 3, 0, 2 * FRAME_SIZE), Ok(FRAME_SIZE));
}

/// Maps the caller's 4 KiB pages of `frame` to the pages that `target` names.
fn small_pages(c: &Caller, frame: usize, target: impl Fn(u64) -> u64) {
    let linear = Caller::linear(frame);
    let table = c.cpu.cr3 + 0x3000;
    let mut tables = c.hal.memory.control_domain.lock().unwrap();
    tables.insert(c.cpu.cr3 + 0x2000 + (linear >> 21 & 511) * 8, table | 7);
    for page in 0..512 {
        tables.insert(table + page * 8, target(page) | 7);
    }
}

#[test]
fn a_frame_in_small_pages_counts_only_if_they_are_contiguous() {
    let mut c = Caller::alone(200, 4);
    let base = c.hal.memory.frame(1).0;
    small_pages(&c, 1, |page| base + page * PAGE_SIZE);
    assert!(c.create(1).is_ok(), "in order");
    small_pages(&c, 1, |page| base + (page ^ (page & 256) >> 8) * PAGE_SIZE);
    assert_eq!(c.create(1), Err(Status::InvalidArgument), "two exchanged");
    // Contiguous, but across two frames.
    small_pages(&c, 1, |page| base + (page + 1) * PAGE_SIZE);
    assert_eq!(c.create(1), Err(Status::NotGuestMemory));
}

#[test]
fn a_configuration_that_is_not_understood_is_refused() {
    let mut c = Caller::alone(200, 4);
    let memory = c.hal.memory;
    let config = crate::hal::Memory::config(&memory, memory.frame(0)).unwrap();
    let create = |c: &mut Caller| {
        c.call(Call::CreateMachine, NONE, [Caller::linear(0), 0, 0, 0])
            .map(drop)
    };
    let refused = |c: &mut Caller, what: &str| {
        assert_eq!(create(c), Err(Status::UnsupportedConfig), "{what}");
        c.configure(0);
    };
    refused(&mut c, "all zero");
    for version in [0, hypervisor_abi::ABI_VERSION + 1, u32::MAX] {
        config.version.store(version, Relaxed);
        refused(&mut c, "version");
    }
    for count in [0, 65, u32::MAX] {
        config.processor_count.store(count, Relaxed);
        refused(&mut c, "processors");
    }
    for hz in [0, 999_999, (1 << 40) + 1, u64::MAX] {
        config.tsc_hz.store(hz, Relaxed);
        refused(&mut c, "frequency of the TSC");
        config.apic_hz.store(hz, Relaxed);
        refused(&mut c, "frequency of the APIC");
    }
    for flags in [2, 1 << 63] {
        config.flags.store(flags, Relaxed);
        refused(&mut c, "flags");
    }
    assert_eq!(create(&mut c), Ok(()));
}

#[test]
fn there_is_an_end_to_machines() {
    let mut c = Caller::alone(1000, MAX_MACHINES + 1);
    let handles: Vec<_> = (0..MAX_MACHINES).map(|i| c.create(i).unwrap()).collect();
    assert_eq!(c.create(MAX_MACHINES), Err(Status::TooManyMachines));
    c.call(Call::DestroyMachine, handles[7], [0; 4]).unwrap();
    assert!(c.create(MAX_MACHINES).is_ok());
}

#[test]
fn create_over_a_machines_frames_ends_it() {
    let mut c = Caller::alone(400, 6);
    let (dead, other) = (c.create(0).unwrap(), c.create(1).unwrap());
    add(&mut c, dead, 2, 0, FRAME_SIZE).unwrap();
    // Its control frame.
    let heir = c.create(0).unwrap();
    let stale = c.call(Call::SyncMemory, dead, [0; 4]);
    assert_eq!(stale, Err(Status::StaleHandle));
    // A frame of the dead is free now.
    add(&mut c, other, 2, 0, FRAME_SIZE).unwrap();
    // A frame of its memory, by the heir's AddMemory.
    add(&mut c, heir, 2, 0, FRAME_SIZE).unwrap();
    let stale = c.call(Call::SyncMemory, other, [0; 4]);
    assert_eq!(stale, Err(Status::StaleHandle));
    assert!(c.call(Call::SyncMemory, heir, [0; 4]).is_ok());
}

#[test]
fn memory_of_a_machine_inside_its_guest_stays_its_own() {
    let mut c = Caller::alone(400, 6);
    let handle = c.machine(1);
    add(&mut c, handle, 1, 0, FRAME_SIZE).unwrap();
    let rival = c.create(3).unwrap();
    let mut other = c.sibling();
    c.then(handle, 0, move |_| {
        assert_eq!(other.create(0), Err(Status::Owned));
        assert_eq!(other.create(1), Err(Status::Owned));
        let stolen = add(&mut other, rival, 1, 0, FRAME_SIZE);
        assert_eq!(stolen, Err(Status::Owned));
        let ended = other.call(Call::DestroyMachine, handle, [0; 4]);
        assert_eq!(ended, Err(Status::Busy));
        crate::hal::Exit::Interrupt
    });
    c.run(handle, 0).unwrap();
    assert!(c.call(Call::DestroyMachine, handle, [0; 4]).is_ok());
    assert_eq!(add(&mut c, rival, 1, 0, FRAME_SIZE), Ok(FRAME_SIZE));
}

#[test]
fn the_control_frame_never_enters_the_guest() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(0);
    for (offset, length) in [
        (0, FRAME_SIZE),
        (0, PAGE_SIZE),
        (FRAME_SIZE - PAGE_SIZE, PAGE_SIZE),
    ] {
        let arguments = [Caller::linear(0) + offset, 0, length, Access::Read as u64];
        let refused = c.call(Call::AddMemory, handle, arguments);
        assert_eq!(refused, Err(Status::InvalidArgument));
    }
    // Nor by another way to it: frame 0 behind frame 1's linear address.
    c.hal
        .memory
        .map_for_caller(c.cpu.cr3, Caller::linear(1), 0, 1, 7);
    let refused = add(&mut c, handle, 1, 0, FRAME_SIZE);
    assert_eq!(refused, Err(Status::InvalidArgument));
    assert_eq!(at(&c, handle, 0), None);
}

#[test]
fn ranges_are_checked_before_any_frame_changes_hands() {
    let mut c = Caller::alone(400, 6);
    let (handle, other) = (c.create(0).unwrap(), c.create(1).unwrap());
    add(&mut c, other, 2, 0, FRAME_SIZE).unwrap();
    let linear = Caller::linear(2);
    for [linear, gpa, length, access] in [
        [linear + 1, 0, PAGE_SIZE, 3],
        [linear, 1, PAGE_SIZE, 3],
        [linear, 0, 1, 3],
        [linear, 0, 0, 3],
        [linear, 1 << 48, PAGE_SIZE, 3],
        [linear, (1 << 48) - PAGE_SIZE, 2 * PAGE_SIZE, 3],
        [linear, u64::MAX - PAGE_SIZE + 1, PAGE_SIZE, 3],
        [linear, 0, PAGE_SIZE, 0],
        [linear, 0, PAGE_SIZE, 2],
        [linear, 0, PAGE_SIZE, u64::MAX],
    ] {
        let refused = c.call(Call::AddMemory, handle, [linear, gpa, length, access]);
        assert_eq!(
            refused,
            Err(Status::InvalidArgument),
            "{gpa:#x} {length:#x}"
        );
    }
    assert!(c.call(Call::SyncMemory, other, [0; 4]).is_ok(), "it lives");
}

#[test]
fn a_long_range_takes_several_calls() {
    let mut c = Caller::alone(400, 40);
    let handle = c.machine(0);
    let length = 39 * FRAME_SIZE;
    let (mut done, mut calls) = (0, 0);
    while done < length {
        let arguments = [Caller::linear(1) + done, done, length - done, 3];
        let [more, _] = c.call(Call::AddMemory, handle, arguments).unwrap();
        assert!(more > 0 && more <= length - done && more.is_multiple_of(PAGE_SIZE));
        (done, calls) = (done + more, calls + 1);
    }
    assert!(calls > 1, "one call would be too long");
    assert_eq!(at(&c, handle, 0), Some(c.hal.memory.frame(1)));
    let last = Some(Hpa(c.hal.memory.frame(39).0 + 5));
    assert_eq!(at(&c, handle, 38 * FRAME_SIZE + 5), last);
    assert_eq!(at(&c, handle, length), None);
    // And back.
    let mut gone = 0;
    while gone < length {
        let [more, mask] = c
            .call(Call::RemoveMemory, handle, [gone, length - gone, 0, 0])
            .unwrap();
        assert!(more > 0 && mask == 0);
        gone += more;
    }
    assert_eq!(at(&c, handle, 0), None);
}

#[test]
fn what_is_mapped_is_replaced_only_after_removal() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(0);
    add(&mut c, handle, 1, 0, FRAME_SIZE).unwrap();
    for length in [FRAME_SIZE, PAGE_SIZE] {
        assert_eq!(add(&mut c, handle, 2, 0, length), Err(Status::Overlap));
    }
    let removed = c.call(Call::RemoveMemory, handle, [0x5000, PAGE_SIZE, 0, 0]);
    assert_eq!(removed, Ok([PAGE_SIZE, 0]));
    assert_eq!(add(&mut c, handle, 2, 0x5000, PAGE_SIZE), Ok(PAGE_SIZE));
    assert_eq!(at(&c, handle, 0x5000), Some(c.hal.memory.frame(2)));
    let kept = Hpa(c.hal.memory.frame(1).0 + 0x6000);
    assert_eq!(at(&c, handle, 0x6000), Some(kept));
    let hole = c.call(Call::ProtectMemory, handle, [1 << 30, PAGE_SIZE, 1, 0]);
    assert_eq!(hole, Err(Status::NotPresent));
    let odd = c.call(Call::ProtectMemory, handle, [0, PAGE_SIZE, 2, 0]);
    assert_eq!(odd, Err(Status::InvalidArgument));
}

#[test]
fn a_large_page_goes_under_an_overlay_that_came_first() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(0);
    let memory = c.hal.memory;
    let page = crate::hal::Memory::allocate_page(&memory).unwrap();
    let guard = c.find(handle);
    let map = &guard.as_deref().unwrap().map;
    map.lock()
        .place_overlay(&memory, Gpa(0x5000), page, false)
        .unwrap();
    assert_eq!(add(&mut c, handle, 1, 0, FRAME_SIZE), Ok(FRAME_SIZE));
    assert_eq!(at(&c, handle, 0x5000), Some(page));
    assert_eq!(
        at(&c, handle, 0x4000),
        Some(Hpa(memory.frame(1).0 + 0x4000))
    );
    map.lock().remove_overlay(&memory, Gpa(0x5000));
    assert_eq!(
        at(&c, handle, 0x5000),
        Some(Hpa(memory.frame(1).0 + 0x5000))
    );
}

#[test]
fn processors_are_created_once_and_in_their_range() {
    let mut c = Caller::alone(400, 2);
    let handle = c.machine(1);
    let mut create = |index, id| c.call(Call::CreateProcessor, handle, [index, id, 0, 0]);
    assert_eq!(create(0, 0), Err(Status::ProcessorExists));
    assert_eq!(create(63, 7), Ok([0; 2]));
    for (index, id) in [(64, 0), (u64::MAX, 0), (1, 1 << 32)] {
        assert_eq!(create(index, id), Err(Status::InvalidArgument));
    }
    for index in [1, 64, u64::MAX] {
        for call in [
            Call::Run,
            Call::GetState,
            Call::SetState,
            Call::SignalEvent,
            Call::AccessApic,
        ] {
            let missing = c.call(call, handle, [index, 0, 0, 0]);
            assert_eq!(missing, Err(Status::NoProcessor), "{call:?} {index}");
        }
    }
}
