//! Units that come, go and are not there.

mod units;

use scsi::{Action, DiskUnit, Target, Unit};
use units::{config, data, disk_target, run, sense};

fn luns(target: &mut Target) -> Vec<u8> {
    let list = data(run(target, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 8, 8]));
    assert_eq!(list[..4], (list.len() as u32 - 8).to_be_bytes());
    list[8..].chunks(8).map(|lun| lun[1]).collect()
}

fn disk() -> Unit {
    Unit::Disk(DiskUnit::new(config()))
}

#[test]
fn units_that_come_and_go_are_told() {
    let mut target = disk_target(config());
    assert_eq!(luns(&mut target), [0]);
    assert_eq!(
        run(&mut target, &[0]),
        Action::Data(vec![]),
        "no news at first"
    );
    assert!(target.add(200, disk()).is_none());
    assert_eq!(sense(run(&mut target, &[0])), (6, 0x3f, 0x0e, None));
    assert!(target.add(9, disk()).is_none());
    // Who has read the list needs no news.
    assert_eq!(luns(&mut target), [0, 9, 200]);
    assert_eq!(run(&mut target, &[0]), Action::Data(vec![]));
    assert!(target.remove(9).is_some() && target.remove(9).is_none());
    assert_eq!(sense(run(&mut target, &[0])), (6, 0x3f, 0x0e, None));
    assert_eq!(luns(&mut target), [0, 200]);
}

#[test]
fn where_no_unit_is_only_the_target_answers() {
    let mut target = Target::default();
    target.add(3, disk());
    assert_eq!(luns(&mut target), [3]);
    let inquiry = data(run(&mut target, &[0x12, 0, 0, 0, 36]));
    assert_eq!((inquiry[0], inquiry.len()), (0x7f, 36));
    assert_eq!(sense(run(&mut target, &[0])), (5, 0x25, 0, None));
    assert_eq!(
        sense(run(&mut target, &[0x12, 1, 0x83, 0, 36])),
        (5, 0x25, 0, None)
    );
    let found = data(run(&mut target, &[3, 0, 0, 0, 18]));
    assert_eq!((found[2], found[12]), (5, 0x25));
    assert!(target.answers(0, &[0x12]) && target.answers(0, &[0xa0]));
    assert!(!target.answers(0, &[0]) && !target.answers(1, &[0x12]) && target.answers(3, &[0]));
    assert_eq!(
        sense(run(&mut target, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15])),
        (5, 0x24, 0, Some(6))
    );
    assert_eq!(
        sense(run(&mut target, &[0xa0, 0, 3, 0, 0, 0, 0, 0, 0, 16])),
        (5, 0x24, 0, Some(2))
    );
}

#[test]
fn a_command_that_is_cut_is_refused() {
    let mut target = disk_target(config());
    assert_eq!(sense(target.command(0, &[], &[])), (5, 0x20, 0, Some(0)));
    assert_eq!(
        sense(target.command(0, &[0x28, 0, 0], &[])),
        (5, 0x24, 0, None)
    );
    for opcode in [0x60, 0x7f, 0xc0, 0xff, 0x17, 0x5f] {
        assert_eq!(sense(run(&mut target, &[opcode])), (5, 0x20, 0, Some(0)));
    }
}
