//! A guest's side of a network channel: memory, messages put together and taken apart.
#![allow(dead_code, reason = "each test file uses its part")]

use guest_buffer::{Buffer, Piece};
use guest_memory::GuestMemory;
use netvsp::{Config, Effect, Gpadls, MacAddress, Nic, Outgoing, Packet};

pub const MAC: [u8; 6] = [0x00, 0x15, 0x5d, 1, 2, 3];
/// Where the guest's buffers and messages are.
pub const RECEIVE: u64 = 0x10000;
pub const SEND: u64 = 0x40000;
pub const SCRATCH: u64 = 0x60000;

/// Handle 7: receive buffer, 8: send buffer.
pub struct Handles;

impl Gpadls for Handles {
    fn find(&self, handle: u32) -> Option<Buffer> {
        match handle {
            7 => Some(buffer(RECEIVE, SEND - RECEIVE)),
            8 => Some(buffer(SEND, SCRATCH - SEND)),
            _ => None,
        }
    }
}

pub fn buffer(gpa: u64, length: u64) -> Buffer {
    Buffer::new([Piece { gpa, length }])
}

pub fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().expect("four"))
}

pub fn config() -> Config {
    Config {
        mac: MacAddress(MAC),
        mtu: 1500,
        link_speed: 10_000_000_000,
        name: "net".into(),
        checksums: true,
        large_send: 0x1_0000,
        channels: 4,
    }
}

pub struct Bench {
    pub nic: Nic,
    pub ram: GuestMemory,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            nic: Nic::new(config(), true),
            ram: GuestMemory::anonymous(2 << 20).expect("memory"),
        }
    }

    /// After the handshake, with RNDIS running and a filter set.
    pub fn ready() -> Self {
        let mut bench = Self::new();
        bench.shake_hands(0x6_0001);
        let done = bench.control(&words(&[2, 24, 1, 1, 0, 0x4000]));
        assert_eq!(word(&done, 3), 0);
        assert_eq!(bench.set(0x1010e, &words(&[0x9])), 0);
        bench
    }

    pub fn shake_hands(&mut self, version: u32) {
        let answer = self.ask(&words(&[1, version, version]));
        assert_eq!(
            (word(&answer, 0), word(&answer, 1), word(&answer, 3)),
            (2, version, 1)
        );
        self.ask(&words(&[125, 1514, 0, 8, 0]));
        self.ask(&words(&[100, 6, 30]));
        let answer = self.ask(&words(&[101, 7, 0xcafe]));
        assert_eq!(
            (word(&answer, 1), word(&answer, 2), word(&answer, 3)),
            (1, 1, 0)
        );
        assert!(word(&answer, 4) >= 1514 + 44 && word(&answer, 5) > 50);
        let answer = self.ask(&words(&[104, 8, 0]));
        assert_eq!((word(&answer, 1), word(&answer, 2)), (1, 6144));
    }

    pub fn send(&mut self, payload: &[u8], buffer: Buffer) -> Vec<Effect> {
        let packet = Packet {
            transaction_id: 5,
            wants_completion: true,
            primary: true,
            payload,
            buffer,
        };
        self.nic.receive(packet, &self.ram, &Handles)
    }

    /// A message with an answer.
    pub fn ask(&mut self, payload: &[u8]) -> Vec<u8> {
        let effects = self.send(payload, Buffer::default());
        let [
            Effect::Send(Outgoing::Completion {
                transaction_id: 5,
                payload,
            }),
        ] = &effects[..]
        else {
            panic!("one completion: {effects:?}");
        };
        payload.clone()
    }

    /// An RNDIS message from memory. Answers the status and what else came of it.
    pub fn rndis(&mut self, channel_type: u32, message: &[u8]) -> (u32, Vec<Effect>) {
        self.ram.write(SCRATCH, message).expect("memory");
        let memory = buffer(SCRATCH, message.len() as u64);
        self.rndis_from(&[107, channel_type, u32::MAX, 0], memory)
    }

    pub fn rndis_from(&mut self, payload: &[u32], memory: Buffer) -> (u32, Vec<Effect>) {
        let mut effects = self.send(&words(payload), memory);
        let Effect::Send(Outgoing::Completion { payload, .. }) = effects.remove(0) else {
            panic!("the completion comes first");
        };
        assert_eq!(word(&payload, 0), 108);
        (word(&payload, 1), effects)
    }

    /// What lies in the receive buffer, given back at once.
    pub fn take(&mut self, outgoing: &Outgoing) -> Vec<u8> {
        let Outgoing::TransferPages {
            transaction_id,
            page_set,
            offset,
            length,
            payload,
        } = outgoing
        else {
            panic!("transfer pages: {outgoing:?}");
        };
        assert_eq!(
            (*page_set, word(payload, 0), word(payload, 2)),
            (0xcafe, 107, u32::MAX)
        );
        let mut bytes = vec![0; *length as usize];
        let start = RECEIVE + u64::from(*offset);
        self.ram.read(start, &mut bytes).expect("memory");
        assert_eq!(word(&bytes, 1), *length, "a message says how long it is");
        assert!(self.nic.completed(*transaction_id));
        bytes
    }

    /// A control message and its answer.
    pub fn control(&mut self, message: &[u8]) -> Vec<u8> {
        let (status, effects) = self.rndis(1, message);
        assert_eq!(status, 1);
        let [Effect::Send(outgoing)] = &effects[..] else {
            panic!("one answer: {effects:?}");
        };
        self.take(outgoing)
    }

    pub fn query(&mut self, oid: u32) -> (u32, Vec<u8>) {
        let answer = self.control(&words(&[4, 28, 9, oid, 0, 0, 0]));
        assert_eq!((word(&answer, 0), word(&answer, 2)), (0x8000_0004, 9));
        let (length, offset) = (word(&answer, 4) as usize, word(&answer, 5) as usize);
        (word(&answer, 3), answer[8 + offset..][..length].to_vec())
    }

    pub fn set(&mut self, oid: u32, value: &[u8]) -> u32 {
        let mut message = words(&[
            5,
            28 + value.len() as u32,
            9,
            oid,
            value.len() as u32,
            20,
            0,
        ]);
        message.extend(value);
        let answer = self.control(&message);
        assert_eq!((word(&answer, 0), word(&answer, 2)), (0x8000_0005, 9));
        word(&answer, 3)
    }
}

/// An RNDIS packet: information beside the frame, the frame, padding.
pub fn packet(info: &[(u32, u32)], frame: &[u8], padding: usize) -> Vec<u8> {
    let info: Vec<u8> = info
        .iter()
        .flat_map(|(kind, value)| words(&[16, *kind, 12, *value]))
        .collect();
    let length = 44 + info.len() + frame.len() + padding;
    let info_offset = if info.is_empty() { 0 } else { 36 };
    let mut message = words(&[
        1,
        length as u32,
        36 + info.len() as u32,
        frame.len() as u32,
        0,
        0,
        0,
        info_offset,
        info.len() as u32,
        0,
        0,
    ]);
    message.extend(info);
    message.extend(frame);
    message.resize(length, 0);
    message
}

pub fn frame(to: [u8; 6], length: usize) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend((6..length).map(|i| i as u8));
    frame
}
