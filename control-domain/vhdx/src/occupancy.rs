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

    fn word(&mut self, mib: u64) -> (&mut u64, u64) {
        let part = self.parts.entry(mib / TOGETHER);
        let part = part.or_insert_with(|| Box::new([0; (TOGETHER / 64) as usize]));
        (&mut part[(mib % TOGETHER / 64) as usize], 1 << (mib % 64))
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
    }
}
