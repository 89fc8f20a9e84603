//! The run page: what the vmm and the hypervisor tell each other about one processor.

use crate::{SharedRegisters, numbers};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// One page per processor, at [`crate::run_page_offset`]. All fields are in native byte order.
/// While [`crate::Call::Run`] is under way, the vmm touches only `exit_request` and `extint`.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RunPage {
    /// Set to 1 by the vmm to end the run; cleared by the vmm.
    pub exit_request: AtomicU32,
    /// The line from the 8259s to LINT0: [`EXTINT_REQUEST`] while it is asserted, and the vector
    /// after [`ExitReason::ExternalInterrupt`].
    pub extint: AtomicU32,
    /// How the last exit was answered, a [`Completion`]; `Run` sets it to `None` when it has used it.
    pub completion: AtomicU32,
    /// The [`ExitReason`] of the last return, as in the call's output.
    pub reason: AtomicU32,
    /// Physical TSC at which the processor wants to run again; `u64::MAX` if never.
    pub next_deadline: AtomicU64,
    /// Other processors that run elsewhere and have something pending: kick them.
    pub signal: AtomicU64,
    /// Other processors that are blocked and have something pending: wake them.
    pub wake: AtomicU64,
    /// Meaning by [`ExitReason`].
    pub data: [AtomicU64; 8],
    /// The processor's registers; valid after the exits that say so, and loaded by
    /// [`Completion::Registers`].
    pub registers: SharedRegisters,
}

/// [`RunPage::extint`]: the 8259s have an interrupt to deliver.
pub const EXTINT_REQUEST: u32 = 1 << 31;
/// [`RunPage::extint`]: bits 7:0 hold the vector that the 8259s answered.
pub const EXTINT_VECTOR: u32 = 1 << 30;

numbers! {
    /// Why [`crate::Call::Run`] returned.
    ExitReason: u32 {
        /// An interrupt of the control domain, a kick, or something pending for other processors
        /// (`signal`, `wake`). Call again.
        Interrupted = 0,
        /// `HLT` with nothing to deliver. Block until woken or until `next_deadline`.
        Halted = 1,
        /// The processor waits for INIT/SIPI. Block until woken.
        WaitForStartup = 2,
        /// `IN` or `OUT`. data[0] = port, data[1] = operand size in bytes (1, 2, 4), data[2] =
        /// `IO_*` flags, data[3] = value written. Answered with [`Completion::Io`] (`IN`: value in
        /// data[0]). With [`IO_STRING`], registers are valid, `RIP` is at the instruction,
        /// data[4] = address of the next one; the vmm does the transfer and answers with
        /// [`Completion::Registers`] or [`Completion::Exception`].
        Io = 3,
        /// An access to guest-physical memory that the map does not allow. data[0] = address,
        /// data[1] = `MEMORY_*` flags. Registers are valid, `RIP` is at the instruction; the vmm
        /// emulates it and answers with [`Completion::Registers`] or, when the guest's page tables
        /// refuse another operand, [`Completion::Exception`]; or it maps the memory and answers with
        /// [`Completion::None`] to try again.
        Memory = 4,
        /// End of a level-triggered interrupt. data[0] = vector. For the IOAPIC.
        EndOfInterrupt = 5,
        /// The processor can take an interrupt from the 8259s now. The vmm acknowledges it there
        /// and stores the vector with [`EXTINT_VECTOR`] to [`RunPage::extint`].
        ExternalInterrupt = 6,
        /// A Hyper-V hypercall that the hypervisor leaves to the vmm (HvPostMessage,
        /// HvSignalEvent). data[0] = input value, data[1], data[2] = input and output parameter
        /// (addresses, or data of a fast call). Answered with [`Completion::Io`], result in data[0].
        Hypercall = 7,
        /// Triple fault. Registers are valid. The vmm resets or stops the machine.
        Shutdown = 8,
        /// The guest wrote the reset MSR.
        Reset = 9,
        /// The guest reported a crash. data[0..5] = parameters P0 to P4, data[5] = control.
        Crash = 10,
        /// The processor's state can't be entered. Registers are valid.
        InvalidState = 11,
        /// The guest did something this hypervisor does not support. data[0] = the vendor's exit
        /// code, data[1], data[2] = its information fields. Registers are valid.
        Unsupported = 12,
        /// A switch to another task by hardware, which Intel's CPUs leave to software. data[0] =
        /// selector of its state segment, data[1] = what asks for it: 0 `CALL`, 1 `IRET`, 2 `JMP`, 3 a
        /// task gate that an interrupt or exception met. Registers are valid, `RIP` is at the
        /// instruction.
        TaskSwitch = 13,
    }
}

/// data[2] of [`ExitReason::Io`]: `IN`, else `OUT`.
pub const IO_IN: u64 = 1;
/// data[2] of [`ExitReason::Io`]: `INS` or `OUTS`.
pub const IO_STRING: u64 = 2;
/// data[2] of [`ExitReason::Io`]: with a `REP` prefix.
pub const IO_REPEAT: u64 = 4;

/// data[1] of [`ExitReason::Memory`]: the access was a write.
pub const MEMORY_WRITE: u64 = 1;
/// data[1] of [`ExitReason::Memory`]: the access was an instruction fetch.
pub const MEMORY_FETCH: u64 = 2;
/// data[1] of [`ExitReason::Memory`]: the address is mapped, with less access.
pub const MEMORY_PRESENT: u64 = 4;

numbers! {
    /// [`RunPage::completion`].
    Completion: u32 {
        /// Nothing to load: go on, or try the instruction again.
        None = 0,
        /// The value in data[0] is the result of the instruction.
        Io = 1,
        /// Load `registers`, as changed by the vmm.
        Registers = 2,
        /// Load `registers`, with `RIP` at the instruction, and raise an exception there. data[0] =
        /// vector, data[1] = error code, data[2] = linear address, for CR2. The vector is 14 (#PF),
        /// what an emulated instruction meets in the guest's page tables; for any other `Run`
        /// answers `InvalidArgument`.
        Exception = 3,
    }
}
