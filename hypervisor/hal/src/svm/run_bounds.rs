//! Bounds on runs in which a guest only waits for another of its processors (APM vol. 2 §15.14.4).
//!
//! A processor that spins may wait for one whose thread the control domain has not let run: after a
//! while the control domain gets its CPU back. In Bochs this is needed for a guest with two processors
//! to start at all (`docs/decisions/0005-waiting-guests.md`).

use super::vmcb::{Vmcb, misc1};

/// So many pauses in a row are a loop: 40 to 65 cycles each on a PC, hence about 15 µs.
const PAUSE_LOOP_COUNT: u16 = 1 << 10;
/// Pauses that are no further apart belong to one loop: in cycles.
const PAUSE_GAP_CYCLES: u16 = 512;

/// The PAUSE filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseLoop {
    /// 0 where the CPU looks at no gap: it then counts all pauses since the entry.
    gap_cycles: u16,
}

impl PauseLoop {
    /// From CPUID 8000_000A EDX; `None` where the CPU has none, and each PAUSE would exit.
    pub const fn new(features: u32) -> Option<Self> {
        const FILTER: u32 = 1 << 10;
        const THRESHOLD: u32 = 1 << 12;
        if features & FILTER == 0 {
            return None;
        }
        let gap_cycles = match features & THRESHOLD {
            0 => 0,
            _ => PAUSE_GAP_CYCLES,
        };
        Some(Self { gap_cycles })
    }

    /// Writes the bound into the VMCB; exits leave it as it is.
    pub fn write_to(self, vmcb: &mut Vmcb) {
        vmcb.intercept_misc1 |= misc1::PAUSE;
        vmcb.pause_count = PAUSE_LOOP_COUNT;
        vmcb.pause_threshold = self.gap_cycles;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_filter_no_pause_is_intercepted_and_without_a_threshold_none_is_asked_for() {
        // As Bochs's Ryzen and a PC's report it, and QEMU 7.2.
        assert_eq!(PauseLoop::new(0x44f), Some(PauseLoop { gap_cycles: 0 }));
        let pc = PauseLoop::new(0x119b_bcff);
        let gap_cycles = PAUSE_GAP_CYCLES;
        assert_eq!(pc, Some(PauseLoop { gap_cycles }));
        assert_eq!(PauseLoop::new(1), None);
    }

    #[test]
    fn the_bound_is_an_intercept_with_a_count() {
        let mut vmcb = Vmcb::zeroed();
        PauseLoop { gap_cycles: 7 }.write_to(&mut vmcb);
        assert_eq!(vmcb.intercept_misc1, misc1::PAUSE);
        assert_eq!((vmcb.pause_count, vmcb.pause_threshold), (1 << 10, 7));
    }
}
