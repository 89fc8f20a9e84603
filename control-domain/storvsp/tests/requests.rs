//! SCSI requests over a channel.

mod guest;

use guest::{Bench, Ended, disk_unit};
use guest_buffer::{Buffer, Piece};
use storvsp::wire::{Operation, Version};
use storvsp::{Attachment, Outcome, Packet};

fn good(moved: u32) -> Ended {
    Ended {
        srb_status: 1,
        scsi_status: 0,
        moved,
        sense: vec![],
    }
}

fn srb(status: u8) -> Ended {
    Ended {
        srb_status: status,
        scsi_status: 0,
        moved: 0,
        sense: vec![],
    }
}

fn read_10(first: u8, count: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, first, 0, 0, count, 0]
}

#[test]
fn data_go_where_the_pieces_are() {
    let mut bench = Bench::ready();
    let pieces = [(0x1ff0, 0x10), (0x8000, 0x1000), (0x5000, 0x1f0)];
    let moved = bench.execute(&read_10(3, 9), &pieces);
    assert_eq!(moved, good(9 * 512));
    let data: Vec<u8> = pieces
        .iter()
        .flat_map(|&(gpa, length)| bench.peek(gpa as usize, length as usize))
        .collect();
    assert!(data == bench.medium.bytes[3 * 512..12 * 512]);
    assert_eq!(
        bench.peek(0x5000 + 0x1f0, 1),
        [0],
        "nothing behind the buffer"
    );

    // And back to another place.
    let write = [0x2a, 8, 0, 0, 0, 100, 0, 0, 9, 0];
    assert_eq!(bench.execute(&write, &pieces), good(9 * 512));
    assert!(bench.medium.bytes[100 * 512..109 * 512] == data);
    assert_eq!(bench.medium.flushes, 1, "FUA");
    let compare = [0x2f, 2, 0, 0, 0, 100, 0, 0, 9, 0];
    assert_eq!(bench.execute(&compare, &pieces), good(9 * 512));
    bench.medium.bytes[104 * 512] ^= 1;
    assert_eq!(bench.execute(&compare, &pieces).sense[2], 0x0e);
}

#[test]
fn a_large_transfer_moves_in_one_request() {
    let mut bench = Bench::ready();
    let read = [0x28, 0, 0, 0, 0, 0, 0, 6, 1, 0];
    assert_eq!(bench.execute(&read, &[(0, 0x601 * 512)]), good(0x601 * 512));
    assert!(bench.peek(0, 0x601 * 512) == bench.medium.bytes[..0x601 * 512]);
}

#[test]
fn a_short_answer_says_how_short() {
    let mut bench = Bench::ready();
    assert_eq!(
        bench.execute(&[0x12, 0, 0, 0, 255, 0], &[(0x100, 255)]),
        good(36)
    );
    assert_eq!(&bench.peek(0x108, 8), b"Msft    ");
    assert_eq!(
        bench.execute(&[0x12, 0, 0, 0, 255, 0], &[(0x100, 8)]),
        good(8)
    );
}

#[test]
fn parameters_come_from_memory() {
    let mut bench = Bench::ready();
    let mut list = vec![0, 0, 0, 16, 0, 0, 0, 0];
    list.extend(40u64.to_be_bytes());
    list.extend([0, 0, 0, 2, 0, 0, 0, 0]);
    bench.ram.write(0x2000, &list).expect("memory");
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    assert_eq!(bench.execute(&unmap, &[(0x2000, 24)]), good(0));
    assert_eq!(bench.medium.discarded, [(40 * 512, 1024)]);

    bench.ram.write(0x3000, &[0x5a; 512]).expect("memory");
    let write_same = [0x41, 0, 0, 0, 0, 50, 0, 0, 3, 0];
    assert_eq!(bench.execute(&write_same, &[(0x3000, 512)]), good(0));
    assert!(
        bench.medium.bytes[50 * 512..53 * 512]
            .iter()
            .all(|byte| *byte == 0x5a)
    );
    assert_ne!(bench.medium.bytes[53 * 512..54 * 512], [0x5a; 512]);
}

#[test]
fn sense_comes_with_the_request() {
    let mut bench = Bench::ready();
    let refused = bench.execute(&[0x7f, 0, 0, 0, 0, 0], &[]);
    assert_eq!((refused.srb_status, refused.scsi_status), (0x84, 2));
    assert_eq!(refused.sense[..3], [0x70, 0, 5]);
    assert_eq!((refused.sense.len(), refused.sense[12]), (18, 0x20));

    bench.medium.bad = Some(5 * 512);
    let failed = bench.execute(&read_10(4, 3), &[(0, 1536)]);
    assert_eq!(
        (failed.srb_status, failed.scsi_status, failed.moved),
        (0x84, 2, 0)
    );
    assert_eq!(failed.sense[..7], [0xf0, 0, 3, 0, 0, 0, 4]);
    assert_eq!(failed.sense[12], 0x11);

    // A guest without room for sense gets none, and is not told that there is.
    let mut packet = bench.request(0, 0, &[0x7f], &Buffer::default());
    packet[12 + 9] = 0;
    let Outcome::Complete(completion) = bench.send(&packet, Buffer::default()) else {
        panic!("a completion");
    };
    assert_eq!((completion.payload[14], completion.payload[15]), (4, 2));
    assert_eq!(completion.payload[21], 0);
}

