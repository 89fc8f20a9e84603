//! A machine put together: memory, board, processors, and the threads that carry them.

mod exits;
mod growth;

use crate::board::{Board, is_before};
use crate::bus::MachineBus;
use crate::clock::Clock;
use crate::events::Events;
use crate::layout::{Change, PoolPlan};
use crate::legacy_adapter::Wire;
use crate::memory::BusMemory;
use crate::outcome::Outcome;
use crate::processor;
use crate::processors::{ProcessorThread, in_mask};
use crate::vmbus_host::Vmbus;
use devices::{Region, Target};
use hypercall::{CallError, Calls, Pending};
use hypervisor_abi::{
    ABI_VERSION, Access, CONFIG_REFERENCE_TSC, EXTINT_REQUEST, FRAME_SIZE, PAGE_SIZE, RunPage,
};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A live machine, shared by the threads of its processors.
pub struct Machine<C> {
    /// The hypervisor's side.
    pub calls: hypercall::Machine<C>,
    /// Guest RAM.
    pub memory: BusMemory,
    /// The time.
    pub clock: Clock,
    plan: PoolPlan,
    board: Mutex<BoardState>,
    timer_bell: Condvar,
    threads: Vec<ProcessorThread>,
    /// Nothing for test payloads, whose board answers hypercalls.
    pub(crate) vmbus: Option<Vmbus>,
    /// The networks behind cards of the chipset, by the cards' numbers.
    pub(crate) legacy_adapters: Vec<Box<dyn Wire>>,
    /// What happens to it is told here.
    pub(crate) events: Events,
    /// What the processors' threads have to look at before they run on: [`STOP`], [`exits::COUNT`].
    attention: AtomicU32,
    counting: Mutex<()>,
    outcome: Mutex<Option<Outcome>>,
}

/// The machine is to end.
const STOP: u32 = 1;
struct BoardState {
    board: Box<dyn Board>,
    /// What is mapped into the guest.
    applied: Vec<Region>,
    /// Bytes of memory that it got since its start.
    growth: u64,
    /// The line from the 8259s, as the hypervisor was told.
    line: bool,
    /// What the timer thread sleeps until.
    timer_ns: Option<u64>,
}

impl<C: Calls + Sync> Machine<C> {
    /// Creates the machine and its processors, and maps its memory. No processor runs yet, and the
    /// memory holds what it held before; see [`Machine::clear_memory`].
    ///
    /// # Errors
    /// As the hypervisor refuses it.
    pub fn create(
        calls: C,
        memory: BusMemory,
        plan: PoolPlan,
        board: Box<dyn Board>,
        clock: Clock,
        processor_count: usize,
    ) -> Result<Self, CallError> {
        let mapping = memory.0.mapping();
        let config = mapping.control_frame().config();
        config.version.store(ABI_VERSION, Relaxed);
        config
            .processor_count
            .store(processor_count as u32, Relaxed);
        config.tsc_hz.store(clock.tsc_hz, Relaxed);
        config.tsc_epoch.store(clock.epoch, Relaxed);
        config.apic_hz.store(board.apic_hz(), Relaxed);
        config.flags.store(
            if clock.stable {
                CONFIG_REFERENCE_TSC
            } else {
                0
            },
            Relaxed,
        );
        let calls = hypercall::Machine::create(calls, mapping.user_address(0))?;
        let machine = Self {
            calls,
            memory,
            clock,
            plan,
            board: Mutex::new(BoardState {
                board,
                applied: Vec::new(),
                growth: 0,
                line: false,
                timer_ns: None,
            }),
            timer_bell: Condvar::new(),
            threads: (0..processor_count)
                .map(|_| ProcessorThread::default())
                .collect(),
            vmbus: None,
            legacy_adapters: Vec::new(),
            events: Events::default(),
            attention: AtomicU32::new(0),
            counting: Mutex::new(()),
            outcome: Mutex::new(None),
        };
        machine.memory.0.layout().set_growth(0);
        machine.claim()?;
        // What a vmm before this one left in the run pages is not for us.
        let control = machine.memory.0.mapping();
        control.clear(PAGE_SIZE, FRAME_SIZE - PAGE_SIZE);
        machine.apply_layout(&mut machine.lock())?;
        for index in 0..processor_count as u32 {
            machine.calls.create_processor(index, index)?;
        }
        Ok(machine)
    }

