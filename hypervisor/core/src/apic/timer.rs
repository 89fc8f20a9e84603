//! The timer of a local APIC (SDM vol. 3 §11.5.4), computed from the clock when it is looked at.
//!
//! Nothing counts. The timer remembers when it was loaded; the current count and the expiry follow
//! from the time. Times are machine ticks (TSC ticks since the machine's epoch). All divisions are
//! exact from the start of the run, so a periodic timer does not drift.

/// How the timer counts: bits 18:17 of its local vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerMode {
    /// Down to 0, once.
    OneShot,
    /// Down to 0 and again.
    Periodic,
    /// Until the guest's TSC passes a deadline.
    TscDeadline,
}

impl TimerMode {
    /// From the local vector. The reserved value 3 counts as one-shot.
    pub const fn from_lvt(lvt: u32) -> Self {
        match lvt >> 17 & 3 {
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::OneShot,
        }
    }
}

/// The timer.
#[derive(Clone, Debug)]
pub struct Timer {
    tsc_hz: u64,
    apic_hz: u64,
    mode: TimerMode,
    divide: u32,
    initial: u32,
    /// When counting began, from `first`.
    start: u64,
    /// The count at `start`: the initial count, or what was left when the timer was changed.
    first: u32,
    /// When it next reaches 0; `None` while stopped.
    expiry: Option<u64>,
    /// In deadline mode: the guest's TSC at expiry, 0 while disarmed.
    tsc_deadline: u64,
    /// Guest's TSC minus machine ticks.
    tsc_adjust: u64,
}

impl Timer {
    /// A stopped timer that counts at `apic_hz` before its divider.
    pub fn new(tsc_hz: u64, apic_hz: u64) -> Self {
        Self {
            tsc_hz: tsc_hz.max(1),
            apic_hz: apic_hz.max(1),
            mode: TimerMode::OneShot,
            divide: 0,
            initial: 0,
            start: 0,
            first: 0,
            expiry: None,
            tsc_deadline: 0,
            tsc_adjust: 0,
        }
    }

    /// Back to power-on. The guest's TSC goes on.
    pub fn reset(&mut self) {
        *self = Self {
            tsc_adjust: self.tsc_adjust,
            ..Self::new(self.tsc_hz, self.apic_hz)
        };
    }

    /// Machine ticks of the next expiry.
    pub fn expiry(&self) -> Option<u64> {
        self.expiry
    }

    /// The initial-count register.
    pub fn initial(&self) -> u32 {
        self.initial
    }

    /// The divide-configuration register.
    pub fn divide(&self) -> u32 {
        self.divide
    }

    /// The deadline register: 0 while disarmed or in another mode.
    pub fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// The mode in the local vector was written. Entering or leaving deadline mode disarms.
    pub fn set_mode(&mut self, mode: TimerMode, now: u64) {
        if mode == self.mode {
            return;
        }
        if mode == TimerMode::TscDeadline || self.mode == TimerMode::TscDeadline {
            self.stop();
            self.mode = mode;
        } else {
            let left = self.current(now);
            self.mode = mode;
            self.resume(left, now);
        }
    }

    /// The divide-configuration register was written: bits 3 and 1:0.
    pub fn set_divide(&mut self, value: u32, now: u64) {
        let left = self.current(now);
        self.divide = value & 0b1011;
        if self.mode != TimerMode::TscDeadline {
            self.resume(left, now);
        }
    }

    /// The initial-count register was written; 0 stops. Ignored in deadline mode.
    pub fn load(&mut self, initial: u32, now: u64) {
        if self.mode == TimerMode::TscDeadline {
            return;
        }
        self.initial = initial;
        self.resume(initial, now);
    }

    /// The deadline register was written; 0 disarms. Ignored in other modes.
    pub fn set_tsc_deadline(&mut self, guest_tsc: u64, now: u64) {
        if self.mode == TimerMode::TscDeadline {
            self.tsc_deadline = guest_tsc;
            self.arm_tsc_deadline(now);
        }
    }

