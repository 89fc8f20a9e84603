//! A channel in a driver's hands.

use guest_memory::GuestMemory;
use std::sync::atomic::{Ordering::SeqCst, fence};
use vmbus::message::OfferBody;

/// A channel: pages of both rings, that to the host first.
#[derive(Clone, Debug)]
pub struct DriverChannel {
    /// Its number.
    pub number: u32,
    /// Where it is signalled.
    pub connection: u32,
    /// Memory of the rings.
    pub gpadl: u32,
    /// The pages of both rings.
    pub pages: Vec<u64>,
}

/// A packet from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Type.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
    /// Transaction.
    pub transaction: u64,
    /// Between descriptor and data.
    pub header: Vec<u8>,
    /// Data with its padding.
    pub data: Vec<u8>,
}

const WRITE: u64 = 0;
const READ: u64 = 4;
const MASK: u64 = 8;
const PENDING: u64 = 12;
const FEATURES: u64 = 64;

impl DriverChannel {
    /// The channel of an offer, with rings in a GPADL of these pages.
    pub fn of(offer: &OfferBody, gpadl: u32, pages: Vec<u64>) -> Self {
        Self {
            number: offer.channel.get(),
            connection: offer.connection.get(),
            gpadl,
            pages,
        }
    }

    fn half(&self, down: bool) -> &[u64] {
        let (up_pages, down_pages) = self.pages.split_at(self.pages.len() / 2);
        if down { down_pages } else { up_pages }
    }

    /// Address of a word in the header of a ring.
    pub fn header(&self, down: bool, field: u64) -> u64 {
        self.half(down)[0] * 4096 + field
    }

    /// Bytes of a ring's data.
    pub fn size(&self) -> u32 {
        (self.pages.len() / 2 - 1) as u32 * 4096
    }

    /// Both rings empty, at their start.
    pub fn reset(&self, memory: &GuestMemory) {
        for down in [false, true] {
            for (field, value) in [
                (WRITE, 0),
                (READ, 0),
                (MASK, 0),
                (PENDING, 0),
                (FEATURES, 1),
            ] {
                memory.store_u32(self.header(down, field), value).unwrap();
            }
        }
    }

    /// A word in the header of a ring.
    pub fn word(&self, memory: &GuestMemory, down: bool, field: u64) -> u32 {
        memory.load_u32(self.header(down, field)).unwrap()
    }

    /// Changes a word in the header of a ring.
    pub fn set_word(&self, memory: &GuestMemory, down: bool, field: u64, value: u32) {
        memory.store_u32(self.header(down, field), value).unwrap();
    }

    fn address(&self, down: bool, index: u32) -> u64 {
        let index = index % self.size();
        self.half(down)[1 + index as usize / 4096] * 4096 + u64::from(index % 4096)
    }

    /// Builds an ordinary packet.
    pub fn packet(kind: u16, flags: u16, transaction: u64, header: &[u8], data: &[u8]) -> Vec<u8> {
        assert!(header.len().is_multiple_of(8));
        let offset = 16 + header.len();
        let length = (offset + data.len()).next_multiple_of(8);
        let mut packet = Vec::new();
        for word in [kind, offset as u16 / 8, length as u16 / 8, flags] {
            packet.extend(word.to_le_bytes());
        }
        packet.extend(transaction.to_le_bytes());
        packet.extend(header);
        packet.extend(data);
        packet.resize(length, 0);
        packet
    }

    /// Puts a packet's bytes and a trailer into the ring. `None`: no room. Else: must the host be
    /// signalled?
    pub fn send(&self, memory: &GuestMemory, packet: &[u8]) -> Option<bool> {
        let word = |field| self.word(memory, false, field);
        let (write, read, size) = (word(WRITE), word(READ), self.size());
        let used = (write + size - read) % size;
        let length = packet.len() as u32 + 8;
        if size - used <= length {
            return None;
        }
        let trailer = u64::from(write) << 32;
        let bytes = packet.iter().copied().chain(trailer.to_le_bytes());
        for (n, byte) in (0..).zip(bytes) {
            memory
                .write(self.address(false, write + n), &[byte])
                .unwrap();
        }
        self.set_word(memory, false, WRITE, (write + length) % size);
        // As drivers do: the packet first, then a look whether the host sleeps.
        fence(SeqCst);
        Some(word(MASK) == 0 && word(READ) == write)
    }

    /// Takes the next packet of the host. Answers also whether the host waits for the room.
    pub fn receive(&self, memory: &GuestMemory) -> Option<(Received, bool)> {
        let word = |field| self.word(memory, true, field);
        let (write, read, size) = (word(WRITE), word(READ), self.size());
        let used = (write + size - read) % size;
        if used == 0 {
            return None;
        }
        let byte = |n: u32| {
            let mut byte = [0];
            memory
                .read(self.address(true, read + n), &mut byte)
                .unwrap();
            byte[0]
        };
        let u16_at = |n| u16::from_le_bytes([byte(n), byte(n + 1)]);
        let (offset, length) = (u32::from(u16_at(2)) * 8, u32::from(u16_at(4)) * 8);
        assert!(16 <= offset && offset <= length && length + 8 <= used);
        let received = Received {
            kind: u16_at(0),
            flags: u16_at(6),
            transaction: u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15].map(byte)),
            header: (16..offset).map(byte).collect(),
            data: (offset..length).map(byte).collect(),
        };
        self.set_word(memory, true, READ, (read + length + 8) % size);
        fence(SeqCst);
        let pending = word(PENDING);
        let (before, after) = (size - used, size - used + length + 8);
        Some((
            received,
            pending != 0 && before <= pending && after > pending,
        ))
    }
}
