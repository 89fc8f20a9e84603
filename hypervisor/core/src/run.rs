//! The run loop: from the vmm's `Run` call to its return.
//!
//! It is short on purpose. Before each entry it looks at what others left, at the clock and at what
//! can be injected; after each exit it does what [`crate::exits`] says: go on, or leave to the vmm.

use crate::apic::Identity;
use crate::exits;
use crate::fetch::Fetch;
use crate::hal::{Exception, Hal, Hpa, Memory, State, Vcpu};
use crate::hyperv::OverlayKind;
use crate::inbox::{Item, Notice, Whereabouts};
use crate::machine::{Machine, Others, ProcessorSlot};
use crate::processor::{Activity, Context, VirtualProcessor};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use hypervisor_abi::{Completion, EXTINT_REQUEST, EXTINT_VECTOR, ExitReason, RunPage, Status};

/// Vector of the page fault.
const PAGE_FAULT: u64 = 14;

/// A virtual processor. What every run looks at lies first, close together.
#[repr(C)]
pub struct Processor<H: Hal> {
    /// Registers and world switch.
    pub vcpu: H::Vcpu,
    /// Where the last intercepted instruction lay.
    pub fetch: Fetch,
    /// What CPUID told it.
    pub cpuid_answers: exits::cpuid::Answers,
    /// Its overlay pages: messages, events, assist.
    overlays: [OverlayPage; 3],
    /// Guest-physical page of the xAPIC registers, if any.
    pub apic_page: Option<u64>,
    /// `IN` and hypercalls: which result the vmm owes.
    pub owed: Owed,
    /// The inbox holds notices that the SynIC has no room for yet.
    notices_wait: bool,
    /// Counters.
    pub counters: Counters,
    /// Local APIC, Hyper-V registers, emulated registers.
    pub emulated: VirtualProcessor,
}

/// An overlay page of a processor and where it lies.
#[derive(Clone, Copy)]
pub struct OverlayPage {
    /// The page.
    pub page: Hpa,
    /// Its place in the guest.
    pub gpa: Option<u64>,
}

/// What [`Completion::Io`] completes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owed {
    /// Nothing.
    #[default]
    Nothing,
    /// The low bytes of RAX after `IN`.
    In {
        /// 1, 2 or 4.
        size_bytes: u8,
    },
    /// The result of a Hyper-V hypercall.
    Hypercall,
}

/// Counters since creation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Exits.
    pub exits: u64,
    /// Answered by the vmm.
    pub exits_to_vmm: u64,
    /// Ended for the control domain's interrupts.
    pub interrupted: u64,
    /// Interrupts injected.
    pub injected: u64,
}

/// What an exit leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Enter again.
    Resume,
    /// Return to the vmm.
    Leave(ExitReason),
}

/// Everything an exit may need.
pub struct Run<'a, H: Hal> {
    /// The machine below everything.
    pub hal: &'static H,
    /// The CPU that this happens on.
    pub cpu: &'a mut H::Cpu,
    /// The guest.
    pub machine: &'a Machine<H>,
    /// What others may see of the processor.
    pub slot: &'a ProcessorSlot<H>,
    /// Its index.
    pub index: usize,
    /// The processor.
    pub processor: &'a mut Processor<H>,
    /// Kicks and wakes that the vmm owes others.
    pub others: Others,
    /// The vmm is to see the registers: after the guest was detached, for half of them are in the CPU
    /// while it is attached.
    pub registers_wanted: bool,
    /// INIT (`None`) or a start-up vector reached the processor: its registers are reset, for the same
    /// reason after the guest was detached.
    pub restart: Option<Option<u8>>,
}

impl<H: Hal> Processor<H> {
    /// Processor `index` of `machine`, at power-on.
    pub fn new(hal: &'static H, machine: &Machine<H>, index: usize, apic_id: u32) -> Option<Self> {
        let memory = hal.memory();
        let mut pages = [None; 3];
        for page in &mut pages {
            *page = memory.allocate_page();
        }
        let [Some(messages), Some(events), Some(assist)] = pages else {
            pages
                .into_iter()
                .flatten()
                .for_each(|page| memory.free_page(page));
            return None;
        };
        let partition = &machine.partition;
        let emulated = VirtualProcessor::new(
            partition,
            index as u32,
            apic_id,
            memory.page(messages),
            memory.page(events),
            memory.page(assist),
        );
        let Some(vcpu) = hal.new_vcpu(machine.root, emulated.tsc_offset(partition)) else {
            [messages, events, assist]
                .into_iter()
                .for_each(|page| memory.free_page(page));
            return None;
        };
        Some(Self {
            vcpu,
            emulated,
            fetch: Fetch::default(),
            cpuid_answers: exits::cpuid::Answers::default(),
            overlays: [messages, events, assist].map(|page| OverlayPage { page, gpa: None }),
            apic_page: Some(0xfee0_0000),
            owed: Owed::Nothing,
            notices_wait: false,
            counters: Counters::default(),
        })
    }

    /// Its pages, which whoever drops it gives back.
    pub fn pages(&self) -> [Hpa; 3] {
        self.overlays.map(|overlay| overlay.page)
    }

