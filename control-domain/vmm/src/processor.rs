//! The loop of one virtual processor: run, answer the exit, run again.

use crate::bus::MachineBus;
use crate::crash;
use crate::emulator::{EmulationError, emulate, emulate_port_string};
use crate::machine::Machine;
use crate::outcome::Outcome;
use hypercall::{Calls, ThreadTimer};
use hypervisor_abi::{
    Completion, EXTINT_VECTOR, ExitReason, IO_IN, IO_STRING, MEMORY_FETCH, MEMORY_WRITE, Registers,
    RunPage,
};
use management::What;
use std::io;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Runs processor `index` on the calling thread until the machine stops.
pub fn run<C: Calls + Sync>(machine: &Machine<C>, index: usize) {
    if let Err(outcome) = Processor::new(machine, index).and_then(|mut processor| processor.run()) {
        machine.stop(outcome);
    }
    machine.count(index);
}

struct Processor<'a, C> {
    machine: &'a Machine<C>,
    index: usize,
    page: &'a RunPage,
    timer: ThreadTimer,
    /// The deadline that the timer is armed for, as a physical counter value.
    armed: u64,
    /// Accesses in a row that the map allows but the hypervisor did not.
    refused: u32,
}

/// How often an access that the map allows is tried again before it is carried out here.
const MOST_RETRIES: u32 = 16;

/// Vector of the exception that an emulated instruction can meet.
const PAGE_FAULT: u64 = 14;

impl<'a, C: Calls + Sync> Processor<'a, C> {
    fn new(machine: &'a Machine<C>, index: usize) -> Result<Self, Outcome> {
        machine.thread(index).enter();
        hypercall::set_timer_slack(1);
        let timer = ThreadTimer::new().map_err(|e| no_timer(&e))?;
        Ok(Self {
            machine,
            index,
            page: machine.run_page(index),
            timer,
            armed: u64::MAX,
            refused: 0,
        })
    }

    fn run(&mut self) -> Result<(), Outcome> {
        let thread = self.machine.thread(self.index);
        loop {
            // In this order: a kick from here on is seen by the hypervisor or ends the run.
            self.page.exit_request.store(0, SeqCst);
            thread.set_in_run(true);
            if self.machine.needs_attention() && !self.machine.attend(self.index) {
                return Ok(());
            }
            let reason = self.machine.calls.run(self.index as u32);
            thread.set_in_run(false);
            let reason =
                reason.map_err(|e| Outcome::Failed(format!("processor {}: {e}", self.index)))?;
            self.machine.deliver_shown(self.page);
            match reason {
                ExitReason::Io => self.port_access()?,
                _ => self.answer(reason)?,
            }
            self.arm_timer(reason == ExitReason::Interrupted)?;
        }
    }

    #[inline(never)]
    fn answer(&mut self, reason: ExitReason) -> Result<(), Outcome> {
        match reason {
            ExitReason::Interrupted => {}
            ExitReason::Halted | ExitReason::WaitForStartup => {
                let deadline = self.page.next_deadline.load(Relaxed);
                let timeout =
                    (deadline != u64::MAX).then(|| self.machine.clock.until_tsc(deadline));
                self.machine.thread(self.index).block(timeout);
            }
            ExitReason::Io => self.port_access()?,
            ExitReason::Memory => self.memory_access()?,
            ExitReason::EndOfInterrupt => {
                let vector = self.data(0) as u8;
                self.machine
                    .with_board(|board, _, _| board.end_of_interrupt(vector));
            }
            ExitReason::ExternalInterrupt => {
                if let Some(vector) = self.machine.acknowledge() {
                    self.page
                        .extint
                        .fetch_or(EXTINT_VECTOR | u32::from(vector), SeqCst);
                }
            }
            ExitReason::Hypercall => {
                let [control, input] = [0, 1].map(|n| self.data(n));
                let status = self.machine.hypercall(self.index, control, input);
                self.complete(Completion::Io, status);
            }
            ExitReason::Shutdown => {
                let registers = describe(&self.page.registers.load());
                return Err(Outcome::TripleFault(format!(
                    "processor {} at {registers}",
                    self.index
                )));
            }
            ExitReason::Reset => return Err(Outcome::Reset),
            ExitReason::Crash => self.report_crash(),
            ExitReason::InvalidState => return Err(self.unexpected("state that can't be entered")),
            ExitReason::Unsupported => return Err(self.unexpected("exit that is not supported")),
            ExitReason::TaskSwitch => return Err(self.task_switch()),
        }
        Ok(())
    }

    /// Keeps the thread's timer at the processor's deadline. After an interrupt, which may have
    /// been the timer's, it is set again: Linux's clock and the counter differ by a few ppm.
    #[inline]
    fn arm_timer(&mut self, again: bool) -> Result<(), Outcome> {
        let deadline = self.page.next_deadline.load(Relaxed);
        if deadline == self.armed && (!again || deadline == u64::MAX) {
            return Ok(());
        }
        self.set_timer(deadline)
    }

    #[cold]
    fn set_timer(&mut self, deadline: u64) -> Result<(), Outcome> {
        self.armed = deadline;
        let delay = (deadline != u64::MAX).then(|| self.machine.clock.until_tsc(deadline));
        self.timer.set(delay).map_err(|e| no_timer(&e))
    }

