//! A pool that ends in the middle of a call.

use super::add;
use crate::hal::Memory;
use crate::hal::fake::Caller;
use hypervisor_abi::{Call, FRAME_SIZE, PAGE_SIZE, Status};

/// Takes pages out of the pool until `left` are left, does `then`, and gives them back.
fn with_pages<T>(c: &mut Caller, left: usize, then: impl FnOnce(&mut Caller) -> T) -> T {
    let memory = &c.hal.memory;
    let taken: Vec<_> = (left..memory.free_pages())
        .map(|_| memory.allocate_page().unwrap())
        .collect();
    let result = then(c);
    taken.into_iter().for_each(|page| memory.free_page(page));
    result
}

#[test]
fn a_machine_that_finds_too_few_pages_leaves_none_taken() {
    let mut c = Caller::alone(200, 4);
    let free = c.hal.memory.free_pages();
    let mut left = 0;
    loop {
        match with_pages(&mut c, left, |c| c.create(1)) {
            Ok(handle) => {
                c.call(Call::DestroyMachine, handle, [0; 4]).unwrap();
                break;
            }
            Err(status) => assert_eq!(status, Status::OutOfPages),
        }
        assert_eq!(c.hal.memory.free_pages(), free, "with {left} pages left");
        left += 1;
    }
    assert!(left >= 3 && c.hal.memory.free_pages() == free);
    assert!(c.create(1).is_ok(), "the frame is nobody's");
}

#[test]
fn a_processor_that_finds_too_few_pages_leaves_none_taken() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(0);
    let free = c.hal.memory.free_pages();
    let mut left = 0;
    while let Err(status) = with_pages(&mut c, left, |c| {
        c.call(Call::CreateProcessor, handle, [0; 4])
    }) {
        assert_eq!(status, Status::OutOfPages);
        assert_eq!(c.hal.memory.free_pages(), free, "with {left} pages left");
        left += 1;
    }
    assert!(left >= 3);
    assert!(c.run(handle, 0).is_ok());
}

#[test]
fn a_change_that_stops_half_way_says_how_far_it_came() {
    for call in [Call::RemoveMemory, Call::ProtectMemory] {
        let mut c = Caller::alone(200, 4);
        let handle = c.machine(1);
        add(&mut c, handle, 1, 0, 2 * FRAME_SIZE).unwrap();
        let generation = |c: &Caller| {
            let guard = c.find(handle);
            guard
                .as_deref()
                .unwrap()
                .map_generation
                .load(super::Relaxed)
        };
        let before = generation(&c);
        // One whole frame needs no page; the part of the second must be split.
        let half = with_pages(&mut c, 0, |c| {
            c.call(call, handle, [0, FRAME_SIZE + PAGE_SIZE, 1, 0])
        });
        assert_eq!(half, Ok([FRAME_SIZE, 0]), "{call:?}");
        assert!(generation(&c) > before, "processors must hear of it");
        let none = with_pages(&mut c, 0, |c| {
            c.call(call, handle, [FRAME_SIZE, PAGE_SIZE, 1, 0])
        });
        assert_eq!(none, Err(Status::OutOfPages));
        let rest = c.call(call, handle, [FRAME_SIZE, PAGE_SIZE, 1, 0]);
        assert_eq!(rest, Ok([PAGE_SIZE, 0]));
    }
}

#[test]
fn memory_that_finds_no_page_for_its_tables_comes_later() {
    let mut c = Caller::alone(200, 4);
    let handle = c.machine(0);
    let none = with_pages(&mut c, 1, |c| add(c, handle, 1, 0, FRAME_SIZE));
    assert_eq!(none, Err(Status::OutOfPages));
    assert_eq!(add(&mut c, handle, 1, 0, FRAME_SIZE), Ok(FRAME_SIZE));
}
