//! How often a machine's processors were left, also while they run.
//!
//! A processor's counters are the hypervisor's, which tells them while it does not run; so its thread asks, before
//! it runs the processor on.

use super::Machine;
use hypercall::Calls;
use hypervisor_abi::StateGroup;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

/// Some processor's exits are asked for.
pub const COUNT: u32 = 2;
/// How long a processor has to say what its exits were.
const TIME_TO_COUNT: Duration = Duration::from_millis(500);

/// What a processor's exits were, since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// All.
    pub all: u64,
    /// Those that the vmm answered.
    pub answered: u64,
    /// Those for interrupts of the control domain.
    pub interrupted: u64,
    /// Interrupts that the guest got.
    pub injected: u64,
}

impl<C: Calls + Sync> Machine<C> {
    /// What each processor's exits were, also while they run; those of one that doesn't answer are older.
    pub fn exits(&self) -> Vec<Exits> {
        let _one_at_a_time = self.counting.lock();
        self.threads.iter().for_each(|thread| thread.ask_to_count());
        self.attention.fetch_or(COUNT, SeqCst);
        let begun = Instant::now();
        let waits = || self.threads.iter().any(|thread| thread.is_asked_to_count());
        (0..self.threads.len()).for_each(|index| self.nudge(index));
        while waits() && !self.stopping() && begun.elapsed() < TIME_TO_COUNT {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.attention.fetch_and(!COUNT, SeqCst);
        self.counted_exits()
    }

    fn counted_exits(&self) -> Vec<Exits> {
        let frame = self.memory.0.mapping().control_frame();
        let counted = (0..self.threads.len()).map(|index| {
            let counted = frame.statistics(index);
            Exits {
                all: counted.exits.load(Relaxed),
                answered: counted.exits_to_vmm.load(Relaxed),
                interrupted: counted.interrupted.load(Relaxed),
                injected: counted.injected.load(Relaxed),
            }
        });
        counted.collect()
    }

    /// What a thread does before it runs its processor on; `false` if it has to end.
    pub fn attend(&self, index: usize) -> bool {
        if self.threads[index].is_asked_to_count() {
            self.count(index);
        }
        !self.stopping()
    }

    /// Takes over the counters of a processor that does not run.
    pub fn count(&self, index: usize) {
        // One that can't be asked has the counts of before.
        let _ = self.calls.get_state(index as u32, StateGroup::Statistics);
        self.threads[index].has_counted();
    }

    /// Says what each processor's exits were, and all together.
    pub fn report_exits(&self) {
        let exits = self.exits();
        for (index, exits) in exits.iter().enumerate() {
            let Exits {
                all,
                answered,
                interrupted,
                injected,
            } = exits;
            eprintln!(
                "entente-vmm: processor {index}: {all} exits, {answered} answered here, {interrupted} by interrupts, {injected} interrupts injected"
            );
        }
        let all: u64 = exits.iter().map(|exits| exits.all).sum();
        eprintln!("entente-vmm: {all} exits of {} processors", exits.len());
    }
}
