//! Bounds on runs in which a guest only waits for another of its processors (SDM vol. 3 §26.1.3).
//!
//! A processor that spins may wait for one whose thread the control domain has not let run: after a
//! while the control domain gets its CPU back. In Bochs this is needed for a guest with two processors
//! to start at all (`docs/decisions/0005-waiting-guests.md`).

use super::controls::{Controls, secondary};
use super::vmcs::{Field, Vmcs};

/// Pauses that are no further apart belong to one loop: in cycles of the time stamp counter. One
/// takes up to 140.
const PAUSE_GAP_CYCLES: u32 = 512;
/// So long a loop may last.
const PAUSE_LOOP_CYCLES: u32 = 1 << 14;

/// PAUSE-loop exiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseLoop(());

impl PauseLoop {
    /// From a guest's controls; `None` where the CPU has none.
    pub const fn new(guest: &Controls) -> Option<Self> {
        match guest.secondary & secondary::PAUSE_LOOP_EXITING {
            0 => None,
            _ => Some(Self(())),
        }
    }

    /// Writes the bound into the VMCS; exits leave it as it is.
    pub fn write_to(self, vmcs: &mut Vmcs) {
        vmcs.write(Field::PAUSE_GAP, PAUSE_GAP_CYCLES.into());
        vmcs.write(Field::PAUSE_WINDOW, PAUSE_LOOP_CYCLES.into());
    }
}
