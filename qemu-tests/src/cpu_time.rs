//! CPU seconds of another process: `/proc/PID/stat` (proc(5)).

use std::time::Duration;

/// Clock ticks in a second; Linux answers 100 for `_SC_CLK_TCK` on every architecture it still
/// has.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a live process, all threads; `None` when it is gone.
pub fn of_process(pid: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is a program's name in parentheses and may hold anything, so fields are
/// counted behind its end.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    Some(Duration::from_millis(
        ticks.checked_mul(1000)? / TICKS_PER_SECOND,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_passed_over() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 12 0 0 0 150 50 0 0 20 0 1 0 9";
        assert_eq!(parse(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn this_process_has_one() {
        assert!(of_process(std::process::id()).is_some());
    }
}