#[test]
fn units_that_are_not_there_are_no_errors_of_the_controller() {
    let mut bench = Bench::ready();
    assert_eq!(bench.execute_at(0, 1, &[0; 6], &[]), srb(0x20));
    let (removed, told) = bench.controller.remove(0).expect("it was there");
    assert!(matches!(removed, scsi::Unit::Disk(_)) && told.is_some());
    assert_eq!(bench.execute(&[0; 6], &[]), srb(0x20), "Linux removes it");
    assert_eq!(bench.execute(&[0x12, 0, 0, 0, 36, 0], &[(0, 36)]), good(36));
    assert_eq!(bench.peek(0, 1), [0x7f]);
}

#[test]
fn buffers_that_do_not_fit_move_nothing() {
    let mut bench = Bench::ready();
    let before = bench.medium.bytes.clone();
    // Less room than the command moves, no memory, more bytes claimed than ranges given.
    assert_eq!(bench.execute(&read_10(0, 2), &[(0, 512)]), srb(0x12));
    assert_eq!(
        bench.execute(&read_10(0, 1), &[(0xff_ffff_f000, 512)]),
        srb(6)
    );
    assert_eq!(
        bench.execute(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[(u64::MAX, 512)]),
        srb(6)
    );
    assert_eq!(
        bench.execute(&[0x12, 0, 0, 0, 36, 0], &[(1 << 40, 512)]),
        srb(6)
    );
    let buffer = Buffer::new([Piece {
        gpa: 0,
        length: 512,
    }]);
    let packet = bench.request(0, 0, &read_10(0, 1), &buffer);
    let Outcome::Complete(completion) = bench.send(&packet, Buffer::default()) else {
        panic!("a completion");
    };
    assert_eq!(completion.payload[14], 6);
    assert!(bench.medium.bytes == before);
}

#[test]
fn an_ide_disk_is_found_at_its_drive() {
    let mut bench = Bench::new(Attachment::Ide {
        channel: 1,
        drive: 1,
    });
    bench.controller.add(0, disk_unit());
    bench.shake_hands(Version::WIN8);
    assert_eq!(bench.execute_at(1, 0, &[0; 6], &[]), good(0));
    assert_eq!(bench.execute_at(0, 0, &[0; 6], &[]), srb(0x20));
    assert_eq!(bench.execute_at(1, 1, &[0; 6], &[]), srb(0x20));
    assert_eq!(
        bench.control(Operation::CREATE_SUB_CHANNELS, &[1, 0]).0,
        0xc000_000d
    );
}

#[test]
fn resets_are_told_by_the_next_command() {
    let mut bench = Bench::ready();
    for reset in [4, 5, 6].map(Operation) {
        assert_eq!(bench.control(reset, &[0; 52]).0, 0);
        let news = bench.execute(&[0; 6], &[]);
        assert_eq!((news.sense[2], news.sense[12]), (6, 0x29));
        assert_eq!(bench.execute(&[0; 6], &[]), good(0));
    }
    let mut elsewhere = [0; 52];
    elsewhere[6] = 1;
    assert_eq!(
        bench.control(Operation::RESET_LUN, &elsewhere).0,
        0xc000_00c0
    );
}

#[test]
fn a_packet_without_a_wish_for_completion_gets_none() {
    let mut bench = Bench::ready();
    let packet = bench.packet(Operation::RESET_BUS, &[]);
    let packet = Packet {
        transaction_id: 1,
        wants_completion: false,
        payload: &packet,
        buffer: Buffer::default(),
    };
    assert_eq!(bench.controller.receive(packet, &bench.ram), Outcome::Done);
}

/// Linux looks at eight buses with two targets each, takes a refused INQUIRY for a disk, and INVALID_LUN to REPORT
/// LUNS for the end of the unit with that number at bus 0.
#[test]
fn who_looks_for_units_elsewhere_is_told_that_there_is_none() {
    let mut bench = Bench::ready();
    for (target, lun) in [(0, 9), (1, 0), (1, 3)] {
        let inquiry = bench.execute_at(target, lun, &[0x12, 0, 0, 0, 36, 0], &[(0x4000, 36)]);
        assert_eq!(
            (inquiry.srb_status, inquiry.moved),
            (1, 36),
            "{target} {lun}"
        );
        assert_eq!(bench.peek(0x4000, 1), [0x7f]);
        bench.ram.write(0x4000, &[0xff; 16]).expect("memory");
        let list = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
        let list = bench.execute_at(target, lun, &list, &[(0x4000, 16)]);
        assert_eq!((list.srb_status, list.moved), (1, 8), "{target} {lun}");
        assert_eq!(bench.peek(0x4000, 8), [0; 8]);
        let ready = bench.execute_at(target, lun, &[0; 6], &[]);
        assert_eq!(ready.srb_status, 0x20, "{target} {lun}");
    }
}
