//! A disk, command by command, as Linux's sd and Windows' disk.sys ask.

mod units;

use scsi::{Action, Attention, Failure, Range, Request, Unit};
use units::{config, data, describe, disk_target, run, sense};

fn bytes(first: u64, count: u64) -> Range {
    Range {
        offset: first * 512,
        length: count * 512,
    }
}

#[test]
fn inquiry_says_what_hyper_v_says() {
    let mut target = disk_target(config());
    let standard = data(run(&mut target, &[0x12, 0, 0, 0, 36]));
    assert_eq!(standard[..8], [0, 0, 5, 2, 31, 0, 0, 2]);
    assert_eq!(&standard[8..], b"Msft    Virtual Disk    1.0 ");
    // A first look of five bytes is cut, not refused.
    assert_eq!(data(run(&mut target, &[0x12, 0, 0, 0, 5])).len(), 5);
    // Pages without the bit that asks for them.
    assert_eq!(
        sense(run(&mut target, &[0x12, 0, 0x80, 0, 36])),
        (5, 0x24, 0, Some(2))
    );
}

#[test]
fn vital_product_data_is_complete() {
    let mut target = disk_target(config());
    let mut page = |number| data(run(&mut target, &[0x12, 1, number, 1, 0]));
    assert_eq!(page(0), [0, 0, 0, 6, 0, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    assert_eq!(&page(0x80)[4..], b"01020304343536373839616263646566");
    let names = page(0x83);
    assert_eq!(names[4..8], [1, 3, 0, 16]);
    assert_eq!(names[8..12], [0x60, 0x02, 0x24, 0x80]);
    assert_eq!(names[24..28], [2, 1, 0, 40]);
    assert_eq!(names.len(), 28 + 40);
    let limits = page(0xb0);
    let number = |at: usize| u32::from_be_bytes(limits[at..at + 4].try_into().expect("four"));
    assert_eq!(limits[..8], [0, 0xb0, 0, 60, 1, 0, 0, 8]);
    assert_eq!((number(8), number(12)), (2048, 2048));
    assert_eq!((number(20), number(24), number(28)), (1 << 23, 256, 8));
    assert_eq!((number(32), number(36), number(40)), (1 << 31, 0, 65536));
    assert_eq!(page(0xb1)[4..6], [0, 1]);
    assert_eq!(page(0xb2), [0, 0xb2, 0, 4, 0, 0x80, 2, 0]);
    assert_eq!(
        sense(run(&mut target, &[0x12, 1, 0x89, 0, 255])),
        (5, 0x24, 0, Some(2))
    );
}

#[test]
fn names_differ_when_disks_differ_anywhere() {
    let names: std::collections::HashSet<_> = (0..16)
        .map(|at| {
            let mut identity = units::IDENTITY;
            identity.0[at] ^= 1;
            identity.worldwide_name()
        })
        .collect();
    assert_eq!(names.len(), 16);
}

#[test]
fn capacity_in_both_forms() {
    let mut target = disk_target(config());
    assert_eq!(
        data(run(&mut target, &[0x25])),
        [0, 0, 255, 255, 0, 0, 2, 0]
    );
    let mut long = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32];
    let capacity = data(run(&mut target, &long));
    assert_eq!(
        capacity[..15],
        [0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 2, 0, 0, 3, 0x80]
    );
    assert_eq!(capacity.len(), 32);
    long[1] = 0x12;
    assert_eq!(sense(run(&mut target, &long)), (5, 0x24, 0, Some(1)));

    let mut large = config();
    large.blocks = 1 << 32;
    let mut target = disk_target(large);
    assert_eq!(data(run(&mut target, &[0x25]))[..4], [255; 4]);
}

#[test]
fn transfers_of_every_length_name_their_bytes() {
    let mut target = disk_target(config());
    let read = |range| Action::Medium(Request::Read(range));
    let write = |range, durable| Action::Medium(Request::Write { range, durable });
    assert_eq!(run(&mut target, &[0x08, 0, 1, 2, 3]), read(bytes(0x102, 3)));
    assert_eq!(run(&mut target, &[0x08, 0, 0, 0, 0]), read(bytes(0, 256)));
    assert_eq!(
        run(&mut target, &[0x28, 0, 0, 0, 0xff, 0xff, 0, 0, 1]),
        read(bytes(0xffff, 1))
    );
    assert_eq!(
        run(&mut target, &[0xa8, 0, 0, 0, 0, 9, 0, 0, 4, 0]),
        read(bytes(9, 1024))
    );
    let long = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 4];
    assert_eq!(run(&mut target, &long), read(bytes(9, 4)));
    assert_eq!(
        run(&mut target, &[0x0a, 0, 0, 7, 1]),
        write(bytes(7, 1), false)
    );
    assert_eq!(
        run(&mut target, &[0x2a, 8, 0, 0, 0, 7, 0, 0, 1]),
        write(bytes(7, 1), true)
    );
    assert_eq!(
        run(&mut target, &[0x2e, 0, 0, 0, 0, 7, 0, 0, 1]),
        write(bytes(7, 1), true)
    );
    assert_eq!(
        run(&mut target, &[0x28]),
        Action::Data(vec![]),
        "no blocks, nothing to do"
    );
    assert_eq!(run(&mut target, &[0x35]), Action::Medium(Request::Flush));
    assert_eq!(run(&mut target, &[0x91]), Action::Medium(Request::Flush));
    let verify = Request::Verify {
        range: bytes(3, 2),
        compare: true,
    };
    assert_eq!(verify.transfer_length(), 1024);
    assert_eq!(
        run(&mut target, &[0x2f, 2, 0, 0, 0, 3, 0, 0, 2]),
        Action::Medium(verify)
    );
}

