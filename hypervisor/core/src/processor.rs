//! A guest's processor as far as the hypervisor emulates it: the run loop's only view of the local
//! APIC, the Hyper-V registers, CPUID and the emulated model-specific registers.
//!
//! The thread that runs the processor owns this structure. Other processors reach it through an
//! inbox that the owner empties with [`VirtualProcessor::deliver`], [`VirtualProcessor::post_message`]
//! and [`VirtualProcessor::signal_event`].
//!
//! Time: every `tsc` in this interface is the physical time stamp counter. It is turned into
//! machine time (ticks since the machine's epoch) here and nowhere else.

pub use crate::effect::Effect;
pub use crate::hyperv::{HypercallAnswer, Message, Page, PostError};

use crate::apic::{Arrival, DeliveryMode, Identity, Ipi, LocalApic, number};
use crate::fault::GeneralProtection;
use crate::hal::CodeMode;
use crate::hyperv::{self, HyperV, Hypercall, Partition};
use crate::policy::{self, GuestMsrs, Topology};

/// What an instruction depends on besides this structure; read from the world switch.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Physical time stamp counter, now.
    pub tsc: u64,
    /// CR4.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// EFER as the guest sees it.
    pub efer: u64,
}

/// Does the processor execute?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Yes.
    Running,
    /// It executed HLT and waits for an interrupt or NMI.
    Halted,
    /// It waits for INIT or start-up messages.
    WaitForStartup,
}

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const TSC_ADJUST: u32 = 0x3b;
const TSC_DEADLINE: u32 = 0x6e0;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;
const HYPERV_FIRST: u32 = 0x4000_0000;
const HYPERV_LAST: u32 = 0x4000_01ff;

/// Width of guest-physical addresses that registers accept: the architecture's, so that what CPUID
/// shows is always accepted. The nested tables decide what is there.
const PHYSICAL_BITS: u32 = 52;

const CR0_PE: u64 = 1;

/// A guest's processor without its registers. What every exit looks at lies first, close together.
#[derive(Debug)]
#[repr(C)]
pub struct VirtualProcessor {
    index: u32,
    activity: Activity,
    halt_is_masked: bool,
    nmi_pending: bool,
    /// Machine ticks at which a timer has something to do.
    due: u64,
    /// The guest's TSC minus machine ticks, which is also its TSC_ADJUST register.
    tsc_adjust: u64,
    apic: LocalApic,
    msrs: GuestMsrs,
    hyperv: HyperV,
}

impl VirtualProcessor {
    /// A processor at power-on. Index 0 is the bootstrap processor and runs, the others wait for
    /// start-up. `messages`, `events` and `assist` are zeroed pages that stay with it for its life: the guest
    /// sees them where it lays its overlays.
    pub fn new(
        partition: &Partition,
        index: u32,
        apic_id: u32,
        messages: &'static Page,
        events: &'static Page,
        assist: &'static Page,
    ) -> Self {
        let bootstrap = index == 0;
        Self {
            index,
            activity: if bootstrap {
                Activity::Running
            } else {
                Activity::WaitForStartup
            },
            halt_is_masked: false,
            nmi_pending: false,
            due: u64::MAX,
            tsc_adjust: 0,
            apic: LocalApic::new(apic_id, bootstrap, partition.tsc_hz, partition.apic_hz),
            msrs: GuestMsrs::new(partition.vendor, PHYSICAL_BITS),
            hyperv: HyperV::new(partition, index, messages, events, assist),
        }
    }

    /// Its index, 0 to 63; also its Hyper-V VP index.
    pub fn index(&self) -> u32 {
        self.index
    }

    // Activity.

    /// Does it execute?
    #[inline]
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// HLT was executed.
    pub fn halt(&mut self) {
        self.activity = Activity::Halted;
        self.halt_is_masked = false;
    }

    /// HLT was executed with interrupts disabled: only an NMI, INIT or [`VirtualProcessor::resume`]
    /// ends it. That is how operating systems stop a processor for good.
    pub fn halt_masked(&mut self) {
        self.activity = Activity::Halted;
        self.halt_is_masked = true;
    }

