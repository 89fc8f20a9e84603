//! Power cuts everywhere in a merge: the chain reads the same at every point, and the merge goes on.
#![allow(clippy::unwrap_used)]

mod chains;

use chains::{Chain, Kind, content, scribble};
use disk_testing::{Random, Volatile, rounds};

/// Random subsets of unflushed sectors that are tried with each merge.
const SUBSETS: usize = 1000;

/// Merges the top of a chain into the file `depth` below it.
fn merge(chain: &Chain, depth: usize) {
    let top = chain.files.len() - 1;
    let mut upper = chain.open(top, false);
    let mut below = chain.open(top - depth, false);
    let mut into = chain.open(top - depth, true);
    let (upper, below) = (upper.as_mut(), below.as_mut());
    disks::merge_data(upper, depth as u32, below, into.as_mut(), &mut |_, _| ()).unwrap();
    into.close().unwrap();
}

fn cut_everywhere(kinds: &[Kind], depth: usize, first_seed: u64) {
    for seed in rounds(first_seed) {
        cut_once(kinds, depth, seed);
    }
}

fn cut_once(kinds: &[Kind], depth: usize, seed: u64) {
    let mut random = Random::new(seed);
    let chain = Chain::new(kinds, 512);
    let mut model = vec![0; chain.size() as usize];
    for file in 0..kinds.len() {
        let mut disk = chain.open(file, true);
        scribble(&mut random, disk.as_mut(), &mut model, 8);
        disk.close().unwrap();
    }
    let top = kinds.len() - 1;
    let target = top - depth;
    // The file that is written, with nothing behind it that a cut could take.
    let begin = |image| {
        let mut begun = chain.clone();
        begun.files[target].1 = Volatile::from_image(image);
        begun
    };
    let begun = begin(chain.files[target].1.image());
    assert!(content(begun.open(top, false).as_mut()) == model);
    merge(&begun, depth);
    assert!(content(begun.open(target, false).as_mut()) == model);
    let count = begun.files[target].1.cuts(seed, SUBSETS, |cut| {
        let what = || format!("{kinds:?}, seed {seed}, {}", cut.what);
        let left = begin(cut.image.clone());
        assert!(
            content(left.open(top, false).as_mut()) == model,
            "{}",
            what()
        );
        merge(&left, depth);
        assert!(
            content(left.open(target, false).as_mut()) == model,
            "{}: again",
            what()
        );
    });
    eprintln!("{kinds:?}, seed {seed}: {count} cuts");
    assert!(count > SUBSETS);
}

#[test]
fn merging_vhds_survives() {
    use Kind::{VhdChild, VhdDynamic};
    cut_everywhere(&[VhdDynamic, VhdChild], 1, 1);
    cut_everywhere(&[VhdDynamic, VhdChild, VhdChild], 1, 2);
    cut_everywhere(&[VhdDynamic, VhdChild, VhdChild], 2, 3);
}

#[test]
fn merging_vhdxs_survives() {
    use Kind::{VhdxChild, VhdxDynamic};
    cut_everywhere(&[VhdxDynamic, VhdxChild], 1, 4);
    cut_everywhere(&[VhdxDynamic, VhdxChild, VhdxChild], 2, 5);
}
