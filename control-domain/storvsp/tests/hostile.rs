//! Any packet: no panic, and one answer at most.

mod guest;

use disk_testing::Random;
use guest::Bench;
use guest_buffer::{Buffer, Piece};
use storvsp::{Outcome, Packet, perform};

#[test]
fn no_packet_panics() {
    let mut chance = Random::new(1);
    let mut bench = Bench::ready();
    let mut started = 0;
    for round in 0..200_000u32 {
        if round % 500 == 0 {
            bench.controller.opened();
            bench.shake_hands(storvsp::wire::Version::WIN8);
        }
        let length = match chance.below(4) {
            0 => (chance.below(80)) as usize,
            _ => 64,
        };
        let mut payload: Vec<u8> = (0..length)
            .map(|_| (chance.number() & chance.number()) as u8)
            .collect();
        if let [operation, a, b, c, ..] = payload.as_mut_slice() {
            *operation = if *operation % 4 == 0 {
                *operation % 16
            } else {
                3
            };
            (*a, *b, *c) = (0, 0, 0);
        }
        if length == 64 && chance.coin() {
            // To the unit that is there.
            payload[17..20].fill(0);
            payload[24..28].copy_from_slice(&4096u32.to_le_bytes());
            payload[20] = 16;
            // And to blocks that are there, in the forms of 10 bytes.
            payload[29..33].fill(0);
            payload[35] = 0;
            payload[36] &= 15;
            payload[28] = [0x28, 0x2a, 0x42, 0x93, 0x12, 0x1a, 0x2f][round as usize % 7];
        }
        let pieces = (0..chance.below(4)).map(|_| Piece {
            gpa: chance.number() >> (chance.below(64)),
            length: chance.number() >> (chance.below(64)),
        });
        let buffer = Buffer::new(pieces.collect::<Vec<_>>());
        let packet = Packet {
            transaction_id: 77,
            wants_completion: chance.below(8) != 0,
            payload: &payload,
            buffer,
        };
        if let Outcome::Start(io) = bench.controller.receive(packet, &bench.ram) {
            started += 1;
            assert_eq!(io.buffer.length(), io.request.transfer_length());
            perform(io, &mut bench.medium, &bench.ram);
        }
    }
    assert!(
        started > 100,
        "chance must get as far as the disk: {started}"
    );
}
