//! Frames both ways.

mod guest;

use guest::{Bench, MAC, SCRATCH, SEND, buffer, frame, packet, word, words};
use guest_buffer::Buffer;
use netvsp::{Checksums, Effect, Frame, IpVersion, NoRoom, Offload, Segmentation, Verified, Vlan};

const BROADCAST: [u8; 6] = [255; 6];

fn sent(effects: Vec<Effect>) -> Vec<Frame> {
    effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Transmit(frame) => frame,
            other => panic!("a frame: {other:?}"),
        })
        .collect()
}

#[test]
fn several_frames_come_out_of_one_message() {
    let mut bench = Bench::ready();
    let frames = [frame(BROADCAST, 60), frame(MAC, 1514), frame(MAC, 14)];
    let message: Vec<u8> = frames.iter().flat_map(|f| packet(&[], f, 4)).collect();
    let (status, effects) = bench.rndis(0, &message);
    assert_eq!(status, 1);
    let bytes: Vec<_> = sent(effects).into_iter().map(|f| f.bytes).collect();
    assert_eq!(bytes, frames);
    assert_eq!(bench.query(0x2_0101).1, words(&[3]), "they are counted");
}

#[test]
fn a_message_may_lie_in_the_send_buffer_and_go_on_in_memory() {
    let mut bench = Bench::ready();
    let expected = frame(BROADCAST, 1000);
    let message = packet(&[], &expected, 0);
    let (first, second) = message.split_at(100);
    bench.ram.write(SEND + 3 * 6144, first).expect("memory");
    bench.ram.write(SCRATCH, second).expect("memory");
    let rest = buffer(SCRATCH, second.len() as u64);
    let (status, effects) = bench.rndis_from(&[107, 0, 3, 100], rest);
    assert_eq!((status, sent(effects)[0].bytes == expected), (1, true));
    // Sections that are not there, or longer than they are.
    for wrong in [
        [107, 0, 21, 100],
        [107, 0, 3, 6145],
        [107, 0, 0xffff_fffe, 1],
        [107, 9, 3, 100],
    ] {
        let (status, effects) = bench.rndis_from(&wrong, Buffer::default());
        assert_eq!((status, effects.len()), (5, 0), "{wrong:?}");
    }
}

#[test]
fn what_is_said_beside_a_frame_is_understood() {
    let mut bench = Bench::ready();
    let info = [
        (0, 1 | 4 | 16 | 34 << 16),
        (2, 1448 | 54 << 20 | 1 << 30 | 1 << 31),
        (6, 5 | 8 | 100 << 4),
        (99, 1),
    ];
    let (_, effects) = bench.rndis(0, &packet(&info, &frame(MAC, 64), 0));
    let expected = Offload {
        checksums: Some(Checksums {
            ip: IpVersion::V4,
            tcp: true,
            udp: false,
            ip_header: true,
            transport_offset: 34,
        }),
        segmentation: Some(Segmentation {
            ip: IpVersion::V6,
            segment_length: 1448,
            transport_offset: 54,
        }),
        vlan: Some(Vlan {
            priority: 5,
            cfi: true,
            id: 100,
        }),
    };
    assert_eq!(sent(effects)[0].offload, expected);
}

#[test]
fn messages_that_do_not_hold_together_send_nothing() {
    let mut bench = Bench::ready();
    let good = packet(&[(0, 0)], &frame(MAC, 64), 0);
    for (at, value) in [
        (1, 7),
        (1, good.len() as u32 + 1),
        (0, 2),
        (2, good.len() as u32),
        (2, u32::MAX),
        (3, 13),
        (3, u32::MAX),
        (7, u32::MAX),
        (8, 15),
        (11, 11),
        (11, 17),
    ] {
        let mut bad = good.clone();
        bad[4 * at..4 * at + 4].copy_from_slice(&u32::to_le_bytes(value));
        let (status, effects) = bench.rndis(0, &bad);
        assert_eq!((status, effects.len()), (5, 0), "word {at} = {value:#x}");
    }
    assert_eq!(bench.rndis(0, &[]).0, 5);
    let nowhere = buffer(1 << 40, 100);
    assert_eq!(bench.rndis_from(&[107, 0, u32::MAX, 0], nowhere).0, 5);
}

