//! What all processors of a machine share, and where its overlay pages lie.

use core::sync::atomic::AtomicU64;
use hypervisor_abi::Vendor;

/// The synthetic registers that exist once per machine. Processors share it without a lock.
#[derive(Debug)]
pub struct Partition {
    /// Whose hypercall instruction the hypercall page holds.
    pub vendor: Vendor,
    /// Number of processors that the topology shows.
    pub processor_count: u32,
    /// Frequency of the TSC in Hz.
    pub tsc_hz: u64,
    /// Frequency in Hz of the local APIC timer before its divider.
    pub apic_hz: u64,
    /// Physical TSC value at which the guest's TSC and reference time are 0.
    pub tsc_epoch: u64,
    /// A reference TSC page is offered.
    pub reference_tsc_offered: bool,
    pub(super) guest_os_id: AtomicU64,
    pub(super) hypercall: AtomicU64,
    pub(super) reference_tsc: AtomicU64,
    pub(super) crash: [AtomicU64; 5],
}

impl Partition {
    /// A machine's shared part at power-on.
    pub fn new(
        vendor: Vendor,
        processor_count: u32,
        tsc_hz: u64,
        apic_hz: u64,
        tsc_epoch: u64,
        reference_tsc_offered: bool,
    ) -> Self {
        Self {
            vendor,
            processor_count,
            tsc_hz,
            apic_hz,
            tsc_epoch,
            reference_tsc_offered,
            guest_os_id: AtomicU64::new(0),
            hypercall: AtomicU64::new(0),
            reference_tsc: AtomicU64::new(0),
            crash: Default::default(),
        }
    }
}

/// A page of the hypervisor that a guest lays over its memory (TLFS 5.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayKind {
    /// Hypercall page, one for the machine: guest may read and execute.
    Hypercall,
    /// Reference TSC page, one for the machine: guest may read.
    ReferenceTsc,
    /// SynIC message page of this processor: guest may read and write.
    Messages,
    /// SynIC event flags page of this processor: guest may read and write.
    Events,
    /// Virtual processor assist page of this processor: guest may read and write.
    Assist,
}

/// An overlay was placed, moved or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Which.
    pub kind: OverlayKind,
    /// Its new guest-physical address, page aligned; `None` when it is taken away. The memory below
    /// an overlay that moves away shows again, unchanged.
    pub gpa: Option<u64>,
}