    /// What senders must know of its local APIC.
    pub fn identity(&self) -> Identity {
        self.emulated.identity()
    }

    /// One of its own overlays; `None` for those of the machine.
    pub fn overlay(&mut self, kind: OverlayKind) -> Option<&mut OverlayPage> {
        self.overlays.get_mut(match kind {
            OverlayKind::Messages => 0,
            OverlayKind::Events => 1,
            OverlayKind::Assist => 2,
            OverlayKind::Hypercall | OverlayKind::ReferenceTsc => return None,
        })
    }
}

/// Runs processor `index` of `machine` on this CPU until the vmm must do something.
pub fn run<H: Hal>(
    hal: &'static H,
    cpu: &mut H::Cpu,
    machine: &Machine<H>,
    index: u64,
) -> Result<ExitReason, Status> {
    let slot = machine.processor(index)?;
    let mut body = slot.body.try_lock().ok_or(Status::Busy)?;
    let processor = &mut *body;
    complete(hal, machine, processor, slot.page)?;
    let mut run = Run {
        hal,
        cpu,
        machine,
        slot,
        index: index as usize,
        processor,
        others: Others::default(),
        registers_wanted: false,
        restart: None,
    };
    slot.inbox.set_whereabouts(Whereabouts::Running);
    let reason = loop {
        run.processor.fetch.forget();
        run.processor.vcpu.attach(run.cpu);
        let reason = run.until_leave();
        run.processor.vcpu.detach(run.cpu);
        match run.restart.take() {
            Some(startup) => run.processor.vcpu.reset(startup),
            None => break reason,
        }
    };
    if run.registers_wanted {
        slot.page.registers.store(&run.processor.vcpu.registers());
    }
    run.publish(reason);
    Ok(reason)
}

/// Uses the vmm's answer to the last exit.
fn complete<H: Hal>(
    hal: &H,
    machine: &Machine<H>,
    processor: &mut Processor<H>,
    page: &RunPage,
) -> Result<(), Status> {
    let completion = Completion::from_number(page.completion.load(Relaxed));
    match (completion.ok_or(Status::InvalidArgument)?, processor.owed) {
        (Completion::Io, Owed::In { size_bytes }) => {
            let mask = (1u64 << (8 * u32::from(size_bytes))) - 1;
            let value = page.data[0].load(Relaxed) & mask;
            // A 32-bit result clears the upper half, smaller ones keep it.
            let kept = if size_bytes == 4 {
                0
            } else {
                processor.vcpu.gpr(0) & !mask
            };
            processor.vcpu.set_gpr(0, kept | value);
        }
        (Completion::Io, Owed::Hypercall) => {
            exits::hypercall::store_result(&mut processor.vcpu, page.data[0].load(Relaxed));
        }
        (Completion::Registers, _) => {
            processor.set_registers(hal.memory(), machine, &page.registers.load())?;
        }
        (Completion::Exception, _) => {
            let [vector, error_code, address] =
                [0, 1, 2].map(|n: usize| page.data[n].load(Relaxed));
            let (PAGE_FAULT, Ok(error_code)) = (vector, u32::try_from(error_code)) else {
                return Err(Status::InvalidArgument);
            };
            processor.set_registers(hal.memory(), machine, &page.registers.load())?;
            processor.vcpu.inject_exception(Exception::PageFault {
                error_code,
                address,
            });
        }
        (Completion::Io, Owed::Nothing) | (Completion::None, _) => {}
    }
    // A result that did not come now never comes: it must not land in a later instruction.
    processor.owed = Owed::Nothing;
    if completion != Some(Completion::None) {
        page.completion.store(Completion::None as u32, Relaxed);
    }
    Ok(())
}