#[test]
fn frames_for_the_guest_lie_in_its_buffer() {
    let mut bench = Bench::ready();
    let vlan = Vlan {
        priority: 3,
        cfi: false,
        id: 7,
    };
    let verified = Verified {
        tcp: true,
        udp: false,
        ip_header: true,
    };
    let expected = frame(MAC, 1514);
    let outgoing = bench
        .nic
        .deliver(&expected, Some(vlan), verified, &bench.ram)
        .expect("room")
        .expect("it is for the guest");
    let message = bench.take(&outgoing);
    assert_eq!(
        (word(&message, 0), word(&message, 2), word(&message, 3)),
        (1, 36 + 32, 1514)
    );
    assert_eq!((word(&message, 7), word(&message, 8)), (36, 32));
    assert_eq!(
        message[44..76],
        [words(&[16, 6, 12, 3 | 7 << 4]), words(&[16, 0, 12, 0x28])].concat()
    );
    assert!(message[76..] == expected);

    let plain = bench
        .nic
        .deliver(&expected, None, Verified::default(), &bench.ram);
    let message = bench.take(&plain.expect("room").expect("for the guest"));
    assert_eq!(
        (word(&message, 2), word(&message, 7), word(&message, 8)),
        (36, 0, 0)
    );
}

#[test]
fn only_what_the_guest_wants_is_delivered() {
    let mut bench = Bench::ready();
    let multicast = [1, 0, 0x5e, 0, 0, 1];
    let other = [2, 0, 0, 0, 0, 9];
    let mut wants = |filter: u32, to: [u8; 6]| {
        assert_eq!(bench.set(0x1_010e, &words(&[filter])), 0);
        let delivered = bench
            .nic
            .deliver(&frame(to, 60), None, Verified::default(), &bench.ram);
        let delivered = delivered.expect("room");
        if let Some(outgoing) = &delivered {
            bench.take(outgoing);
        }
        delivered.is_some()
    };
    for (filter, expected) in [
        (0, [false; 4]),
        (1, [true, false, false, false]),
        (8, [false, true, false, false]),
        (2, [false; 4]),
        (4, [false, false, true, false]),
        (0x20, [true; 4]),
    ] {
        assert_eq!(
            [MAC, BROADCAST, multicast, other].map(|to| wants(filter, to)),
            expected
        );
    }
    assert_eq!(bench.set(0x101_0103, &multicast), 0);
    bench.set(0x1_010e, &words(&[2]));
    let named = bench
        .nic
        .deliver(&frame(multicast, 60), None, Verified::default(), &bench.ram);
    assert!(named.expect("room").is_some());
}

#[test]
fn a_guest_without_room_is_not_overrun() {
    let mut bench = Bench::ready();
    let mut lent = Vec::new();
    let full = loop {
        match bench
            .nic
            .deliver(&frame(MAC, 60), None, Verified::default(), &bench.ram)
        {
            Ok(Some(outgoing)) => lent.push(outgoing),
            other => break other,
        }
    };
    assert_eq!(full, Err(NoRoom));
    assert!(lent.len() > 50);
    assert_eq!(
        bench
            .nic
            .deliver(&[0; 5], None, Verified::default(), &bench.ram),
        Ok(None)
    );
    bench.take(&lent[10]);
    assert!(!bench.nic.completed(10), "it was given back once");
    assert!(!bench.nic.completed(u64::MAX));
    assert!(
        bench
            .nic
            .deliver(&frame(MAC, 60), None, Verified::default(), &bench.ram)
            .is_ok()
    );
    assert!(!bench.nic.fits(&frame(MAC, 4000)) && bench.nic.fits(&frame(MAC, 1514)));
}