    fn data(&self, n: usize) -> u64 {
        self.page.data[n].load(Relaxed)
    }

    fn complete(&self, completion: Completion, value: u64) {
        self.page.data[0].store(value, Relaxed);
        self.page.completion.store(completion as u32, Relaxed);
    }

    #[inline]
    fn port_access(&mut self) -> Result<(), Outcome> {
        let (port, size, flags, value) = (
            self.data(0) as u16,
            self.data(1) as u8,
            self.data(2),
            self.data(3),
        );
        if flags & IO_STRING != 0 {
            return self.string_port_access();
        }
        let value = self.machine.with_board(|board, now, memory| {
            if flags & IO_IN != 0 {
                board.port_read(port, size, now, memory)
            } else {
                board.port_write(port, size, value as u32, now, memory);
                0
            }
        });
        self.complete(Completion::Io, value.into());
        Ok(())
    }

    #[cold]
    fn string_port_access(&mut self) -> Result<(), Outcome> {
        self.with_emulator(|registers, bus| {
            emulate_port_string(registers, bus, MachineBus::transfer)
        })
    }

    fn memory_access(&mut self) -> Result<(), Outcome> {
        if self.data(1) & MEMORY_FETCH != 0 {
            return Err(self.unexpected("no memory to execute"));
        }
        let (gpa, write) = (self.data(0), self.data(1) & MEMORY_WRITE != 0);
        if self
            .machine
            .with_bus(self.index, |bus| bus.allows(gpa, write))
        {
            // Another processor changed the map meanwhile: the instruction is simply tried again.
            // An access that is refused all the same is carried out here, and said once.
            self.refused += 1;
            if self.refused < MOST_RETRIES {
                return Ok(());
            }
            if self.refused == MOST_RETRIES {
                eprintln!("entente-vmm: access to {gpa:#x} is refused though the map allows it");
            }
        } else {
            self.refused = 0;
        }
        self.with_emulator(|registers, bus| emulate(registers, bus))
    }

    /// Carries out the instruction at RIP on the registers of the run page.
    fn with_emulator(
        &mut self,
        f: impl FnOnce(&mut Registers, &mut MachineBus<'_, C>) -> Result<(), EmulationError>,
    ) -> Result<(), Outcome> {
        let mut registers = self.page.registers.load();
        let result = self
            .machine
            .with_bus(self.index, |bus| f(&mut registers, bus));
        // Elements of a string instruction may be done even if the rest is not.
        self.page.registers.store(&registers);
        let completion = match result {
            Ok(()) => Completion::Registers,
            Err(EmulationError::PageFault(fault)) => {
                let words = [PAGE_FAULT, fault.error_code.into(), fault.address];
                for (word, value) in self.page.data.iter().zip(words) {
                    word.store(value, Relaxed);
                }
                Completion::Exception
            }
            Err(error) => return Err(self.unexpected(&error.to_string())),
        };
        self.page.completion.store(completion as u32, Relaxed);
        Ok(())
    }

    fn report_crash(&self) {
        let words = [0, 1, 2, 3, 4, 5].map(|n| self.data(n));
        let report = crash::report(self.index, words, &self.machine.memory);
        self.machine.events.tell(What::GuestCrash { report });
    }

    /// Guests that switch tasks by hardware: Linux up to 2.2 at each switch; OS/2, 32-bit Linux and
    /// Windows in their handlers of double faults, Windows in that of NMIs too.
    fn task_switch(&self) -> Outcome {
        let by = match self.data(1) {
            0 => "a far call",
            1 => "a return",
            2 => "a far jump",
            _ => "a task gate",
        };
        let registers = describe(&self.page.registers.load());
        Outcome::Failed(format!(
            "processor {}: the guest has the hardware switch tasks, by {by} to segment {:#x}. Intel's CPUs leave that to \
             software, and there is none for it yet: this guest can go on on an AMD CPU only. At {registers}",
            self.index,
            self.data(0)
        ))
    }

    fn unexpected(&self, what: &str) -> Outcome {
        let data: Vec<_> = (0..5).map(|n| format!("{:#x}", self.data(n))).collect();
        let access = match self.data(1) {
            flags if flags & MEMORY_FETCH != 0 => " (fetch)",
            flags if flags & MEMORY_WRITE != 0 => " (write)",
            _ => "",
        };
        let registers = describe(&self.page.registers.load());
        Outcome::Failed(format!(
            "processor {}: {what}{access}: data {} at {registers}",
            self.index,
            data.join(" ")
        ))
    }
}

fn no_timer(error: &io::Error) -> Outcome {
    Outcome::Failed(format!("can't set a timer for a processor: {error}"))
}

/// The registers that tell where a guest went wrong, on one line.
pub fn describe(r: &Registers) -> String {
    let gpr: Vec<_> = r.gpr.iter().map(|value| format!("{value:x}")).collect();
    format!(
        "cs:rip {:x}:{:x} rflags {:x} cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x} efer {:x} cs base {:x} attributes {:x} gpr {}",
        r.cs.selector,
        r.rip,
        r.rflags,
        r.cr0,
        r.cr2,
        r.cr3,
        r.cr4,
        r.efer,
        r.cs.base,
        r.cs.attributes,
        gpr.join(" ")
    )
}