    /// An interrupt of the 8259s ends a halt.
    pub fn resume(&mut self) {
        self.activity = Activity::Running;
    }

    /// An interrupt message reached this processor.
    pub fn deliver(&mut self, message: &Ipi) -> Arrival {
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                if self.apic.accept(message.vector, message.level) {
                    Arrival::Pending
                } else {
                    Arrival::Nothing
                }
            }
            DeliveryMode::Nmi => {
                self.nmi_pending = true;
                Arrival::Pending
            }
            DeliveryMode::Init => {
                self.apic.reset();
                self.nmi_pending = false;
                // The bootstrap processor starts again at the reset vector.
                self.activity = if self.index == 0 {
                    Activity::Running
                } else {
                    Activity::WaitForStartup
                };
                self.reschedule();
                Arrival::Init
            }
            DeliveryMode::StartUp if self.activity == Activity::WaitForStartup => {
                self.activity = Activity::Running;
                Arrival::StartUp(message.vector)
            }
            // The 8259s have their own way in; guests have no system management mode.
            DeliveryMode::StartUp | DeliveryMode::Smi | DeliveryMode::ExtInt => Arrival::Nothing,
        }
    }

    // Interrupts.

    /// Is any interrupt requested, even if something holds it back?
    #[inline]
    pub fn has_requests(&self) -> bool {
        self.apic.has_requests()
    }

    /// The highest interrupt that the task priority and the interrupts in service let through.
    #[inline]
    pub fn pending_interrupt(&self) -> Option<u8> {
        self.apic.highest_pending()
    }

    /// The highest interrupt that only the task priority holds back: the caller asks the world
    /// switch to say when the guest lowers it.
    pub fn blocked_by_task_priority(&self) -> Option<u8> {
        self.apic.blocked_by_task_priority()
    }

    /// Takes [`VirtualProcessor::pending_interrupt`] for injection.
    pub fn acknowledge(&mut self) -> Option<u8> {
        self.apic.acknowledge()
    }

    /// After each exit, before anything else: ends the interrupt whose end the guest was allowed not to tell,
    /// if it has ended.
    #[inline]
    pub fn take_offered_end(&mut self, partition: &Partition, tsc: impl FnOnce() -> u64) {
        if self.hyperv.is_end_offered() {
            let now = ticks(partition, tsc());
            if self.hyperv.take_offered_end(now, &mut self.apic) {
                self.reschedule();
            }
        }
    }

    /// After [`VirtualProcessor::acknowledge`]: the guest need not tell the end if nothing waits for it.
    pub fn offer_end(&mut self) {
        self.hyperv.offer_end(&self.apic);
    }

    /// Interrupts are requested: the guest has to tell the end of the one in service.
    pub fn withdraw_end(&mut self) {
        self.hyperv.withdraw_end();
    }

    /// Would an interrupt of the 8259s be taken, or end a halt (LINT0 as ExtINT, not masked)?
    pub fn accepts_extint(&self) -> bool {
        let asleep = self.activity == Activity::Halted && self.halt_is_masked;
        self.apic.accepts_extint() && !asleep
    }

    /// Is an NMI waiting?
    pub fn nmi_pending(&self) -> bool {
        self.nmi_pending
    }

    /// The NMI was injected.
    pub fn take_nmi(&mut self) {
        self.nmi_pending = false;
    }

    /// The task priority as in CR8. The world switch takes it before each entry: a write to the
    /// APIC's own register changes it too.
    pub fn task_priority(&self) -> u8 {
        self.apic.task_priority_class()
    }

    /// Sets it: after each exit, from the world switch.
    pub fn set_task_priority(&mut self, cr8: u8) {
        self.apic.set_task_priority_class(cr8 & 15);
    }

    /// What senders must know of its local APIC; publish it after every APIC write.
    pub fn identity(&self) -> Identity {
        self.apic.identity()
    }

    // Time.

    /// Runs the timers up to `tsc`, and ends a halt if something can be delivered. Call before each
    /// entry.
    #[inline(always)]
    pub fn poll(&mut self, partition: &Partition, tsc: u64) {
        let now = ticks(partition, tsc);
        if now >= self.due {
            self.apic.poll(now);
            self.hyperv.poll(now, &mut self.apic);
            self.reschedule();
        }
        if self.activity == Activity::Halted
            && (self.nmi_pending || !self.halt_is_masked && self.pending_interrupt().is_some())
        {
            self.activity = Activity::Running;
        }
    }

    /// The physical TSC at which [`VirtualProcessor::poll`] next has something to do that could make
    /// the processor run.
    pub fn next_deadline(&self, partition: &Partition) -> Option<u64> {
        let asleep = match self.activity {
            Activity::Running => false,
            Activity::Halted => self.halt_is_masked,
            Activity::WaitForStartup => true,
        };
        (self.due != u64::MAX && !asleep).then(|| self.due.saturating_add(partition.tsc_epoch))
    }

    /// Guest TSC minus physical TSC.
    pub fn tsc_offset(&self, partition: &Partition) -> u64 {
        self.tsc_adjust.wrapping_sub(partition.tsc_epoch)
    }

    fn reschedule(&mut self) {
        let deadlines = [self.apic.deadline(), self.hyperv.deadline()];
        self.due = deadlines.into_iter().flatten().min().unwrap_or(u64::MAX);
    }

    // SynIC.

    /// Posts a SynIC message; the interrupt it raises is pending afterwards. `sint` is 0 to 15.
    pub fn post_message(&mut self, sint: u8, message: &Message) -> Result<(), PostError> {
        self.hyperv.post(sint, message, &mut self.apic)
    }

    /// Would [`VirtualProcessor::post_message`] find room? If not, leave the message where it is
    /// and ask again before the next entry.
    pub fn has_message_room(&self) -> bool {
        self.hyperv.has_message_room()
    }

    /// Sets a SynIC event flag, 0 to 2047. `false`: the source is masked or the SynIC disabled.
    pub fn signal_event(&mut self, sint: u8, flag: u16) -> bool {
        self.hyperv.signal(sint, flag, &mut self.apic)
    }

    // Instructions.

    /// CPUID: EAX, EBX, ECX, EDX. `host` is the physical one.
    pub fn cpuid(
        &self,
        partition: &Partition,
        leaf: u32,
        subleaf: u32,
        context: &Context,
        host: impl Fn(u32, u32) -> [u32; 4],
    ) -> [u32; 4] {
        if leaf & 0xffff_ff00 == hyperv::cpuid::FIRST_LEAF {
            return hyperv::cpuid::leaf(partition, leaf);
        }
        let topology = Topology {
            apic_id: self.apic.apic_id(),
            processor_count: partition.processor_count,
        };
        let mirrored = policy::cpuid::Mirrored {
            cr4: context.cr4,
            xcr0: context.xcr0,
            apic_enabled: self.apic.base() & crate::apic::BASE_ENABLED != 0,
        };
        policy::guest_cpuid(partition.vendor, leaf, subleaf, &topology, &mirrored, &host)
    }

    /// RDMSR.
    pub fn rdmsr(
        &mut self,
        partition: &Partition,
        msr: u32,
        context: &Context,
    ) -> Result<u64, GeneralProtection> {
        let now = ticks(partition, context.tsc);
        match msr {
            X2APIC_FIRST..=X2APIC_LAST => self.apic.read_msr(msr, now),
            HYPERV_FIRST..=HYPERV_LAST => self.hyperv.read_msr(partition, &self.apic, msr, now),
            TSC => Ok(context.tsc.wrapping_add(self.tsc_offset(partition))),
            TSC_ADJUST => Ok(self.tsc_adjust),
            TSC_DEADLINE => Ok(self.apic.tsc_deadline(now)),
            APIC_BASE => Ok(self.apic.base()),
            _ => policy::guest_rdmsr(&self.msrs, msr, context.efer),
        }
    }

    /// WRMSR.
    pub fn wrmsr(
        &mut self,
        partition: &Partition,
        msr: u32,
        value: u64,
        context: &Context,
    ) -> Result<Effect, GeneralProtection> {
        let now = ticks(partition, context.tsc);
        let effect = match msr {
            X2APIC_FIRST..=X2APIC_LAST => {
                let effect = self.apic.write_msr(msr, value, now)?;
                self.after_apic_write(msr - X2APIC_FIRST, now);
                return Ok(effect);
            }
            HYPERV_FIRST..=HYPERV_LAST => {
                self.hyperv
                    .write_msr(partition, &mut self.apic, msr, value, now)?
            }
            TSC => self.adjust_tsc(
                partition,
                value.wrapping_sub(context.tsc.wrapping_sub(partition.tsc_epoch)),
                now,
            ),
            TSC_ADJUST => self.adjust_tsc(partition, value, now),
            TSC_DEADLINE => {
                self.apic.set_tsc_deadline(value, now);
                Effect::None
            }
            APIC_BASE => self.apic.set_base(value, self.msrs.physical_bits())?,
            _ => return policy::guest_wrmsr(&mut self.msrs, msr, value),
        };
        self.reschedule();
        Ok(effect)
    }

    fn adjust_tsc(&mut self, partition: &Partition, adjust: u64, now: u64) -> Effect {
        self.tsc_adjust = adjust;
        self.apic.set_tsc_adjust(adjust, now);
        Effect::TscOffset(self.tsc_offset(partition))
    }

    /// Reads a register of the xAPIC page, `offset` 0 to 0xfff.
    pub fn read_apic(&mut self, partition: &Partition, offset: u32, tsc: u64) -> u32 {
        self.apic.read(offset, ticks(partition, tsc))
    }

    /// Writes one.
    pub fn write_apic(
        &mut self,
        partition: &Partition,
        offset: u32,
        value: u32,
        tsc: u64,
    ) -> Effect {
        let now = ticks(partition, tsc);
        let effect = self.apic.write(offset, value, now);
        self.after_apic_write(offset >> 4, now);
        effect
    }

    /// Follows up a write to the APIC register with this number. The frequent ones, commands and
    /// task priority, leave nothing to do.
    fn after_apic_write(&mut self, register: u32, now: u64) {
        match register {
            number::END_OF_INTERRUPT if self.hyperv.interrupt_ended(now, &mut self.apic) => {
                self.reschedule()
            }
            number::SPURIOUS | number::LVT_TIMER | number::TIMER_INITIAL | number::TIMER_DIVIDE => {
                self.reschedule()
            }
            _ => {}
        }
    }

    /// A Hyper-V hypercall with the registers `gpr` (0 RAX to 15 R15), from privilege level `cpl`.
    pub fn hypercall(
        &self,
        partition: &Partition,
        gpr: impl Fn(usize) -> u64,
        mode: CodeMode,
        cpl: u8,
        cr0: u64,
    ) -> HypercallAnswer {
        if cpl != 0 || cr0 & CR0_PE == 0 || !partition.hypercalls_enabled() {
            return HypercallAnswer::InvalidOpcode;
        }
        Hypercall::from_registers(gpr, mode).answer()
    }

    /// XSETBV at privilege level 0: may XCR0 become `value`? `host` is the physical CPUID.
    pub fn xsetbv(
        &self,
        register: u32,
        value: u64,
        host: impl Fn(u32, u32) -> [u32; 4],
    ) -> Result<u64, GeneralProtection> {
        if register != 0 {
            return Err(GeneralProtection);
        }
        policy::xstate::check_xcr0(value, policy::xstate::supported(&host))
    }
}

/// Machine time: ticks since the machine's epoch. A CPU whose TSC lags a little behind the one that
/// set the epoch sees 0.
#[inline]
fn ticks(partition: &Partition, tsc: u64) -> u64 {
    tsc.saturating_sub(partition.tsc_epoch)
}

#[cfg(test)]
mod tests;
