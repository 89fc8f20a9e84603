//! The control frame: the first 2 MiB of a machine's memory, shared between its vmm and the
//! hypervisor, never mapped into the guest.

use crate::MAX_PROCESSORS;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Byte offset of the [`MachineConfig`] in the control frame.
pub const CONFIG_OFFSET: usize = 0;

/// Byte offset of the run page of processor `index`: pages 1 to 64.
pub const fn run_page_offset(index: usize) -> usize {
    (1 + index) * crate::PAGE_SIZE as usize
}

/// Byte offset of the state area of processor `index`, 16 KiB each, behind the run pages.
pub const fn state_area_offset(index: usize) -> usize {
    (128 + 4 * index) * crate::PAGE_SIZE as usize
}

/// Size in bytes of the state area of one processor.
pub const STATE_AREA_SIZE: usize = 4 * crate::PAGE_SIZE as usize;

/// Byte offset of the part of the control frame that belongs to the vmm alone (messages to post
/// may lie anywhere in it), up to the end of the frame.
pub const SCRATCH_OFFSET: usize = state_area_offset(MAX_PROCESSORS);

/// What the vmm says about a machine; read once by [`crate::Call::CreateMachine`].
#[repr(C)]
#[derive(Debug, Default)]
pub struct MachineConfig {
    /// [`crate::ABI_VERSION`].
    pub version: AtomicU32,
    /// Number of processors that the guest's CPUID topology shows, 1 to 64.
    pub processor_count: AtomicU32,
    /// Frequency of the time stamp counter in Hz, from the control domain's disciplined clock.
    pub tsc_hz: AtomicU64,
    /// Value of the physical TSC at which the guest's TSC and reference time are 0.
    pub tsc_epoch: AtomicU64,
    /// Frequency in Hz of the local APIC timer before its divider.
    pub apic_hz: AtomicU64,
    /// [`CONFIG_REFERENCE_TSC`] and nothing else.
    pub flags: AtomicU64,
}

/// Flag: Linux calls the TSC stable, so a reference TSC page may be offered (TLFS 12.7).
pub const CONFIG_REFERENCE_TSC: u64 = 1;
