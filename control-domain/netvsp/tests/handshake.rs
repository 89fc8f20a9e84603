//! How a channel starts.

mod guest;

use guest::{Bench, word, words};

#[test]
fn every_version_is_served_and_the_newest_chosen() {
    for version in [2, 0x3_0002, 0x4_0000, 0x5_0000, 0x6_0000, 0x6_0001] {
        let mut bench = Bench::new();
        bench.shake_hands(version);
        let length = bench.ask(&words(&[104, 8, 0])).len();
        assert_eq!(length, if version == 0x6_0001 { 40 } else { 28 });
    }
    let mut bench = Bench::new();
    let answer = bench.ask(&words(&[1, 2, 0x5_0005]));
    assert_eq!((word(&answer, 1), word(&answer, 3)), (0x5_0000, 1));
    let again = bench.ask(&words(&[1, 2, 2]));
    assert_eq!(word(&again, 3), 2, "a version is agreed on once");
}

#[test]
fn unknown_versions_are_refused_and_the_guest_tries_others() {
    let mut bench = Bench::new();
    for (version, status) in [(0x7_0000, 3), (1, 4), (0x4_0001, 4)] {
        let answer = bench.ask(&words(&[1, version, version]));
        assert_eq!((word(&answer, 1), word(&answer, 3)), (0, status));
    }
    bench.shake_hands(2);
}

#[test]
fn buffers_need_memory_and_a_version() {
    let mut bench = Bench::new();
    assert_eq!(word(&bench.ask(&words(&[101, 7, 0xcafe])), 1), 2);
    bench.ask(&words(&[1, 2, 2]));
    assert_eq!(word(&bench.ask(&words(&[101, 99, 0xcafe])), 1), 2);
    assert_eq!(word(&bench.ask(&words(&[104, 99, 0])), 1), 2);
    assert_eq!(word(&bench.ask(&words(&[101, 7, 0xcafe])), 1), 1);
    assert_eq!(
        word(&bench.ask(&words(&[101, 7, 0xcafe])), 1),
        2,
        "there is one already"
    );
    bench.ask(&words(&[103, 0xcafe]));
    assert_eq!(word(&bench.ask(&words(&[101, 7, 0xcafe])), 1), 1);
}

#[test]
fn what_asks_for_subchannels_wrongly_gets_none() {
    let mut bench = Bench::ready();
    for (operation, count) in [(1, 0), (0, 2), (2, 2)] {
        let answer = bench.ask(&words(&[133, operation, count]));
        assert_eq!(
            (word(&answer, 0), word(&answer, 1), word(&answer, 2)),
            (133, 2, 0)
        );
    }
    let mut old = Bench::new();
    old.shake_hands(0x4_0000);
    assert_eq!(word(&old.ask(&words(&[133, 1, 2])), 1), 2);
}
