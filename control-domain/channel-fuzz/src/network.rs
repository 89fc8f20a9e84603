//! A network driver that means harm.

use crate::Records;
use guest_buffer::{Buffer, Piece};
use netvsp::{Config, Effect, Gpadls, MacAddress, Nic, Outgoing, Packet, Verified};

/// Where the receive buffer and the send buffer are; each has 256 KiB.
const RECEIVE: u64 = 0x10_0000;
const SEND: u64 = 0x18_0000;
const BUFFER: u64 = 0x4_0000;

struct Handles;

impl Gpadls for Handles {
    fn find(&self, handle: u32) -> Option<Buffer> {
        let gpa = match handle {
            1 => RECEIVE,
            2 => SEND,
            // Memory that is not there.
            3 => crate::MEMORY - 0x1000,
            _ => return None,
        };
        let length = BUFFER;
        Some(Buffer::new([Piece { gpa, length }]))
    }
}

/// Tries packets on a card; see the crate. The first byte says whether the handshake was made.
pub fn network(input: &[u8]) {
    let (Some((choice, rest)), Some(memory)) = (input.split_first(), crate::memory()) else {
        return;
    };
    let config = Config {
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        link_speed: 1_000_000_000,
        name: "fuzz".into(),
        checksums: choice & 2 != 0,
        large_send: u32::from(*choice) << 8,
        channels: u16::from(*choice >> 4),
    };
    let mut nic = Nic::new(config, true);
    if choice & 1 == 0 {
        for message in [[1u32, 0x6_0001, 0x6_0001], [101, 1, 0xcafe], [104, 2, 0]] {
            let payload: Vec<u8> = message.iter().flat_map(|word| word.to_le_bytes()).collect();
            let packet = Packet {
                transaction_id: 1,
                wants_completion: true,
                primary: true,
                payload: &payload,
                buffer: Buffer::default(),
            };
            nic.receive(packet, &memory, &Handles);
        }
    }
    for record in Records(rest) {
        record.put(&memory);
        let packet = Packet {
            transaction_id: 2,
            wants_completion: record.wants_completion,
            primary: record.payload.len() != 29,
            payload: record.payload,
            buffer: record.buffer(),
        };
        for effect in nic.receive(packet, &memory, &Handles) {
            match effect {
                Effect::Transmit(frame) => assert!(frame.bytes.len() >= 14),
                Effect::OfferSubchannels(count) => assert!(count < u16::from(*choice >> 4)),
                Effect::Send(Outgoing::TransferPages { offset, length, .. }) => {
                    assert!(u64::from(offset) + u64::from(length) <= BUFFER);
                }
                Effect::Send(Outgoing::Completion { .. }) => assert!(record.wants_completion),
            }
        }
        // What the guest completes, and what comes from the network: both of its choice.
        nic.completed(record.payload.len() as u64);
        nic.channel(record.content);
        let _ = nic.deliver(record.content, None, Verified::default(), &memory);
    }
}
