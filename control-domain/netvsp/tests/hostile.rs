//! Any packet: no panic, and frames that are frames.

mod guest;

use disk_testing::Random;
use guest::{Bench, SCRATCH, buffer, packet, words};
use guest_buffer::Buffer;
use netvsp::{Effect, Outgoing, Verified};

#[test]
fn no_packet_panics() {
    let mut chance = Random::new(3);
    let mut bench = Bench::ready();
    let (mut transmitted, mut answered) = (0, 0);
    for round in 0..60_000u32 {
        if round % 50 == 0 {
            bench = Bench::ready();
        }
        // A message that is nearly right, somewhere in memory.
        let mut message = match chance.below(3) {
            0 => packet(&[(0, 5), (6, 7)], &[9; 60], 4),
            1 => words(&[4, 28, 1, 0x1_0101 + chance.below(24) as u32, 0, 0, 0]),
            _ => words(&[5, 32, 1, 0x1_010e, 4, 20, 0, chance.number() as u32]),
        };
        for _ in 0..chance.below(3) {
            let at = chance.below(message.len() as u64) as usize;
            message[at] = chance.number() as u8;
        }
        bench.ram.write(SCRATCH, &message).expect("memory");
        let memory = match chance.below(8) {
            0 => buffer(chance.number(), chance.below(1 << 20)),
            1 => Buffer::default(),
            _ => buffer(SCRATCH, message.len() as u64),
        };
        let kind =
            [107, 107, 107, 107, 101, 104, 103, 106, 125, 1, 133, 200][chance.below(12) as usize];
        let mut payload = words(&[kind, chance.below(3) as u32, u32::MAX, 0]);
        if chance.below(4) == 0 {
            let at = chance.below(16) as usize;
            payload[at] = chance.number() as u8;
            payload.truncate(chance.below(20) as usize);
        }
        for effect in bench.send(&payload, memory) {
            match effect {
                Effect::Transmit(frame) => {
                    transmitted += 1;
                    assert!(frame.bytes.len() >= 14);
                }
                Effect::Send(outgoing @ Outgoing::TransferPages { .. }) => {
                    answered += 1;
                    bench.take(&outgoing);
                }
                Effect::OfferSubchannels(count) => assert!(count < 4),
                Effect::Send(Outgoing::Completion { payload, .. }) => assert!(payload.len() >= 28),
            }
        }
        bench.nic.completed(chance.below(200));
        let arrived = vec![255; chance.below(3000) as usize];
        let _ = bench
            .nic
            .deliver(&arrived, None, Verified::default(), &bench.ram);
    }
    assert!(
        transmitted > 200 && answered > 200,
        "{transmitted} {answered}"
    );
}
