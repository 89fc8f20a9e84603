//! How many processors the kernel runs on.

/// Number of CPUs that are online; 0 if the kernel does not say.
pub fn online() -> usize {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    count(list.trim()).unwrap_or(0)
}

/// Number of CPUs in a list like `0-3,5` (kernel documentation, admin-guide/cputopology).
fn count(list: &str) -> Option<usize> {
    list.split(',').try_fold(0_usize, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn lists_are_counted() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3"), Some(4));
        assert_eq!(count("0-3,5,8-9"), Some(7));
    }

    #[test]
    fn nonsense_is_not_counted() {
        for list in ["", "x", "3-0", "0-18446744073709551615", "1,,2"] {
            assert_eq!(count(list), None, "{list}");
        }
    }
}
