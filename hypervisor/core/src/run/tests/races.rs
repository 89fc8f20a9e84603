//! Real threads: nothing may be lost between them, whatever the interleaving.

use super::started;
use crate::hal::fake::Caller;
use crate::hal::{Exit, Gpa};
use hypervisor_abi::{Call, ExitReason, FRAME_SIZE};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What takes longer than this is not slow, it is lost.
const LIMIT: Duration = Duration::from_secs(30);

/// A processor halts again and again; another thread sends it one interrupt at a time and does
/// what it is told. A lost wake-up would leave both waiting.
#[test]
fn no_interrupt_is_slept_over() {
    const ROUNDS: u64 = 500;
    let (mut c, handle) = started(1);
    let seen = Arc::new(AtomicU64::new(0));
    let wake = Arc::new(AtomicBool::new(false));
    let mut sender = c.sibling();
    let (its_seen, its_wake) = (seen.clone(), wake.clone());
    let page = c.page(handle, 0);
    let thread = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let sent_at = Instant::now();
            let message = super::msi(0, 0x40);
            let [signal, woken] = sender.call(Call::AssertInterrupt, handle, message).unwrap();
            if signal != 0 {
                page.exit_request.store(1, SeqCst);
            }
            if woken != 0 {
                its_wake.store(true, SeqCst);
            }
            while its_seen.load(SeqCst) == round {
                assert!(sent_at.elapsed() < LIMIT, "lost in round {round}");
                std::thread::yield_now();
            }
        }
    });
    while seen.load(SeqCst) < ROUNDS {
        c.with(handle, 0, |v| {
            v.script.clear();
            v.registers.rflags |= 1 << 9;
        });
        for _ in 0..3 {
            let counter = seen.clone();
            c.then(handle, 0, move |v| {
                if v.injected.is_empty() {
                    return Exit::Halt;
                }
                // The handler: it counts, and ends the interrupt.
                counter.fetch_add(v.injected.len() as u64, SeqCst);
                v.injected.clear();
                super::wrmsr(v, 0x80b, 0)
            });
        }
        match c.run(handle, 0).unwrap() {
            ExitReason::Halted => {
                let halted_at = Instant::now();
                while !wake.swap(false, SeqCst) && seen.load(SeqCst) < ROUNDS {
                    assert!(halted_at.elapsed() < LIMIT, "nobody wakes it");
                    std::thread::yield_now();
                }
            }
            _ => page.exit_request.store(0, SeqCst),
        }
    }
    thread.join().unwrap();
}

/// A guest uses a page; another thread takes the page away and waits until that is complete. From
/// then on no translation that the guest kept may lead there.
#[test]
fn what_was_taken_away_is_out_of_reach_once_the_change_is_complete() {
    const ROUNDS: usize = 500;
    let (mut c, handle) = started(1);
    let mut vmm = c.sibling();
    let removed = Arc::new(AtomicBool::new(false));
    let end = Arc::new(AtomicBool::new(false));
    let uses = Arc::new(AtomicU64::new(0));
    let (its_removed, its_end, its_uses) = (removed.clone(), end.clone(), uses.clone());
    let page = c.page(handle, 0);
    let thread = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let started_at = Instant::now();
            its_removed.store(false, SeqCst);
            let arguments = [Caller::linear(1), 0, FRAME_SIZE, 3];
            vmm.call(Call::AddMemory, handle, arguments).unwrap();
            let before = its_uses.load(SeqCst);
            while round % 8 == 0 && its_uses.load(SeqCst) == before {
                assert!(started_at.elapsed() < LIMIT, "the guest never uses it");
                std::thread::yield_now();
            }
            let arguments = [0, FRAME_SIZE, 0, 0];
            let [done, mut mask] = vmm.call(Call::RemoveMemory, handle, arguments).unwrap();
            assert_eq!(done, FRAME_SIZE);
            while mask != 0 {
                page.exit_request.store(1, SeqCst);
                assert!(started_at.elapsed() < LIMIT, "never complete");
                [mask, _] = vmm.call(Call::SyncMemory, handle, [0; 4]).unwrap();
            }
            its_removed.store(true, SeqCst);
            if round % 16 == 0 {
                std::thread::yield_now();
            }
        }
        its_end.store(true, SeqCst);
    });
    // What a TLB does: keep a translation until the flush.
    let kept = Arc::new(Mutex::new((0, false)));
    while !end.load(SeqCst) {
        for _ in 0..3 {
            let (machines, memory) = (c.machines, c.hal.memory);
            let (kept, removed, uses) = (kept.clone(), removed.clone(), uses.clone());
            c.then(handle, 0, move |v| {
                let mut kept = kept.lock().unwrap();
                if kept.0 != v.flushes {
                    *kept = (v.flushes, false);
                }
                if !kept.1 {
                    let guard = machines.find(handle).unwrap();
                    let map = guard.as_deref().unwrap().map.lock();
                    kept.1 = map.translate(&memory, Gpa(0)).is_some();
                }
                for _ in 0..50 {
                    let reached = kept.1 && removed.load(SeqCst);
                    assert!(!reached, "the guest still reaches the page");
                }
                uses.fetch_add(u64::from(kept.1), SeqCst);
                Exit::Cpuid
            });
        }
        c.run(handle, 0).unwrap();
        c.with(handle, 0, |v| v.script.clear());
        page.exit_request.store(0, SeqCst);
    }
    thread.join().unwrap();
    assert!(uses.load(SeqCst) > 0);
}
