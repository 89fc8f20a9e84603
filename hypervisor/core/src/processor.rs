//! A guest's processor as far as the hypervisor emulates it: the run loop's only view of the local
//! APIC, the Hyper-V registers, CPUID and the emulated model-specific registers.
//!
//! The thread that runs the processor owns this structure. Other processors reach it through an
//! inbox that the owner empties with [`VirtualProcessor::deliver`], [`VirtualProcessor::post_message`]
//! and [`VirtualProcessor::signal_event`].
//!
//! Time: every `tsc` in this interface is the physical time stamp counter. It is turned into
//! machine time (ticks since the machine's epoch) here and nowhere else.

use crate::apic::{Arrival, Identity, Ipi};
pub use crate::effect::Effect;
use crate::fault::GeneralProtection;
use crate::hal::CodeMode;
use crate::hyperv::Partition;
use core::sync::atomic::AtomicU64;

/// A 4 KiB page that the guest may touch at the same time.
pub type Page = [AtomicU64; 512];

/// A SynIC message of 256 bytes as words, header first (TLFS, HV_MESSAGE).
pub type Message = [u64; 32];

/// The queue of a synthetic interrupt source is full: post again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

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
    /// It executed HLT and waits for an interrupt.
    Halted,
    /// It waits for INIT or start-up messages.
    WaitForStartup,
}

/// Answer to a Hyper-V hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HypercallAnswer {
    /// Done: put this result value into the result registers with [`crate::hyperv::Hypercall::store_result`].
    Done(u64),
    /// The vmm must answer: input value, first and second parameter.
    ToVmm([u64; 3]),
    /// #UD.
    InvalidOpcode,
}

/// A guest's processor without its registers.
pub struct VirtualProcessor {
    index: u32,
    activity: Activity,
    nmi_pending: bool,
}

impl VirtualProcessor {
    /// A processor at power-on. Index 0 is the bootstrap processor and runs, the others wait for
    /// start-up. `messages` and `events` are zeroed pages that stay with it for its life: the guest
    /// sees them where it lays its SynIC overlays.
    pub fn new(
        partition: &Partition,
        index: u32,
        apic_id: u32,
        messages: &'static Page,
        events: &'static Page,
    ) -> Self {
        let _ = (partition, apic_id, messages, events);
        let activity = if index == 0 {
            Activity::Running
        } else {
            Activity::WaitForStartup
        };
        Self {
            index,
            activity,
            nmi_pending: false,
        }
    }

    /// Its index, 0 to 63; also its Hyper-V VP index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Does it execute?
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// HLT was executed.
    pub fn halt(&mut self) {
        self.activity = Activity::Halted;
    }

    /// An interrupt of the 8259s ends a halt.
    pub fn resume(&mut self) {
        self.activity = Activity::Running;
    }

    /// The highest interrupt that only the task priority holds back: the caller asks the world
    /// switch to say when the guest lowers it.
    pub fn blocked_by_task_priority(&self) -> Option<u8> {
        None
    }

    /// Runs the timers up to `tsc`, and ends a halt if something can be delivered. Call before each
    /// entry. `interrupts_enabled`: RFLAGS.IF, for the halt.
    pub fn poll(&mut self, partition: &Partition, tsc: u64) {
        let _ = (partition, tsc);
    }

    /// The highest interrupt that the task priority and the interrupts in service let through.
    pub fn pending_interrupt(&self) -> Option<u8> {
        None
    }

    /// Takes [`VirtualProcessor::pending_interrupt`] for injection.
    pub fn acknowledge(&mut self) -> Option<u8> {
        None
    }

    /// Would an interrupt of the 8259s be taken (LINT0 as ExtINT, not masked)?
    pub fn accepts_extint(&self) -> bool {
        false
    }

    /// Is an NMI waiting?
    pub fn nmi_pending(&self) -> bool {
        self.nmi_pending
    }

    /// The NMI was injected.
    pub fn take_nmi(&mut self) {
        self.nmi_pending = false;
    }

    /// The physical TSC at which [`VirtualProcessor::poll`] next has something to do.
    pub fn next_deadline(&self, partition: &Partition) -> Option<u64> {
        let _ = partition;
        None
    }

    /// The task priority as in CR8.
    pub fn task_priority(&self) -> u8 {
        0
    }

    /// Sets it: after each exit, from the world switch.
    pub fn set_task_priority(&mut self, cr8: u8) {
        let _ = cr8;
    }

    /// What senders must know of its local APIC; publish it after every APIC write.
    pub fn identity(&self) -> Identity {
        Identity {
            apic_id: self.index,
            logical_id: 0,
            flat: true,
            x2apic: false,
            enabled: false,
        }
    }

    /// Guest TSC minus physical TSC.
    pub fn tsc_offset(&self, partition: &Partition) -> u64 {
        partition.tsc_epoch.wrapping_neg()
    }

    /// An interrupt message reached this processor.
    pub fn deliver(&mut self, message: &Ipi) -> Arrival {
        let _ = message;
        Arrival::Nothing
    }

    /// Posts a SynIC message; the interrupt it raises is pending afterwards.
    /// `sint` is 0 to 15.
    pub fn post_message(&mut self, sint: u8, message: &Message) -> Result<(), QueueFull> {
        let _ = (sint, message);
        Err(QueueFull)
    }

    /// Sets a SynIC event flag, 0 to 2047. `false`: the source is masked or the SynIC disabled.
    pub fn signal_event(&mut self, sint: u8, flag: u16) -> bool {
        let _ = (sint, flag);
        false
    }

    /// CPUID: EAX, EBX, ECX, EDX. `host` is the physical one.
    pub fn cpuid(
        &self,
        partition: &Partition,
        leaf: u32,
        subleaf: u32,
        context: &Context,
        host: impl Fn(u32, u32) -> [u32; 4],
    ) -> [u32; 4] {
        let _ = (partition, leaf, subleaf, context, host);
        [0; 4]
    }

    /// RDMSR.
    pub fn rdmsr(
        &mut self,
        partition: &Partition,
        msr: u32,
        context: &Context,
    ) -> Result<u64, GeneralProtection> {
        let _ = (partition, msr, context);
        Err(GeneralProtection)
    }

    /// WRMSR.
    pub fn wrmsr(
        &mut self,
        partition: &Partition,
        msr: u32,
        value: u64,
        context: &Context,
    ) -> Result<Effect, GeneralProtection> {
        let _ = (partition, msr, value, context);
        Err(GeneralProtection)
    }

    /// Reads a register of the xAPIC page, `offset` 0 to 0xfff.
    pub fn read_apic(&mut self, partition: &Partition, offset: u32, tsc: u64) -> u32 {
        let _ = (partition, offset, tsc);
        0
    }

    /// Writes one.
    pub fn write_apic(
        &mut self,
        partition: &Partition,
        offset: u32,
        value: u32,
        tsc: u64,
    ) -> Effect {
        let _ = (partition, offset, value, tsc);
        Effect::None
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
        let _ = (partition, gpr, mode, cpl, cr0);
        HypercallAnswer::InvalidOpcode
    }

    /// XSETBV: may XCR0 become `value`? `host` is the physical CPUID.
    pub fn xsetbv(
        &self,
        register: u32,
        value: u64,
        host: impl Fn(u32, u32) -> [u32; 4],
    ) -> Result<u64, GeneralProtection> {
        let _ = (register, value, host);
        Err(GeneralProtection)
    }
}
