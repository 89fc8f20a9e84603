//! The power cuts that a storage's flushes allow.

use crate::volatile::{Change, Epoch};
use crate::{Image, Moment, Random, Volatile};

/// What one power cut leaves.
pub struct Cut {
    /// When it came: nothing that was told later is in the file.
    pub moment: Moment,
    /// The file.
    pub image: Image,
    /// Which cut it is, for a message.
    pub what: String,
}

impl Volatile {
    /// Calls `judge` for each cut: all prefixes of the stream of writes; each one and each pair of
    /// an epoch's writes missing; and `subsets` random subsets of an epoch's 512-byte sectors.
    /// Answers the number of cuts.
    pub fn cuts(&self, seed: u64, subsets: usize, mut judge: impl FnMut(Cut)) -> usize {
        let epochs: Vec<Epoch> = {
            let state = self.state();
            state.past.iter().chain([&state.epoch]).cloned().collect()
        };
        let mut count = 0;
        let mut cut = |epoch: usize, change: usize, image: Image, what: String| {
            count += 1;
            let moment = Moment { epoch, change };
            judge(Cut {
                moment,
                image,
                what,
            });
        };
        for (number, epoch) in epochs.iter().enumerate() {
            let all = epoch.changes.len();
            let mut image = epoch.safe.clone();
            for (done, change) in epoch.changes.iter().enumerate() {
                let what = format!("epoch {number}, the first {done} of {all}");
                cut(number, done, image.clone(), what);
                change.apply(&mut image);
            }
            for first in 0..all {
                for second in first..all {
                    let image = epoch.without(|change| change == first || change == second);
                    let what = format!("epoch {number}, all of {all} but {first} and {second}");
                    cut(number, all, image, what);
                }
            }
        }
        let told: Vec<usize> = (0..epochs.len())
            .filter(|epoch| !epochs[*epoch].changes.is_empty())
            .collect();
        let mut random = Random::new(seed);
        for subset in 0..subsets {
            let Some(&number) = told.get(random.below(told.len() as u64) as usize) else {
                break;
            };
            let epoch = &epochs[number];
            let done = 1 + random.below(epoch.changes.len() as u64) as usize;
            let mut image = epoch.safe.clone();
            // Not always half of them: now nearly all arrive, now nearly none.
            let odds = 1 + random.below(15);
            for sector in epoch.changes[..done].iter().flat_map(Change::sectors) {
                if random.below(16) < odds {
                    sector.apply(&mut image);
                }
            }
            let what = format!("seed {seed}, subset {subset} (epoch {number}, {done} writes)");
            cut(number, done, image, what);
        }
        count
    }
}

impl Epoch {
    fn without(&self, lost: impl Fn(usize) -> bool) -> Image {
        let mut image = self.safe.clone();
        for (number, change) in self.changes.iter().enumerate() {
            if !lost(number) {
                change.apply(&mut image);
            }
        }
        image
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use disk::Storage;

    #[test]
    fn what_was_flushed_is_in_every_later_cut_and_what_was_not_is_missing_in_some() {
        let mut storage = Volatile::new(vec![0; 4096]);
        storage.write_at(0, &[1; 512]).unwrap();
        storage.flush().unwrap();
        storage.write_at(512, &[2; 1024]).unwrap();
        storage.write_at(2048, &[3; 512]).unwrap();
        let (mut torn, mut kept, mut lost) = (0, 0, 0);
        let count = storage.cuts(7, 200, |cut| {
            let bytes = cut.image.bytes();
            if cut.moment.epoch == 1 {
                assert!(bytes[..512] == [1; 512], "{}", cut.what);
                torn += usize::from(bytes[512] != bytes[1024]);
            }
            kept += usize::from(bytes[2048] == 3);
            lost += usize::from(bytes[2048] == 0);
        });
        // Prefixes: 1 + 2. Drops: 1 + 3.
        assert_eq!(count, 3 + 4 + 200);
        assert!(torn > 10 && kept > 10 && lost > 10, "{torn} {kept} {lost}");
    }
}