impl<H: Hal> Run<'_, H> {
    #[inline(always)]
    fn until_leave(&mut self) -> ExitReason {
        loop {
            if let Some(reason) = self.before_entry() {
                return reason;
            }
            let exit = self.processor.vcpu.enter(self.cpu);
            let exits = &mut self.processor.counters.exits;
            *exits = exits.wrapping_add(1);
            self.processor
                .emulated
                .set_task_priority(self.processor.vcpu.task_priority());
            let hal = self.hal;
            self.processor
                .emulated
                .take_offered_end(&self.machine.partition, || hal.tsc());
            match exits::handle(self, exit) {
                Next::Resume => {}
                Next::Leave(reason) => return reason,
            }
        }
    }

    /// All that must be looked at between two entries. `Some`: don't enter.
    fn before_entry(&mut self) -> Option<ExitReason> {
        let room = self.processor.notices_wait && self.processor.emulated.has_message_room();
        if room || self.slot.inbox.is_pending() {
            self.take_inbox();
            if self.restart.is_some() {
                return Some(ExitReason::Interrupted);
            }
        }
        if self.others != Others::default() || self.slot.page.exit_request.load(SeqCst) != 0 {
            return Some(ExitReason::Interrupted);
        }
        let generation = self.machine.map_generation.load(SeqCst);
        if self.slot.entered_generation.swap(generation, SeqCst) != generation {
            self.processor.vcpu.flush_translations();
            self.processor.fetch.forget();
        }
        let extint = self.slot.page.extint.load(Relaxed);
        let processor = &mut *self.processor;
        processor
            .emulated
            .poll(&self.machine.partition, self.hal.tsc());
        if processor.emulated.activity() != Activity::Running {
            let woken_by_pic = extint & EXTINT_REQUEST != 0 && processor.emulated.accepts_extint();
            if processor.emulated.activity() == Activity::Halted && woken_by_pic {
                processor.emulated.resume();
            } else {
                return self.block();
            }
        }
        self.inject(extint)
    }

    /// The processor does not execute: say so, and look once more.
    fn block(&mut self) -> Option<ExitReason> {
        let reason = match self.processor.emulated.activity() {
            Activity::WaitForStartup => ExitReason::WaitForStartup,
            _ => ExitReason::Halted,
        };
        self.slot.inbox.set_whereabouts(Whereabouts::Blocked);
        if self.slot.inbox.is_pending() {
            self.slot.inbox.set_whereabouts(Whereabouts::Running);
            return Some(ExitReason::Interrupted);
        }
        Some(reason)
    }

    /// Injects what can be, and asks for a window for what can't.
    fn inject(&mut self, extint: u32) -> Option<ExitReason> {
        let Processor {
            vcpu,
            emulated,
            counters,
            ..
        } = &mut *self.processor;
        if emulated.nmi_pending() && vcpu.inject_nmi() {
            emulated.take_nmi();
        }
        let from_pic = extint & (EXTINT_REQUEST | EXTINT_VECTOR) != 0 && emulated.accepts_extint();
        if from_pic {
            if !vcpu.interruptible() {
                vcpu.request_window(Some(15));
                return None;
            }
            if extint & EXTINT_VECTOR == 0 {
                return Some(ExitReason::ExternalInterrupt);
            }
            self.slot
                .page
                .extint
                .fetch_and(!(EXTINT_VECTOR | 0xff), SeqCst);
            vcpu.inject_interrupt(extint as u8);
            counters.injected += 1;
            vcpu.request_window(emulated.pending_interrupt().map(|vector| vector >> 4));
            return None;
        }
        if !emulated.has_requests() {
            vcpu.request_window(None);
            return None;
        }
        emulated.withdraw_end();
        let mut waiting = emulated.pending_interrupt();
        if waiting.is_some()
            && vcpu.interruptible()
            && let Some(vector) = emulated.acknowledge()
        {
            vcpu.inject_interrupt(vector);
            counters.injected += 1;
            emulated.offer_end();
            waiting = emulated.pending_interrupt();
        }
        vcpu.request_window(
            waiting
                .or_else(|| emulated.blocked_by_task_priority())
                .map(|vector| vector >> 4),
        );
        None
    }

    fn take_inbox(&mut self) {
        let Processor {
            emulated,
            notices_wait,
            ..
        } = &mut *self.processor;
        let restart = &mut self.restart;
        let all_taken = self.slot.inbox.drain(|item| {
            match item {
                // The last one counts: a start-up message comes after its INIT.
                Item::Interrupt(ipi) => *restart = emulated.deliver(&ipi).restart().or(*restart),
                Item::Notice(Notice::Event { sint, flag }) => {
                    emulated.signal_event(sint, flag);
                }
                // The vmm was told that the message is on its way: it waits for room.
                Item::Notice(Notice::Message { .. }) if !emulated.has_message_room() => {
                    return false;
                }
                Item::Notice(Notice::Message { sint, message }) => {
                    // With room there is no error but a source out of range, checked by the call.
                    let _ = emulated.post_message(sint, &message);
                }
            }
            true
        });
        *notices_wait = !all_taken;
        self.slot
            .identity
            .store(self.processor.identity().pack(), Relaxed);
    }

    /// What an instruction depends on.
    pub fn context(&self) -> Context {
        let vcpu = &self.processor.vcpu;
        Context {
            tsc: self.hal.tsc(),
            cr4: vcpu.paging().cr4,
            xcr0: vcpu.xcr0(),
            efer: vcpu.efer(),
        }
    }

    /// The last words before the vmm has the processor again.
    fn publish(&mut self, reason: ExitReason) {
        let page = self.slot.page;
        let deadline = self
            .processor
            .emulated
            .next_deadline(&self.machine.partition);
        page.next_deadline
            .store(deadline.unwrap_or(u64::MAX), Relaxed);
        page.signal.store(self.others.signal, Relaxed);
        page.wake.store(self.others.wake, Relaxed);
        page.reason.store(reason as u32, Relaxed);
        let counters = &mut self.processor.counters;
        let counter = match reason {
            ExitReason::Interrupted => &mut counters.interrupted,
            _ => &mut counters.exits_to_vmm,
        };
        *counter = counter.wrapping_add(1);
        if !matches!(reason, ExitReason::Halted | ExitReason::WaitForStartup) {
            self.slot.inbox.set_whereabouts(Whereabouts::Vmm);
        }
    }
}

#[cfg(test)]
mod tests;
