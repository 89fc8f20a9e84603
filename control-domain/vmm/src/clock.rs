//! The time stamp counter as the machine's clock.

use hypercall::read_tsc;
use std::path::Path;
use std::time::{Duration, Instant};

/// A time stamp counter with its frequency, and the moment at which the machine's time is 0.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Frequency in Hz.
    pub tsc_hz: u64,
    /// Nanoseconds per tick, times 2^32: every exit asks for the time, and a product is cheaper than
    /// a quotient. Off by less than a nanosecond per second.
    ns_per_tick_q32: u64,
    /// Physical counter value at the machine's time 0.
    pub epoch: u64,
    /// Linux calls the counter stable, so that a guest may read it by itself.
    pub stable: bool,
}

/// How long the counter is compared with Linux's clock. The reading error of a pair is below a
/// microsecond, so the frequency is right to about 10 ppm.
const MEASUREMENT: Duration = Duration::from_millis(100);

impl Clock {
    /// Measures the counter against CLOCK_MONOTONIC, which Linux keeps disciplined, and takes this
    /// moment as the machine's time 0.
    pub fn measure() -> Self {
        let (start, tsc_start) = simultaneous();
        std::thread::sleep(MEASUREMENT);
        let (end, tsc_end) = simultaneous();
        let nanoseconds = end.duration_since(start).as_nanos().max(1);
        let ticks = u128::from(tsc_end.saturating_sub(tsc_start));
        let tsc_hz = u64::try_from(ticks * 1_000_000_000 / nanoseconds)
            .unwrap_or(u64::MAX)
            .max(1);
        Self::new(tsc_hz, read_tsc(), linux_trusts_tsc())
    }

    /// A clock whose parts are known. The frequency is at least 1 Hz.
    pub fn new(tsc_hz: u64, epoch: u64, stable: bool) -> Self {
        let ns_per_tick_q32 = (1_000_000_000_u128 << 32) / u128::from(tsc_hz.max(1));
        Self {
            tsc_hz,
            ns_per_tick_q32: ns_per_tick_q32 as u64,
            epoch,
            stable,
        }
    }

    /// Nanoseconds of the machine's time.
    pub fn now_ns(&self) -> u64 {
        self.nanoseconds(read_tsc().saturating_sub(self.epoch))
    }

    /// How long it is from now until the machine's time is `ns`.
    pub fn until_ns(&self, ns: u64) -> Duration {
        Duration::from_nanos(ns.saturating_sub(self.now_ns()))
    }

    /// How long it is until the physical counter reaches `tsc`, rounded up.
    pub fn until_tsc(&self, tsc: u64) -> Duration {
        Duration::from_nanos(
            self.nanoseconds(tsc.saturating_sub(read_tsc()))
                .saturating_add(1),
        )
    }

    fn nanoseconds(&self, ticks: u64) -> u64 {
        let ns = (u128::from(ticks) * u128::from(self.ns_per_tick_q32)) >> 32;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// Linux's clock and the counter at the same moment: of several pairs, the tightest.
fn simultaneous() -> (Instant, u64) {
    let pairs = (0..8).map(|_| {
        let before = read_tsc();
        let instant = Instant::now();
        let after = read_tsc();
        (
            after.wrapping_sub(before),
            instant,
            before.wrapping_add(after.wrapping_sub(before) / 2),
        )
    });
    let best = pairs.min_by_key(|pair| pair.0);
    best.map_or_else(
        || (Instant::now(), read_tsc()),
        |(_, instant, tsc)| (instant, tsc),
    )
}

/// Linux takes a counter that it found unstable off the list of clock sources.
fn linux_trusts_tsc() -> bool {
    let folder = Path::new("/sys/devices/system/clocksource/clocksource0");
    std::fs::read_to_string(folder.join("available_clocksource"))
        .is_ok_and(|list| list.split_whitespace().any(|name| name == "tsc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_agrees_with_linux() {
        let clock = Clock::measure();
        let (start, before) = (Instant::now(), clock.now_ns());
        std::thread::sleep(Duration::from_millis(50));
        let ours = (clock.now_ns() - before) as f64;
        let linux = start.elapsed().as_nanos() as f64;
        assert!((ours / linux - 1.0).abs() < 0.02, "{ours} against {linux}");
    }

    #[test]
    fn long_times_do_not_wrap() {
        let clock = Clock::new(3_000_000_000, 0, true);
        let year = 86_400 * 365;
        let error = clock
            .nanoseconds(3_000_000_000 * year)
            .abs_diff(year * 1_000_000_000);
        assert!(error <= year, "{error}");
        assert!(clock.until_tsc(u64::MAX) > Duration::from_secs(86_400));
    }
}
