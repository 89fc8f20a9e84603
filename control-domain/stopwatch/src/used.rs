//! Time and memory, from the kernel. What can't be read counts as 0.

use rustix::time::{ClockId, clock_gettime};

/// /proc counts in hundredths of a second (proc(5), USER_HZ).
const NS_PER_TICK: u64 = 10_000_000;

/// Nanoseconds since the PC started.
pub fn clock_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Nanoseconds of all CPUs together without work, also while a disk works.
pub fn idle_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    idle_ticks(&text) * NS_PER_TICK
}

/// Fields of the first line: cpu user nice system idle iowait … (proc_stat(5)).
fn idle_ticks(stat: &str) -> u64 {
    let words = stat.lines().next().unwrap_or_default().split_whitespace();
    let idle = words.skip(4).take(2).map(|word| word.parse().unwrap_or(0));
    idle.sum::<u64>()
}

/// Resident memory of a process in KiB that is its own: its code and its heap, not what it shares with the guest.
pub fn own_memory_kib(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    ["RssAnon:", "RssFile:"]
        .map(|name| field_kib(&text, name))
        .iter()
        .sum()
}

fn field_kib(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|text| text.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_idle_and_waiting_for_disks() {
        assert_eq!(idle_ticks("cpu  1 2 3 40 5 6 7 8\ncpu0 9 9 9 9 9\n"), 45);
        assert_eq!(idle_ticks(""), 0);
    }

    #[test]
    fn fields_of_a_process() {
        let status = "VmRSS:\t  900 kB\nRssAnon:\t     120 kB\nRssShmem:\t 700 kB\n";
        assert_eq!(field_kib(status, "RssAnon:"), 120);
        assert_eq!(field_kib(status, "RssFile:"), 0);
        assert!(own_memory_kib(std::process::id()) > 0);
    }
}
