//! The ring that we write and the guest reads.

use super::{RingError, RingMemory, header};
use crate::packet::{Outgoing, TRAILER_BYTES};
use guest_memory::GuestMemory;
use std::sync::atomic::{Ordering::SeqCst, fence};

/// The writing end. The place of the next packet is kept here, not in the guest's memory.
#[derive(Debug)]
pub struct OutgoingRing {
    ring: RingMemory,
    write: u32,
    waits_for_room: bool,
    /// The packet under way; kept for its capacity.
    bytes: Vec<u8>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the ring.
    Done {
        /// The guest may sleep: signal it.
        signal: bool,
    },
    /// There is no room. The guest was asked to signal when there is.
    Full,
}

impl OutgoingRing {
    /// Begins where the guest says, and offers to use the pending send size.
    ///
    /// # Errors
    /// If the indices are no indices, or the ring is no memory.
    pub fn open(ring: RingMemory, memory: &GuestMemory) -> Result<Self, RingError> {
        let write = ring.load_index(memory, header::WRITE_INDEX, "write")?;
        ring.load_index(memory, header::READ_INDEX, "read")?;
        let features = ring.load(memory, header::FEATURES)?;
        let features = features | header::FEATURE_PENDING_SEND_SIZE;
        ring.store(memory, header::FEATURES, features)?;
        Ok(Self {
            ring,
            write,
            waits_for_room: false,
            bytes: Vec::new(),
        })
    }

    /// The guest was asked to signal when there is room.
    pub fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    fn free(&self, memory: &GuestMemory) -> Result<u32, RingError> {
        let read = self.ring.load_index(memory, header::READ_INDEX, "read")?;
        Ok(self.ring.size() - self.ring.distance(read, self.write))
    }

    /// Puts a packet into the ring if there is room.
    ///
    /// # Errors
    /// What the guest did wrong, or that the packet can never fit.
    pub fn send(&mut self, memory: &GuestMemory, packet: &Outgoing<'_>) -> Result<Sent, RingError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let encoded = packet.encode(&mut bytes);
        let trailer = u64::from(self.write) << 32;
        bytes.extend_from_slice(&trailer.to_le_bytes());
        const { assert!(TRAILER_BYTES == 8) };
        let result = match encoded {
            Some(()) => self.put(memory, &bytes),
            None => Err(RingError::TooLong(bytes.len(), self.ring.size())),
        };
        self.bytes = bytes;
        result
    }

    fn put(&mut self, memory: &GuestMemory, bytes: &[u8]) -> Result<Sent, RingError> {
        let size = self.ring.size();
        // A full ring would look empty, so one packet never fills it.
        let length = u32::try_from(bytes.len()).ok().filter(|n| *n < size);
        let length = length.ok_or(RingError::TooLong(bytes.len(), size))?;
        if self.free(memory)? <= length {
            // In this order: the guest makes room, then looks what is waited for.
            self.ring.store(memory, header::PENDING_SEND_SIZE, length)?;
            fence(SeqCst);
            if self.free(memory)? <= length {
                self.waits_for_room = true;
                return Ok(Sent::Full);
            }
            self.waits_for_room = true;
        }
        if std::mem::take(&mut self.waits_for_room) {
            self.ring.store(memory, header::PENDING_SEND_SIZE, 0)?;
        }
        self.ring.write(memory, self.write, bytes)?;
        let before = self.write;
        self.write = self.ring.advance(before, length);
        self.ring.store(memory, header::WRITE_INDEX, self.write)?;
        // The guest allows signals, then looks for packets; we put the packet, then look.
        fence(SeqCst);
        let masked = self.ring.load(memory, header::INTERRUPT_MASK)? != 0;
        let read = self.ring.load_index(memory, header::READ_INDEX, "read")?;
        Ok(Sent::Done {
            signal: !masked && read == before,
        })
    }
}