#[test]
fn ranges_off_the_disk_are_refused_with_their_block() {
    let mut target = disk_target(config());
    let Action::Check(refused) = run(&mut target, &[0x28, 0, 0, 0, 0xff, 0xff, 0, 0, 2]) else {
        panic!("refused");
    };
    assert_eq!(describe(&refused), (5, 0x21, 0, None));
    assert_eq!(refused.to_bytes()[..7], [0xf0, 0, 5, 0, 0, 0xff, 0xff]);
    let far = [
        0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    ];
    let Action::Check(refused) = run(&mut target, &far) else {
        panic!("refused");
    };
    assert_eq!(
        refused.to_bytes()[0],
        0x70,
        "a block of 64 bits can't be said"
    );
    // Longer than block limits allow, and protection information.
    assert_eq!(
        sense(run(&mut target, &[0x28, 0, 0, 0, 0, 0, 0, 8, 1])),
        (5, 0x24, 0, Some(7))
    );
    assert_eq!(
        sense(run(&mut target, &[0x28, 0x20])),
        (5, 0x24, 0, Some(1))
    );
}

#[test]
fn unmap_names_ranges() {
    let mut target = disk_target(config());
    let list = |ranges: &[(u64, u32)]| {
        let mut list = vec![0; 8];
        list[3] = (16 * ranges.len()) as u8;
        for (first, count) in ranges {
            list.extend(first.to_be_bytes());
            list.extend(count.to_be_bytes());
            list.extend([0; 4]);
        }
        list
    };
    let mut unmap = |list: &[u8]| {
        let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
        assert_eq!(target.parameter_length(0, &cdb), list.len());
        target.command(0, &cdb, list)
    };
    assert_eq!(
        unmap(&list(&[(8, 8), (0, 0), (100, 1)])),
        Action::Medium(Request::Discard(vec![bytes(8, 8), bytes(100, 1)]))
    );
    assert_eq!(unmap(&[]), Action::Data(vec![]));
    assert_eq!(unmap(&[0; 8]), Action::Data(vec![]));
    assert_eq!(sense(unmap(&[0; 7])), (5, 0x1a, 0, None));
    assert_eq!(sense(unmap(&list(&[(0xffff, 2)]))), (5, 0x21, 0, None));
    // More bytes announced than sent.
    let cut = target.command(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &[0; 23]);
    assert_eq!(sense(cut), (5, 0x1a, 0, None));
}

#[test]
fn write_same_fills() {
    let mut target = disk_target(config());
    let cdb = [0x93, 8, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0];
    assert_eq!(target.parameter_length(0, &cdb), 512);
    let block = vec![7; 512];
    let filled = target.command(0, &cdb, &block);
    let range = bytes(4, 2);
    assert_eq!(filled, Action::Medium(Request::Fill { range, block }));
    assert_eq!(
        sense(target.command(0, &cdb, &[7; 511])),
        (5, 0x1a, 0, None)
    );
    let without_data = [0x93, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0];
    assert_eq!(target.parameter_length(0, &without_data), 0);
    let block = vec![0; 512];
    let filled = target.command(0, &without_data, &[]);
    assert_eq!(filled, Action::Medium(Request::Fill { range, block }));
    // No number of blocks.
    let all = [0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        sense(target.command(0, &all, &[0; 512])),
        (5, 0x24, 0, Some(7))
    );
}