    /// The guest's TSC is now machine ticks plus `adjust`.
    pub fn set_tsc_adjust(&mut self, adjust: u64, now: u64) {
        self.tsc_adjust = adjust;
        self.arm_tsc_deadline(now);
    }

    /// The current-count register.
    pub fn current(&self, now: u64) -> u32 {
        if self.expiry.is_none() || self.mode == TimerMode::TscDeadline {
            return 0;
        }
        let counted = self.counts(now.saturating_sub(self.start));
        match u128::from(self.first).checked_sub(counted) {
            Some(left) if left > 0 => left as u32,
            _ if self.mode == TimerMode::OneShot => 0,
            _ => self.initial - ((counted - u128::from(self.first)) % self.period()) as u32,
        }
    }

    /// Did the timer reach 0 by `now`? It goes on if periodic, else it stops.
    pub fn fire(&mut self, now: u64) -> bool {
        match self.expiry {
            Some(expiry) if now >= expiry => {}
            _ => return false,
        }
        if self.mode == TimerMode::Periodic {
            let counted = self.counts(now.saturating_sub(self.start));
            let periods = counted.saturating_sub(u128::from(self.first)) / self.period() + 1;
            self.expiry = self.after_counts(u128::from(self.first) + periods * self.period());
        } else {
            self.expiry = None;
            self.tsc_deadline = 0;
        }
        true
    }

    fn stop(&mut self) {
        self.expiry = None;
        self.initial = 0;
        self.tsc_deadline = 0;
    }

    /// Counts down from `left`; 0 stops.
    fn resume(&mut self, left: u32, now: u64) {
        self.start = now;
        self.first = left;
        self.expiry = if left == 0 {
            None
        } else {
            self.after_counts(u128::from(left))
        };
    }

    fn period(&self) -> u128 {
        u128::from(self.initial.max(1))
    }

    fn arm_tsc_deadline(&mut self, now: u64) {
        if self.mode != TimerMode::TscDeadline {
            return;
        }
        let guest_now = now.wrapping_add(self.tsc_adjust);
        self.expiry = match self.tsc_deadline {
            0 => None,
            deadline => Some(now.saturating_add(deadline.saturating_sub(guest_now))),
        };
    }

    /// log2 of the divisor: 1 to 128 (SDM vol. 3 figure 11-10).
    fn divide_shift(&self) -> u32 {
        ((self.divide >> 1 & 4 | self.divide & 3) + 1) & 7
    }

    /// Counts that pass in `ticks`.
    fn counts(&self, ticks: u64) -> u128 {
        u128::from(ticks) * u128::from(self.apic_hz)
            / (u128::from(self.tsc_hz) << self.divide_shift())
    }

    /// Ticks after which `counts` have passed, rounded up: never early.
    fn ticks(&self, counts: u128) -> u64 {
        let product = counts.saturating_mul(u128::from(self.tsc_hz) << self.divide_shift());
        u64::try_from(product.div_ceil(u128::from(self.apic_hz))).unwrap_or(u64::MAX)
    }

