//! The interface between the hypervisor and the control domain.
//!
//! This crate is the reference that a second implementer, on either side, works from. It holds
//! numbers, layouts and the contracts that go with them. It never contains logic, never depends
//! on another crate and never allocates.
//!
//! # How a call is made
//!
//! A thread of the control domain, in user mode or in the kernel, executes `VMMCALL` (AMD) or
//! `VMCALL` (Intel) in 64-bit mode:
//!
//! | register | in | out |
//! |---|---|---|
//! | `RAX` | [`CALL_SIGNATURE`] \| [`Call`] number | [`Status`] |
//! | `RDI`, `RSI` | the machine's [`Handle`], low and high half | unchanged |
//! | `RDX` | argument 0 | output 0 |
//! | `R8` | argument 1 | output 1 |
//! | `R9` | argument 2 | unchanged |
//! | `R10` | argument 3 | unchanged |
//!
//! All other registers, vector registers included, are as before. A call is bounded (50 µs on
//! real hardware); calls over a range do a part, answer how much, and are called again.
//!
//! # Who may call
//!
//! There is no privilege check: the right is the mapping itself. [`Call::CreateMachine`] and
//! [`Call::AddMemory`] take a range of the caller's own virtual memory; the hypervisor walks the
//! caller's page tables and accepts only frames of the guest pool, mapped present, user and
//! writable at every level, that no live machine owns. All other calls need the handle that
//! `CreateMachine` answered: 128 unguessable bits that die with the machine.
//!
//! # The run contract
//!
//! - A virtual processor is a thread of the control domain. [`Call::Run`] enters the guest on the
//!   CPU where it was called; the caller's `RIP` is past the call before the guest is entered.
//! - `Run` returns for any reason at any time; [`ExitReason::Interrupted`] means "call again".
//! - To kick a processor: store 1 to [`RunPage::exit_request`], then signal its thread. The word
//!   is read with interrupts held back just before entry, so no kick is lost. The vmm clears it.
//! - The hypervisor can't wake another CPU. What a call or a guest made pending for *other*
//!   processors is answered as two masks of processor indices: `signal` (it runs elsewhere: kick
//!   it) and `wake` (its thread is blocked after [`ExitReason::Halted`] or
//!   [`ExitReason::WaitForStartup`]: let it call `Run` again).
//! - Each return publishes [`RunPage::next_deadline`]. The vmm keeps a timer of the thread at that
//!   time and calls `Run` again when it fires; a blocked thread uses it as its timeout.
//! - Threads may move between CPUs at will; nothing needs to be told.
//!
//! # Taking rights away
//!
//! [`Call::RemoveMemory`] and [`Call::ProtectMemory`] take effect by generation. They answer a
//! mask of processors that still run under the old one; the vmm kicks these and repeats
//! [`Call::SyncMemory`] until the mask is empty. Only then is the change complete.
#![no_std]
#![forbid(unsafe_code)]

mod frame;
mod registers;
mod run;

pub use frame::*;
pub use registers::*;
pub use run::*;

/// Version of this interface; [`Call::Query`] answers it. A vmm refuses any other.
pub const ABI_VERSION: u32 = 2;

/// Upper bits of `RAX` in every call, "ENTENT" in ASCII, so that a stray instruction is refused.
pub const CALL_SIGNATURE: u64 = 0x454e_5445_4e54_0000;

/// Most virtual processors in one machine: one bit each in the signal and wake masks.
pub const MAX_PROCESSORS: usize = 64;

/// Memory is owned in frames of this size, in bytes.
pub const FRAME_SIZE: u64 = 2 << 20;

/// Smallest unit that can be mapped or protected, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// The right to a machine: 128 random bits, low half first. Dies with the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Handle(pub u64, pub u64);

impl core::fmt::Debug for Handle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Whoever reads a log must not gain the right to the machine.
        f.write_str("Handle(..)")
    }
}

