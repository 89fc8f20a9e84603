//! NMIs that arrive while the hypervisor itself runs: they are the control domain's.
//!
//! The handler marks them here and lets the entry that may be about to happen end at once, so that
//! none waits for the next exit.

use super::controls::primary;
use super::switch;
use super::vmcs::Field;
use crate::handoff::MAX_CPUS;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

static ARRIVED: [Waiting; MAX_CPUS] = [const { Waiting(AtomicBool::new(false)) }; MAX_CPUS];
/// The CPU runs on VMX and has a current VMCS.
static ACTIVE: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// CPU `index` has a current VMCS from now on.
pub fn activate(index: usize) {
    if let Some(active) = ACTIVE.get(index) {
        active.store(true, SeqCst);
    }
}

/// An NMI was taken by the hypervisor on CPU `index`, where this runs.
pub fn arrived(index: usize) {
    let (Some(arrived), Some(active)) = (ARRIVED.get(index), ACTIVE.get(index)) else {
        return;
    };
    arrived.0.store(true, SeqCst);
    if active.load(SeqCst) && switch::vmptrst() != u64::MAX {
        // Both kinds of processor have virtual NMIs, so the control is legal.
        let controls = switch::vmread(Field::PRIMARY_CONTROLS.0);
        switch::vmwrite(
            Field::PRIMARY_CONTROLS.0,
            controls | u64::from(primary::NMI_WINDOW_EXITING),
        );
    }
}

/// The mark of one CPU.
pub struct Waiting(AtomicBool);

impl Waiting {
    /// Takes it away; answers whether it was there.
    pub fn take(&self) -> bool {
        self.0.swap(false, SeqCst)
    }

    /// Whether it is there.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.0.load(SeqCst)
    }
}

/// The mark of CPU `index`; `None` for more CPUs than there can be.
pub fn waiting(index: usize) -> Option<&'static Waiting> {
    ARRIVED.get(index)
}