    /// Makes every frame that the machine will ever use its own, before anything is written there:
    /// a machine keeps what was mapped once, and another's memory is refused here.
    fn claim(&self) -> Result<(), CallError> {
        let (start, length) = (FRAME_SIZE, self.plan.total - FRAME_SIZE);
        let mapping = self.memory.0.mapping();
        mapping.touch(start, length);
        let address = mapping.user_address(start);
        self.calls.add_memory(address, 0, length, Access::Read)?;
        // No processor exists that could run under the old map.
        self.calls.remove_memory(0, length).map(drop)
    }

    /// Clears RAM and video memory: whoever had the granules before must not be read by the guest.
    pub fn clear_memory(&self) {
        self.memory
            .0
            .mapping()
            .clear(FRAME_SIZE, self.plan.total - FRAME_SIZE);
    }

    /// Runs the machine until it ends, one thread per processor.
    pub fn run(&self) -> Outcome {
        std::thread::scope(|scope| {
            scope.spawn(|| self.serve_deadlines());
            self.serve_vmbus(scope);
            self.serve_legacy_adapters(scope);
            for index in 0..self.threads.len() {
                scope.spawn(move || processor::run(self, index));
            }
        });
        if let Some(vmbus) = &self.vmbus {
            vmbus.bus.power_off();
        }
        let outcome = self
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        outcome.unwrap_or_else(|| Outcome::Failed("all processors ended without a reason".into()))
    }

    /// Ends the machine in the hypervisor, after its run. A machine that is not ended is when its
    /// memory is used again.
    pub fn destroy(&self) {
        if let Err(error) = self.calls.destroy() {
            eprintln!("entente-vmm: can't destroy the machine: {error}");
        }
    }

    /// Ends the machine's run; the first reason counts.
    pub fn stop(&self, outcome: Outcome) {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(outcome);
        self.attention.fetch_or(STOP, SeqCst);
        for index in 0..self.threads.len() {
            self.nudge(index);
        }
        self.timer_bell.notify_all();
        if let Some(vmbus) = &self.vmbus {
            vmbus.wake_all();
        }
        for wire in &self.legacy_adapters {
            wire.doorbell().ring();
        }
    }

    /// Whether the machine is to end.
    pub fn stopping(&self) -> bool {
        self.attention.load(SeqCst) & STOP != 0
    }

    /// Whether there is something to [`attend`](Self::attend) to.
    pub fn needs_attention(&self) -> bool {
        self.attention.load(SeqCst) != 0
    }

    /// The run page of a processor.
    pub fn run_page(&self, index: usize) -> &RunPage {
        self.memory.0.mapping().control_frame().run_page(index)
    }

    /// The thread of a processor.
    pub fn thread(&self, index: usize) -> &ProcessorThread {
        &self.threads[index]
    }

    /// Tells processors what became pending for them.
    pub fn deliver(&self, pending: Pending) {
        for index in in_mask(pending.signal, self.threads.len()) {
            self.kick(index);
        }
        for index in in_mask(pending.wake, self.threads.len()) {
            self.threads[index].wake();
        }
    }

    fn kick(&self, index: usize) {
        self.run_page(index).exit_request.store(1, SeqCst);
        self.threads[index].kick();
    }

    fn nudge(&self, index: usize) {
        self.kick(index);
        self.threads[index].wake();
    }

    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the board, and then does what became due from it before the guest runs on.
    pub fn with_board<R>(&self, f: impl FnOnce(&mut dyn Board, u64, &BusMemory) -> R) -> R {
        let mut state = self.lock();
        let result = f(&mut *state.board, self.clock.now_ns(), &self.memory);
        if !state.board.is_settled(state.line, state.timer_ns) {
            self.settle(&mut state);
        }
        result
    }

