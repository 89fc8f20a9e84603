//! Bounds on runs in which a guest only waits for another of its processors (SDM vol. 3 §26.1.3,
//! §26.5.1).
//!
//! A processor that spins may wait for one whose thread the control domain has not let run: after a
//! while the control domain gets its CPU back. And a run that starts with the guest's interrupts off
//! is bounded whatever it does. On a PC the second bound hardly ever ends a run; in Bochs both are
//! needed for a guest with two processors to start (`docs/decisions/0005-waiting-guests.md`).

use super::controls::{Capability, Controls, pin, secondary};
use super::vmcs::{Field, Vmcs};

/// Pauses that are no further apart belong to one loop: in cycles of the time stamp counter. One
/// takes up to 140.
const PAUSE_GAP_CYCLES: u32 = 512;
/// So long a loop may last.
const PAUSE_LOOP_CYCLES: u32 = 1 << 14;
/// So long a run may last that started with interrupts off: 1 ms of Bochs's 120 MHz, 44 µs at 3 GHz.
const INTERRUPTS_OFF_CYCLES: u32 = 1 << 17;

/// The preemption timer; all CPUs' are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreemptionTimer {
    /// [`INTERRUPTS_OFF_CYCLES`] in its own ticks.
    ticks: u32,
}

impl PreemptionTimer {
    /// From the pin-based controls and IA32_VMX_MISC; `None` where the CPU has no such timer.
    pub const fn new(pin: Capability, misc: u64) -> Option<Self> {
        if pin.allowed() & pin::PREEMPTION_TIMER == 0 {
            return None;
        }
        // It counts down at each change of this bit of the time stamp counter.
        let rate = misc & 0x1f;
        Some(Self {
            ticks: match INTERRUPTS_OFF_CYCLES >> rate {
                0 => 1,
                ticks => ticks,
            },
        })
    }
}

/// The bounds of one guest's processor.
#[derive(Clone, Copy, Debug)]
pub struct RunBounds {
    timer: Option<PreemptionTimer>,
    pin_at_rest: u32,
    /// The VMCS has the timer on.
    timer_on: bool,
}

impl RunBounds {
    /// Writes the bounds into the VMCS; exits leave them as they are.
    pub fn new(vmcs: &mut Vmcs, controls: &Controls, timer: Option<PreemptionTimer>) -> Self {
        if controls.secondary & secondary::PAUSE_LOOP_EXITING != 0 {
            vmcs.write(Field::PAUSE_GAP, PAUSE_GAP_CYCLES.into());
            vmcs.write(Field::PAUSE_WINDOW, PAUSE_LOOP_CYCLES.into());
        }
        if let Some(timer) = timer {
            vmcs.write(Field::PREEMPTION_TIMER, timer.ticks.into());
        }
        Self {
            timer,
            pin_at_rest: controls.pin,
            timer_on: false,
        }
    }

    /// Says whether the next run starts with interrupts off.
    #[inline]
    pub fn interrupts_off(&mut self, vmcs: &mut Vmcs, off: bool) {
        if self.timer_on != off && self.timer.is_some() {
            self.timer_on = off;
            let timer = if off { pin::PREEMPTION_TIMER } else { 0 };
            vmcs.write(Field::PIN_CONTROLS, (self.pin_at_rest | timer).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_follows_the_timers_rate_and_is_never_zero() {
        let has = Capability(0xffff_ffff_0000_0016);
        for (misc, ticks) in [(0x2004_01e0, 1 << 17), (5, 1 << 12), (31, 1)] {
            assert_eq!(
                PreemptionTimer::new(has, misc),
                Some(PreemptionTimer { ticks })
            );
        }
    }

    #[test]
    fn a_cpu_without_the_timer_goes_without_its_bound() {
        let without = Capability(0xffff_ffbf_0000_0016);
        assert_eq!(PreemptionTimer::new(without, 0), None);
    }
}
