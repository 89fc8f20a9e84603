//! The pages that a guest has given.

use crate::wire::PageRange;
use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges of pages that don't touch each other, by their first page.
#[derive(Debug, Default)]
pub struct Pages {
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl Pages {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Puts a range in. `false`: it is empty, or a page of it is there already.
    pub fn add(&mut self, range: PageRange) -> bool {
        let Range { start, end } = range.first..range.first.saturating_add(range.count);
        let below = self.ranges.range(..end).next_back();
        let below = below.map(|(first, count)| (*first, first + count));
        if start >= end || below.is_some_and(|(_, last)| last > start) {
            return false;
        }
        let first = below.filter(|(_, last)| *last == start).map(|b| b.0);
        let first = first.unwrap_or(start);
        let above = self.ranges.remove(&end).unwrap_or(0);
        self.ranges.insert(first, end + above - first);
        self.count += range.count;
        true
    }

    /// Takes at most `most` pages out, those with the highest numbers first.
    pub fn take(&mut self, most: u64) -> Option<PageRange> {
        let most = most.min(PageRange::MOST);
        let (&first, &count) = self.ranges.last_key_value().filter(|_| most > 0)?;
        let taken = count.min(most);
        match count - taken {
            0 => self.ranges.remove(&first),
            left => self.ranges.insert(first, left),
        };
        self.count -= taken;
        Some(PageRange {
            first: first + count - taken,
            count: taken,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, count: u64) -> PageRange {
        PageRange { first, count }
    }

    #[test]
    fn a_page_is_given_once() {
        let mut pages = Pages::default();
        assert!(pages.add(range(100, 10)));
        assert!(pages.add(range(120, 5)));
        for (first, count) in [(100, 1), (109, 1), (95, 6), (90, 50), (124, 2), (110, 0)] {
            assert!(!pages.add(range(first, count)), "{first} {count}");
        }
        assert!(pages.add(range(110, 10)), "what lies between");
        assert!(pages.add(range(99, 1)));
        assert_eq!(pages.count(), 26);
        assert_eq!(pages.ranges.len(), 1);
        assert_eq!(pages.take(6), Some(range(119, 6)));
        assert_eq!(pages.take(0), None);
        assert_eq!(pages.take(100), Some(range(99, 20)));
        assert_eq!((pages.take(1), pages.count()), (None, 0));
    }

    #[test]
    fn a_range_of_a_message_has_so_many_pages_at_most() {
        let mut pages = Pages::default();
        for first in [0, PageRange::MOST] {
            assert!(pages.add(range(first, PageRange::MOST)));
        }
        let taken = pages.take(u64::MAX).unwrap();
        assert_eq!(taken, range(PageRange::MOST, PageRange::MOST));
        assert_eq!(PageRange::from_word(taken.to_word()), taken);
    }
}