macro_rules! numbers {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[$vmeta:meta])* $variant:ident = $value:expr,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr($repr)]
        pub enum $name { $($(#[$vmeta])* $variant = $value,)* }

        impl $name {
            /// The value with this number, if there is one.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use numbers;

numbers! {
    /// The calls. `a0`..`a3` are the arguments, `o0`, `o1` the outputs of the table above.
    Call: u16 {
        /// Needs no handle. o0 = [`ABI_VERSION`] | CPU index << 32, o1 = number of CPUs under the
        /// hypervisor | [`Vendor`] << 32. Proves that the CPU it runs on is under the hypervisor.
        Query = 0,
        /// Needs no handle. a0 = user address of the control frame (2 MiB aligned) whose page 0
        /// holds a [`MachineConfig`]. o0, o1 = the new [`Handle`]. Over the control frame of a
        /// machine that has no processor inside a guest: that machine is destroyed first, and so
        /// is every machine of which [`Call::AddMemory`] meets a frame, which is how a killed
        /// vmm's memory comes back.
        CreateMachine = 1,
        /// Ends the machine. `Busy` while a processor is inside the guest.
        DestroyMachine = 2,
        /// Maps memory into the guest. a0 = user address, a1 = guest-physical address, a2 = length
        /// in bytes, a3 = [`Access`]; all page aligned. o0 = bytes mapped by this call, which may
        /// be fewer than asked: continue behind them. Large pages are used where both addresses
        /// and the length allow. Memory that is mapped there already is replaced only after
        /// `RemoveMemory`, else `Overlap`.
        AddMemory = 3,
        /// Unmaps. a0 = guest-physical address, a1 = length. o0 = bytes done, o1 = processors to kick.
        /// The machine keeps the frames until it is destroyed.
        RemoveMemory = 4,
        /// Changes the access of mapped memory. a0 = guest-physical address, a1 = length,
        /// a2 = [`Access`]. o0 = bytes done, o1 = processors to kick.
        ProtectMemory = 5,
        /// o0 = processors that still run under an older memory map. Complete when 0.
        SyncMemory = 6,
        /// Creates a virtual processor. a0 = index, a1 = initial APIC id. Index 0 is the bootstrap
        /// processor and starts at the reset vector; the others wait for start-up.
        CreateProcessor = 7,
        /// Enters the guest. a0 = index. o0 = [`ExitReason`]; the details are in the [`RunPage`].
        Run = 8,
        /// Copies state of a processor that is not running into the control frame.
        /// a0 = index, a1 = [`StateGroup`].
        GetState = 9,
        /// The opposite of [`Call::GetState`].
        SetState = 10,
        /// Delivers a message-signalled interrupt. a0 = address, a1 = data, as on the bus (SDM
        /// vol. 3 §11.11). o0 = signal mask, o1 = wake mask.
        AssertInterrupt = 11,
        /// Posts a SynIC message. a0 = processor, a1 = SINT, a2 = offset in the control frame of
        /// the 256-byte message. o0 = signal mask, o1 = wake mask. `Busy`: the slot's queue is full.
        /// `InvalidArgument`: its type is 0, or its payload longer than 240 bytes.
        PostMessage = 12,
        /// Sets a SynIC event flag. a0 = processor, a1 = SINT, a2 = flag number.
        /// o0 = signal mask, o1 = wake mask.
        SignalEvent = 13,
        /// Reads or writes a register of the local APIC page, for the vmm's instruction emulator.
        /// a0 = processor, a1 = offset, a2 = value, a3 = 1 to write. o0 = value read.
        /// o1 = 1 << 8 | vector if the write ended a level-triggered interrupt: tell the IOAPIC. What
        /// a write made pending for others is in `signal` and `wake` of the processor's run page.
        AccessApic = 14,
        /// o0 = free 4 KiB pages of the hypervisor's own pool: for who watches that whatever machines
        /// took comes back with their end.
        FreePages = 15,
    }
}

impl Call {
    /// The highest number.
    pub const LAST: u16 = Self::FreePages as u16;
}

numbers! {
    /// What a call answers in `RAX`. Nothing was changed unless the status is `Ok`.
    Status: u64 {
        /// Done, or done in part where the call says how much.
        Ok = 0,
        /// No such call, or the signature is missing.
        UnknownCall = 1,
        /// The handle names no live machine.
        StaleHandle = 2,
        /// The address is not mapped present, user and writable in the caller's page tables.
        NotMapped = 3,
        /// The memory is not in the guest pool.
        NotGuestMemory = 4,
        /// A live machine that has a processor inside a guest owns the memory.
        Owned = 5,
        /// An argument is out of its range or not aligned.
        InvalidArgument = 6,
        /// Something is mapped at that guest-physical address already.
        Overlap = 7,
        /// Nothing is mapped at that guest-physical address.
        NotPresent = 8,
        /// The processor exists already.
        ProcessorExists = 9,
        /// There is no such processor.
        NoProcessor = 10,
        /// The processor, or one of the machine's, is inside the guest on another CPU.
        Busy = 11,
        /// The machine's quota of hypervisor pages, or the pool, is used up.
        OutOfPages = 12,
        /// The most machines that the hypervisor can hold exist already.
        TooManyMachines = 13,
        /// The state that was to be set is not a legal processor state.
        InvalidState = 14,
        /// The configuration's version or a field of it is not supported.
        UnsupportedConfig = 15,
        /// The caller is not in 64-bit mode.
        WrongMode = 16,
    }
}

numbers! {
    /// Whose virtualization extension runs the machines.
    Vendor: u32 {
        /// AMD Secure Virtual Machine.
        Svm = 1,
        /// Intel Virtual Machine Extensions.
        Vmx = 2,
    }
}

numbers! {
    /// What a guest may do with a piece of its memory.
    Access: u64 {
        /// Read and execute; a write ends in [`ExitReason::Memory`]. This serves read-only memory
        /// (the vmm drops the write) and trap-on-write memory (the vmm emulates it) alike.
        Read = 1,
        /// Read, write, execute.
        Write = 3,
    }
}
