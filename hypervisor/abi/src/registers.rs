//! Processor state as it crosses the interface.

use crate::numbers;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! register_file {
    ($($(#[$meta:meta])* $field:ident: $kind:tt $([$len:expr])?,)*) => {
        /// The registers of a processor, by value.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Registers { $($(#[$meta])* pub $field: register_file!(@value $kind $([$len])?),)* }

        /// [`Registers`] in memory that both sides may touch: each field is read and written whole.
        #[repr(C)]
        #[derive(Debug, Default)]
        pub struct SharedRegisters { $($(#[$meta])* pub $field: register_file!(@shared $kind $([$len])?),)* }

        impl SharedRegisters {
            /// Reads all fields, each once.
            pub fn load(&self) -> Registers { Registers { $($field: Load::load(&self.$field),)* } }
            /// Writes all fields.
            pub fn store(&self, registers: &Registers) { $(Load::store(&self.$field, registers.$field);)* }
        }
    };
    (@value u64) => { u64 };
    (@value u64 [$len:expr]) => { [u64; $len] };
    (@value Segment) => { Segment };
    (@shared u64) => { AtomicU64 };
    (@shared u64 [$len:expr]) => { [AtomicU64; $len] };
    (@shared Segment) => { SharedSegment };
}

trait Load {
    type Value;
    fn load(&self) -> Self::Value;
    fn store(&self, value: Self::Value);
}

impl Load for AtomicU64 {
    type Value = u64;
    fn load(&self) -> u64 {
        self.load(Relaxed)
    }
    fn store(&self, value: u64) {
        self.store(value, Relaxed);
    }
}

impl<const N: usize> Load for [AtomicU64; N] {
    type Value = [u64; N];
    fn load(&self) -> [u64; N] {
        core::array::from_fn(|i| self[i].load(Relaxed))
    }
    fn store(&self, value: [u64; N]) {
        for (cell, v) in self.iter().zip(value) {
            cell.store(v, Relaxed);
        }
    }
}

impl Load for SharedSegment {
    type Value = Segment;
    fn load(&self) -> Segment {
        let packed = self.packed.load(Relaxed);
        Segment {
            selector: packed as u16,
            attributes: (packed >> 16) as u16,
            limit: (packed >> 32) as u32,
            base: self.base.load(Relaxed),
        }
    }
    fn store(&self, s: Segment) {
        let packed =
            u64::from(s.selector) | u64::from(s.attributes) << 16 | u64::from(s.limit) << 32;
        self.packed.store(packed, Relaxed);
        self.base.store(s.base, Relaxed);
    }
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Access rights as in a VMCB (APM vol. 2 §15.5.1): descriptor bits 47:40 in 7:0, 55:52 in 11:8.
    pub attributes: u16,
    /// The limit in bytes, granularity applied.
    pub limit: u32,
    /// The linear base.
    pub base: u64,
}

/// [`Segment`] in shared memory: selector, attributes << 16, limit << 32, then the base.
#[repr(C)]
#[derive(Debug, Default)]
pub struct SharedSegment {
    packed: AtomicU64,
    base: AtomicU64,
}

register_file! {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: in the order of their encoding.
    gpr: u64 [16],
    /// Instruction pointer.
    rip: u64,
    /// Flags.
    rflags: u64,
    /// ES, CS, SS, DS, FS, GS in the order of their encoding follow.
    es: Segment,
    /// Code segment; attributes bit 9 is L, bit 10 is D.
    cs: Segment,
    /// Stack segment; its DPL (attributes bits 6:5) is the current privilege level.
    ss: Segment,
    /// Data segment.
    ds: Segment,
    /// FS.
    fs: Segment,
    /// GS.
    gs: Segment,
    /// Local descriptor table.
    ldtr: Segment,
    /// Task register.
    tr: Segment,
    /// Global descriptor table: base and limit.
    gdtr: Segment,
    /// Interrupt descriptor table: base and limit.
    idtr: Segment,
    /// CR0.
    cr0: u64,
    /// CR2.
    cr2: u64,
    /// CR3.
    cr3: u64,
    /// CR4.
    cr4: u64,
    /// CR8: the task priority.
    cr8: u64,
    /// EFER as the guest sees it.
    efer: u64,
    /// XCR0.
    xcr0: u64,
    /// DR0 to DR3.
    dr: u64 [4],
    /// DR6.
    dr6: u64,
    /// DR7.
    dr7: u64,
    /// STAR, LSTAR, CSTAR, SFMASK.
    star: u64 [4],
    /// KERNEL_GS_BASE.
    kernel_gs_base: u64,
    /// SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP.
    sysenter: u64 [3],
    /// PAT.
    pat: u64,
    /// 1 while interrupts are held back for one instruction after STI or a load of SS.
    interrupt_shadow: u64,
}

numbers! {
    /// What [`crate::Call::GetState`] and [`crate::Call::SetState`] copy.
    StateGroup: u64 {
        /// [`SharedRegisters`] in the run page.
        Registers = 0,
        /// The XSAVE image (standard format) at the start of the state area; what lies behind the
        /// size that the processor's XCR0 gives is not touched.
        Extended = 1,
        /// [`crate::Statistics`] at the start of the state area; can't be set.
        Statistics = 2,
    }
}

/// Counters of one processor, since it was created.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Statistics {
    /// Exits from the guest, all kinds.
    pub exits: AtomicU64,
    /// Exits that the vmm answered.
    pub exits_to_vmm: AtomicU64,
    /// Exits for interrupts of the control domain.
    pub interrupted: AtomicU64,
    /// Interrupts injected.
    pub injected: AtomicU64,
}
