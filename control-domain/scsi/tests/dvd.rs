//! A DVD drive, as Linux's sr and cdrom and Windows' cdrom.sys ask.

mod units;

use scsi::{Action, Range, Request, Target, Unit};
use units::{data, dvd_target, run, sense};

const BLOCKS: u64 = 300;

fn drive() -> Target {
    dvd_target(Some(BLOCKS * 2048))
}

fn event(target: &mut Target) -> Vec<u8> {
    data(run(target, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]))
}

#[test]
fn a_disc_is_described() {
    let mut target = drive();
    let inquiry = data(run(&mut target, &[0x12, 0, 0, 0, 96]));
    assert_eq!(inquiry[..2], [5, 0x80]);
    assert_eq!(&inquiry[8..], b"Msft    Virtual DVD-ROM 1.0 ");
    assert_eq!(data(run(&mut target, &[0x25])), [0, 0, 1, 43, 0, 0, 8, 0]);
    let toc = data(run(&mut target, &[0x43, 0, 0, 0, 0, 0, 0, 0, 100]));
    assert_eq!(toc[..4], [0, 18, 1, 1]);
    assert_eq!(toc[4..12], [0, 0x14, 1, 0, 0, 0, 0, 0]);
    assert_eq!(toc[12..], [0, 0x14, 0xaa, 0, 0, 0, 1, 44]);
    let minutes = data(run(&mut target, &[0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100]));
    assert_eq!(minutes[4..], [0, 0x14, 0xaa, 0, 0, 0, 6, 0]);
    let sessions = data(run(&mut target, &[0x43, 0, 1, 0, 0, 0, 0, 0, 100]));
    assert_eq!(sessions, [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    assert_eq!(
        sense(run(&mut target, &[0x43, 0, 0, 0, 0, 0, 2, 0, 100])),
        (5, 0x24, 0, Some(6))
    );
    let information = data(run(&mut target, &[0x51, 0, 0, 0, 0, 0, 0, 0, 34]));
    assert_eq!(information[..8], [0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
}

#[test]
fn features_are_those_of_a_dvd_rom_drive() {
    let mut target = drive();
    let all = data(run(&mut target, &[0x46, 0, 0, 0, 0, 0, 0, 4, 0]));
    assert_eq!(
        all.len(),
        u32::from_be_bytes([all[0], all[1], all[2], all[3]]) as usize + 4
    );
    assert_eq!(all[6..8], [0, 0x10], "the current profile");
    let mut numbers = Vec::new();
    let mut rest = &all[8..];
    while let [high, low, _, length, ..] = *rest {
        numbers.push(u16::from_be_bytes([high, low]));
        rest = &rest[4 + usize::from(length)..];
    }
    assert_eq!(numbers, [0, 1, 2, 3, 0x10, 0x1f]);
    let one = data(run(&mut target, &[0x46, 2, 0, 0x1f, 0, 0, 0, 0, 64]));
    assert_eq!(one[8..], [0, 0x1f, 1, 0]);
    let none = data(run(&mut target, &[0x46, 2, 0, 0x20, 0, 0, 0, 0, 64]));
    assert_eq!(none.len(), 8, "a feature that is not there is no error");
}

#[test]
fn reads_are_of_2048_bytes_and_writes_are_not_known() {
    let mut target = drive();
    let range = Range {
        offset: 299 * 2048,
        length: 2048,
    };
    let last = [0x28, 0, 0, 0, 1, 43, 0, 0, 1];
    assert_eq!(
        run(&mut target, &last),
        Action::Medium(Request::Read(range))
    );
    assert_eq!(
        sense(run(&mut target, &[0x28, 0, 0, 0, 1, 43, 0, 0, 2])),
        (5, 0x21, 0, None)
    );
    assert_eq!(sense(run(&mut target, &[0x2a])), (5, 0x20, 0, Some(0)));
}

#[test]
fn a_disc_is_ejected_unless_it_is_locked() {
    let mut target = drive();
    assert_eq!(run(&mut target, &[0x1e, 0, 0, 0, 1]), Action::Data(vec![]));
    assert_eq!(
        sense(run(&mut target, &[0x1b, 0, 0, 0, 2])),
        (5, 0x53, 2, None)
    );
    let locked = data(run(&mut target, &[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128]));
    assert_eq!(locked[8..10], [0x2a, 22]);
    assert_eq!(locked[14] & 2, 2);
    run(&mut target, &[0x1e]);
    assert_eq!(run(&mut target, &[0x1b, 0, 0, 0, 2]), Action::Ejected);
    assert_eq!(
        run(&mut target, &[0x1b, 0, 0, 0, 2]),
        Action::Data(vec![]),
        "it is out already"
    );
    assert_eq!(sense(run(&mut target, &[0])), (2, 0x3a, 2, None));
    assert_eq!(event(&mut target), [0, 6, 4, 0x10, 3, 1, 0, 0]);
    assert_eq!(
        data(run(&mut target, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]))[1],
        0x10
    );
    // The tray goes in again, empty.
    assert_eq!(
        sense(run(&mut target, &[0x1b, 0, 0, 0, 3])),
        (2, 0x3a, 1, None)
    );
    assert_eq!(sense(run(&mut target, &[0x43])), (2, 0x3a, 1, None));
}

#[test]
fn a_new_disc_is_told_as_event_and_as_attention() {
    let mut target = dvd_target(None);
    assert_eq!(sense(run(&mut target, &[0x25])), (2, 0x3a, 1, None));
    assert_eq!(event(&mut target)[4..6], [0, 0]);
    let Some(Unit::Dvd(dvd)) = target.unit(0) else {
        panic!("a drive");
    };
    dvd.set_medium(Some(4096));
    assert_eq!(event(&mut target)[4..6], [2, 2]);
    assert_eq!(event(&mut target)[4..6], [0, 2]);
    assert_eq!(sense(run(&mut target, &[0])), (6, 0x28, 0, None));
    assert_eq!(data(run(&mut target, &[0x25]))[..4], [0, 0, 0, 1]);
    // Only asking is supported.
    assert_eq!(sense(run(&mut target, &[0x4a])), (5, 0x24, 0, Some(1)));
    assert_eq!(
        data(run(&mut target, &[0x4a, 1, 0, 0, 1, 0, 0, 0, 8])),
        [0, 2, 0x80, 0x10]
    );
}
