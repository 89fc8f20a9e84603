//! Which MiB of a file are used: memory in proportion to what is used.

use crate::MIB;
use std::collections::HashMap;
use std::ops::Range;

/// MiB whose bits are held together: 4 GiB of the file.
const TOGETHER: u64 = 4096;

/// A set of MiB of a file.
#[derive(Default)]
pub struct Occupancy {
    parts: HashMap<u64, Box<[u64; (TOGETHER / 64) as usize]>>,
    /// Bytes that are used.
    pub used: u64,
}

impl Occupancy {
    /// Takes a range, whole MiB. Answers whether all of it was free.
    pub fn take(&mut self, range: Range<u64>) -> bool {
        let mut free = true;
        for mib in range.start / MIB..range.end.div_ceil(MIB) {
            let (word, mask) = self.word(mib);
            if *word & mask == 0 {
                *word |= mask;
                self.used += MIB;
            } else {
                free = false;
            }
        }
        free
    }

    /// Gives a range back.
    pub fn give_back(&mut self, range: Range<u64>) {
        for mib in range.start / MIB..range.end / MIB {
            let (word, mask) = self.word(mib);
            if *word & mask != 0 {
                *word &= !mask;
                self.used -= MIB;
            }
        }
    }

    fn word(&mut self, mib: u64) -> (&mut u64, u64) {
        let part = self.parts.entry(mib / TOGETHER);
        let part = part.or_insert_with(|| Box::new([0; (TOGETHER / 64) as usize]));
        (&mut part[(mib % TOGETHER / 64) as usize], 1 << (mib % 64))
    }

    fn is_used(&self, mib: u64) -> bool {
        let part = self.parts.get(&(mib / TOGETHER));
        part.is_some_and(|part| part[(mib % TOGETHER / 64) as usize] >> (mib % 64) & 1 == 1)
    }

    /// The first free range of `length` bytes at or behind `from`, and before `end`.
    pub fn find(&self, from: u64, length: u64, end: u64) -> Option<u64> {
        let wanted = length.div_ceil(MIB);
        let mut start = from.div_ceil(MIB);
        let mut mib = start;
        while mib < start + wanted {
            if (start + wanted) * MIB > end {
                return None;
            }
            if self.is_used(mib) {
                start = mib + 1;
            }
            mib += 1;
        }
        Some(start * MIB)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_not_found() {
        let mut occupancy = Occupancy::default();
        assert!(occupancy.take(0..3 * MIB) && occupancy.take(4 * MIB..5 * MIB));
        assert!(!occupancy.take(2 * MIB..4 * MIB));
        assert_eq!(occupancy.used, 5 * MIB);
        occupancy.give_back(3 * MIB..4 * MIB);
        assert_eq!(occupancy.find(0, MIB, 9 * MIB), Some(3 * MIB));
        assert_eq!(occupancy.find(0, 2 * MIB, 9 * MIB), Some(5 * MIB));
        assert_eq!(occupancy.find(0, 2 * MIB, 6 * MIB), None);
    }
}
