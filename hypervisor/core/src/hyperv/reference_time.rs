//! Reference time: 100 ns units since the machine's epoch (TLFS, Timers).

/// Converts between machine ticks and reference time, with the same arithmetic as the guest does
/// on the reference TSC page, so that both clocks agree to the last unit.
#[derive(Clone, Copy, Debug)]
pub struct ReferenceClock {
    scale: u64,
}

/// Units of reference time in a second.
const UNITS_PER_SECOND: u128 = 10_000_000;

impl ReferenceClock {
    /// For a TSC of `tsc_hz`, which must be above 10 MHz for a useful scale.
    pub fn new(tsc_hz: u64) -> Self {
        let scale = (UNITS_PER_SECOND << 64) / u128::from(tsc_hz.max(1));
        Self {
            scale: u64::try_from(scale).unwrap_or(u64::MAX),
        }
    }

    /// Reference time at `ticks`.
    pub fn time(&self, ticks: u64) -> u64 {
        (u128::from(ticks) * u128::from(self.scale) >> 64) as u64
    }

    /// The first tick at which the reference time is `time` or later.
    pub fn ticks(&self, time: u64) -> u64 {
        let ticks = (u128::from(time) << 64).div_ceil(u128::from(self.scale.max(1)));
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The first words of the reference TSC page: sequence, scale, offset. All others are 0. The
    /// guest's TSC starts at the epoch, so the offset is 0.
    pub fn page(&self) -> [u64; 3] {
        [1, self.scale, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_ten_million_units() {
        for tsc_hz in [1_000_000_000, 2_995_200_000, 3_599_998_123] {
            let clock = ReferenceClock::new(tsc_hz);
            // The scale is rounded down: a unit in 10^7 is the most that can be missing.
            assert!(10_000_000 - clock.time(tsc_hz) <= 1, "{tsc_hz}");
            let year = 365 * 86_400;
            let error = year * 10_000_000 - clock.time(tsc_hz * year);
            assert!(
                error < 10_000_000 / 1000,
                "{error} units a year at {tsc_hz} Hz"
            );
        }
    }

    #[test]
    fn ticks_is_the_first_tick_of_a_unit() {
        let clock = ReferenceClock::new(2_995_200_000);
        for time in [1, 2, 1000, 123_456_789, u32::MAX.into()] {
            let ticks = clock.ticks(time);
            assert!(clock.time(ticks) >= time);
            assert!(clock.time(ticks - 1) < time);
        }
        assert_eq!(clock.ticks(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_page_gives_the_same_time() {
        let clock = ReferenceClock::new(2_100_000_000);
        let [sequence, scale, offset] = clock.page();
        assert_eq!(sequence, 1);
        let tsc = 987_654_321_012u64;
        let guest = ((u128::from(tsc) * u128::from(scale)) >> 64) as u64 + offset;
        assert_eq!(guest, clock.time(tsc));
    }

    #[test]
    fn absurd_frequencies_do_not_panic() {
        for tsc_hz in [0, 1, 10_000_000, u64::MAX] {
            let clock = ReferenceClock::new(tsc_hz);
            clock.time(u64::MAX);
            clock.ticks(u64::MAX);
        }
    }
}