    fn after_counts(&self, counts: u128) -> Option<u64> {
        Some(self.start.saturating_add(self.ticks(counts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TSC_HZ: u64 = 2_995_200_000;
    const APIC_HZ: u64 = 200_000_000;

    fn timer(divide: u32) -> Timer {
        let mut timer = Timer::new(TSC_HZ, APIC_HZ);
        timer.set_divide(divide, 0);
        timer
    }

    #[test]
    fn divisors_are_those_of_the_manual() {
        for (field, divisor) in [
            (0b0000, 2),
            (0b0001, 4),
            (0b0010, 8),
            (0b0011, 16),
            (0b1000, 32),
            (0b1001, 64),
            (0b1010, 128),
            (0b1011, 1),
        ] {
            assert_eq!(
                1 << timer(field).divide_shift(),
                divisor,
                "field {field:#b}"
            );
        }
    }

    #[test]
    fn one_shot_expires_once_and_never_early() {
        let mut timer = timer(0b1011);
        timer.load(1000, 77);
        let expiry = timer.expiry().unwrap();
        assert_eq!(expiry, 77 + (1000 * TSC_HZ).div_ceil(APIC_HZ));
        assert_eq!(timer.current(77), 1000);
        assert_eq!(timer.current(expiry - 1), 1);
        assert!(!timer.fire(expiry - 1));
        assert_eq!(timer.current(expiry), 0);
        assert!(timer.fire(expiry));
        assert!(!timer.fire(expiry + 1_000_000));
        assert_eq!(timer.expiry(), None);
        assert_eq!(timer.initial(), 1000);
    }

    #[test]
    fn periodic_does_not_drift() {
        let mut timer = timer(0b1011);
        timer.set_mode(TimerMode::Periodic, 0);
        timer.load(333, 5);
        for period in 1..=100_000u64 {
            let expiry = timer.expiry().unwrap();
            assert_eq!(expiry, 5 + (333 * period * TSC_HZ).div_ceil(APIC_HZ));
            assert!(timer.fire(expiry));
        }
    }

    #[test]
    fn periodic_skips_missed_periods() {
        let mut timer = timer(0b1011);
        timer.set_mode(TimerMode::Periodic, 0);
        timer.load(APIC_HZ as u32 / 100, 0);
        assert!(timer.fire(TSC_HZ));
        assert!(!timer.fire(TSC_HZ));
        assert_eq!(timer.expiry(), Some(TSC_HZ + TSC_HZ / 100));
        assert_eq!(timer.current(TSC_HZ + TSC_HZ / 200), APIC_HZ as u32 / 200);
    }

    #[test]
    fn deadline_follows_the_guests_tsc() {
        let mut timer = timer(0);
        timer.set_tsc_deadline(1000, 0);
        assert_eq!(timer.tsc_deadline(), 0, "other modes ignore the register");
        timer.set_mode(TimerMode::TscDeadline, 0);
        timer.set_tsc_adjust(400, 0);
        timer.set_tsc_deadline(1000, 100);
        assert_eq!(timer.expiry(), Some(600));
        timer.set_tsc_adjust(0, 200);
        assert_eq!(timer.expiry(), Some(1000));
        timer.load(5, 200);
        assert_eq!(
            timer.expiry(),
            Some(1000),
            "deadline mode ignores the count"
        );
        assert!(timer.fire(1000));
        assert_eq!(timer.tsc_deadline(), 0);
    }

    #[test]
    fn deadline_in_the_past_expires_at_once() {
        let mut timer = timer(0);
        timer.set_mode(TimerMode::TscDeadline, 0);
        timer.set_tsc_deadline(5, 100);
        assert_eq!(timer.expiry(), Some(100));
    }

    #[test]
    fn changing_the_divider_keeps_the_count() {
        let mut timer = timer(0b1011);
        timer.load(1000, 0);
        let half = timer.expiry().unwrap() / 2;
        timer.set_divide(0b0000, half);
        assert_eq!(timer.current(half), 500);
        let whole = half + (500 * 2 * TSC_HZ).div_ceil(APIC_HZ);
        assert_eq!(timer.expiry(), Some(whole));
    }

    #[test]
    fn extreme_values_do_not_overflow() {
        let mut timer = Timer::new(u64::MAX, 1);
        timer.set_divide(0b1010, u64::MAX);
        timer.set_mode(TimerMode::Periodic, 0);
        timer.load(u32::MAX, u64::MAX - 1);
        timer.fire(u64::MAX);
        timer.current(u64::MAX);
        let mut timer = Timer::new(0, u64::MAX);
        timer.set_mode(TimerMode::Periodic, 0);
        timer.load(1, 0);
        timer.fire(u64::MAX);
        timer.current(u64::MAX);
    }
}