#[test]
fn mode_pages_tell_of_cache_and_protection() {
    let mut read_only = config();
    read_only.read_only = true;
    let mut target = disk_target(read_only);
    let all = data(run(&mut target, &[0x1a, 0, 0x3f, 0, 192]));
    assert_eq!(usize::from(all[0]), all.len() - 1);
    assert_eq!(all[2..4], [0x90, 8]);
    assert_eq!(all[4..12], [0, 1, 0, 0, 0, 0, 2, 0]);
    let caching = data(run(&mut target, &[0x5a, 8, 0x08, 0, 0, 0, 0, 0, 192]));
    assert_eq!(caching[..8], [0, 26, 0, 0x90, 0, 0, 0, 0]);
    assert_eq!(caching[8..11], [8, 18, 4]);
    let changeable = data(run(&mut target, &[0x1a, 8, 0x48, 0, 192]));
    assert_eq!(changeable[4..7], [8, 18, 0]);
    let long_blocks = data(run(&mut target, &[0x5a, 0x10, 0x0a, 0, 0, 0, 0, 0, 192]));
    assert_eq!((long_blocks[4], long_blocks[7]), (1, 16));
    assert_eq!(
        sense(run(&mut target, &[0x1a, 0, 0xc8, 0, 192])),
        (5, 0x39, 0, None)
    );
    assert_eq!(
        sense(run(&mut target, &[0x1a, 0, 0x05, 0, 192])),
        (5, 0x24, 0, Some(2))
    );
    assert_eq!(
        sense(run(&mut target, &[0x1a, 0, 0x0a, 5, 192])),
        (5, 0x24, 0, Some(3))
    );

    for write in [0x0a, 0x2a, 0xaa, 0x8a] {
        let mut cdb = [0; 16];
        cdb[0] = write;
        assert_eq!(sense(run(&mut target, &cdb)), (7, 0x27, 0, None));
    }
}

#[test]
fn a_new_size_is_told_once() {
    let mut target = disk_target(config());
    let Some(Unit::Disk(disk)) = target.unit(0) else {
        panic!("a disk");
    };
    disk.resize(0x1_0000);
    disk.resize(0x2_0000);
    // INQUIRY tells nothing and forgets nothing.
    assert_eq!(data(run(&mut target, &[0x12, 0, 0, 0, 36])).len(), 36);
    assert_eq!(sense(run(&mut target, &[0])), (6, 0x2a, 9, None));
    assert_eq!(run(&mut target, &[0]), Action::Data(vec![]));
    assert_eq!(data(run(&mut target, &[0x25]))[..4], [0, 1, 255, 255]);

    target.reset(None);
    let news = data(run(&mut target, &[0x03, 0, 0, 0, 252]));
    assert_eq!((news[2], news[12], news[13]), (6, 0x29, 0));
    let none = data(run(&mut target, &[0x03, 0, 0, 0, 252]));
    assert_eq!((none[2], none[12]), (0, 0));
    assert_eq!(
        sense(run(&mut target, &[0x03, 1, 0, 0, 252])),
        (5, 0x24, 0, Some(1))
    );
    // The name is public, so that a machine can say what it did.
    assert_ne!(Attention::Reset, Attention::CapacityChanged);
}

#[test]
fn failures_of_the_medium_become_sense() {
    let range = bytes(0x1234, 2);
    let read = Request::Read(range);
    let write = Request::Write {
        range,
        durable: false,
    };
    for (request, failure, expected) in [
        (&read, Failure::Medium, (3, 0x11, 0, None)),
        (&write, Failure::Medium, (3, 0x0c, 0, None)),
        (&write, Failure::OutOfSpace, (7, 0x27, 7, None)),
        (&write, Failure::ReadOnly, (7, 0x27, 0, None)),
        (&read, Failure::Different, (0xe, 0x1d, 0, None)),
        (&Request::Flush, Failure::Medium, (3, 0x0c, 0, None)),
    ] {
        let sense = request.failure(failure, 512);
        assert_eq!(describe(&sense), expected);
        let block = (*request != Request::Flush).then_some(0x1234);
        assert_eq!(sense.information, block);
    }
}
