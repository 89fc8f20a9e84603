//! What all processors of a machine share, and where its overlay pages lie.

use super::synic::overlay;
use crate::effect::Effect;
use core::sync::atomic::{AtomicU64, Ordering};
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
    guest_os_id: AtomicU64,
    hypercall: AtomicU64,
    reference_tsc: AtomicU64,
    crash: [AtomicU64; 5],
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

    /// Does the guest have a hypercall page? Hypercalls are #UD before.
    pub fn hypercalls_enabled(&self) -> bool {
        self.hypercall() & HYPERCALL_ENABLE != 0
    }

    pub(super) fn guest_os_id(&self) -> u64 {
        self.guest_os_id.load(Ordering::Relaxed)
    }

    /// An operating system says who it is; 0 takes the hypercall page away (TLFS, Hypercall
    /// Interface).
    pub(super) fn set_guest_os_id(&self, value: u64) -> Effect {
        self.guest_os_id.store(value, Ordering::Relaxed);
        if value == 0 {
            self.place_hypercall(self.hypercall() & !HYPERCALL_ENABLE)
        } else {
            Effect::None
        }
    }

    pub(super) fn hypercall(&self) -> u64 {
        self.hypercall.load(Ordering::Relaxed)
    }

    /// Ignored before an operating system said who it is, and after the page was locked (TLFS,
    /// Hypercall Interface).
    pub(super) fn set_hypercall(&self, value: u64) -> Effect {
        if self.guest_os_id() == 0 || self.hypercall() & HYPERCALL_LOCKED != 0 {
            return Effect::None;
        }
        self.place_hypercall(value)
    }

    fn place_hypercall(&self, value: u64) -> Effect {
        let mut register = self.hypercall();
        let effect = overlay(OverlayKind::Hypercall, &mut register, value);
        self.hypercall.store(register, Ordering::Relaxed);
        effect
    }

    pub(super) fn reference_tsc(&self) -> u64 {
        self.reference_tsc.load(Ordering::Relaxed)
    }

    pub(super) fn set_reference_tsc(&self, value: u64) -> Effect {
        let mut register = self.reference_tsc();
        let effect = overlay(OverlayKind::ReferenceTsc, &mut register, value);
        self.reference_tsc.store(register, Ordering::Relaxed);
        effect
    }

    pub(super) fn crash_parameter(&self, index: usize) -> u64 {
        self.crash
            .get(index)
            .map_or(0, |parameter| parameter.load(Ordering::Relaxed))
    }

    pub(super) fn set_crash_parameter(&self, index: usize, value: u64) {
        if let Some(parameter) = self.crash.get(index) {
            parameter.store(value, Ordering::Relaxed);
        }
    }
}

/// Hypercall register: the page is there.
const HYPERCALL_ENABLE: u64 = 1;
/// Hypercall register: it can't change any more.
const HYPERCALL_LOCKED: u64 = 1 << 1;

/// A page of the hypervisor that a guest lays over its memory (TLFS, overlay pages).
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