    /// Uses guest-physical memory as processor `index` sees it, devices included.
    pub fn with_bus<R>(&self, index: usize, f: impl FnOnce(&mut MachineBus<'_, C>) -> R) -> R {
        let mut state = self.lock();
        let now_ns = self.clock.now_ns();
        let BoardState { board, applied, .. } = &mut *state;
        let mut bus = MachineBus {
            calls: &self.calls,
            memory: &self.memory,
            plan: &self.plan,
            board: &mut **board,
            regions: applied,
            index: index as u32,
            now_ns,
            apic_written: false,
        };
        let result = f(&mut bus);
        let apic_written = bus.apic_written;
        self.settle(&mut state);
        if apic_written {
            self.deliver_shown(self.run_page(index));
        }
        result
    }

    /// Tells processors what a return or a write to the APIC page left in the run page.
    #[inline]
    pub fn deliver_shown(&self, page: &RunPage) {
        let (signal, wake) = (page.signal.load(Relaxed), page.wake.load(Relaxed));
        if signal | wake != 0 {
            self.deliver(Pending { signal, wake });
        }
    }

    /// Does what the board asks for.
    #[inline(never)]
    fn settle(&self, state: &mut BoardState) {
        let outputs = state.board.take_outputs();
        if outputs.layout_changed
            && let Err(error) = self.apply_layout(state)
        {
            self.stop(Outcome::Failed(format!(
                "can't change the memory map: {error}"
            )));
        }
        for message in outputs.messages {
            match self
                .calls
                .assert_interrupt(message.address, message.data.into())
            {
                Ok(pending) => self.deliver(pending),
                Err(error) => self.stop(Outcome::Failed(error.to_string())),
            }
        }
        self.refresh_line(state);
        if outputs.power_off {
            self.stop(Outcome::PoweredOff(state.board.exit_code()));
        } else if outputs.reset {
            self.stop(Outcome::Reset);
        }
        if is_before(state.board.next_deadline_ns(), state.timer_ns) {
            self.timer_bell.notify_one();
        }
    }

    /// Brings the line of the 8259s to the bootstrap processor.
    fn refresh_line(&self, state: &mut BoardState) {
        let line = state.board.interrupt_pending();
        if line != state.line {
            state.line = line;
            let extint = &self.run_page(0).extint;
            if line {
                extint.fetch_or(EXTINT_REQUEST, SeqCst);
                self.nudge(0);
            } else {
                extint.fetch_and(!EXTINT_REQUEST, SeqCst);
            }
        }
    }

    /// The 8259s' vector, when the bootstrap processor takes it. Nothing if the request has gone.
    pub fn acknowledge(&self) -> Option<u8> {
        let mut state = self.lock();
        let vector = state
            .board
            .interrupt_pending()
            .then(|| state.board.acknowledge_interrupt());
        // The hypervisor may have dropped the request when it asked: say it again if it stands.
        state.line = false;
        self.run_page(0).extint.store(0, SeqCst);
        self.settle(&mut state);
        vector
    }

    /// Makes the guest's memory map what the board says. Complete when this returns: no processor
    /// runs under the old one.
    fn apply_layout(&self, state: &mut BoardState) -> Result<(), CallError> {
        let mut wanted = state.board.memory_layout();
        let growth = self.plan.growth().filter(|_| state.growth > 0);
        wanted.extend(growth.map(|(start, _)| Region {
            start,
            length: state.growth,
            target: Target::Ram,
        }));
        let mapping = self.memory.0.mapping();
        let mut old_map = 0;
        for change in self.plan.changes(&state.applied, &wanted) {
            match change {
                Change::Remove { gpa, length } => {
                    old_map |= self.calls.remove_memory(gpa, length)?
                }
                Change::Protect {
                    gpa,
                    length,
                    access,
                } => {
                    old_map |= self.calls.protect_memory(gpa, length, access)?;
                }
                Change::Add {
                    gpa,
                    length,
                    offset,
                    access,
                } => {
                    self.calls
                        .add_memory(mapping.user_address(offset), gpa, length, access)?;
                }
            }
        }
        state.applied = wanted;
        while old_map != 0 && !self.stopping() {
            in_mask(old_map, self.threads.len()).for_each(|index| self.kick(index));
            std::thread::yield_now();
            old_map = self.calls.sync_memory()?;
        }
        Ok(())
    }

    /// The thread of the board's own clocks.
    fn serve_deadlines(&self) {
        hypercall::set_timer_slack(1);
        let mut state = self.lock();
        while !self.stopping() {
            let deadline = state.board.next_deadline_ns();
            let wait = deadline.map_or(Duration::MAX, |ns| self.clock.until_ns(ns));
            if wait.is_zero() {
                let now = self.clock.now_ns();
                state.board.advance(now);
                self.settle(&mut state);
                continue;
            }
            state.timer_ns = deadline;
            state = match deadline {
                Some(_) => {
                    self.timer_bell
                        .wait_timeout(state, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .timer_bell
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests;
