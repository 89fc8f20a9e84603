//! The ring that the guest writes and we read.

use super::{RingError, RingMemory, header};
use crate::packet::{DESCRIPTOR_BYTES, Descriptor, Packet, TRAILER_BYTES};
use guest_memory::GuestMemory;
use std::sync::atomic::{Ordering::SeqCst, fence};

/// The reading end. The place of the next packet is kept here, not in the guest's memory.
#[derive(Debug)]
pub struct IncomingRing {
    ring: RingMemory,
    /// Next packet.
    read: u32,
    /// The read index that the guest sees.
    committed: u32,
}

impl IncomingRing {
    /// Begins where the guest says.
    ///
    /// # Errors
    /// If the indices are no indices, or the ring is no memory.
    pub fn open(ring: RingMemory, memory: &GuestMemory) -> Result<Self, RingError> {
        let read = ring.load_index(memory, header::READ_INDEX, "read")?;
        ring.load_index(memory, header::WRITE_INDEX, "write")?;
        Ok(Self {
            ring,
            read,
            committed: read,
        })
    }

    fn available(&self, memory: &GuestMemory) -> Result<u32, RingError> {
        let write = self.ring.load_index(memory, header::WRITE_INDEX, "write")?;
        Ok(self.ring.distance(self.read, write))
    }

    /// Is a packet there that was not received yet?
    ///
    /// # Errors
    /// If the guest's index is none.
    pub fn has_packet(&self, memory: &GuestMemory) -> Result<bool, RingError> {
        self.available(memory).map(|bytes| bytes > 0)
    }

    /// Copies the next packet out.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn receive(&mut self, memory: &GuestMemory) -> Result<Option<Packet>, RingError> {
        let available = self.available(memory)?;
        if available == 0 {
            return Ok(None);
        }
        let mut bytes = [0; DESCRIPTOR_BYTES as usize];
        if available >= DESCRIPTOR_BYTES {
            self.ring.read(memory, self.read, &mut bytes)?;
        }
        let descriptor: Descriptor = zerocopy::transmute!(bytes);
        let offset = u32::from(descriptor.data_offset8.get()) * 8;
        let length = u32::from(descriptor.length8.get()) * 8;
        if offset < DESCRIPTOR_BYTES || length < offset || length + TRAILER_BYTES > available {
            return Err(RingError::Descriptor(
                descriptor.data_offset8.get(),
                descriptor.length8.get(),
                available,
            ));
        }
        // Header and data, copied once: the guest may write meanwhile.
        let mut header = vec![0; (length - DESCRIPTOR_BYTES) as usize];
        let inside = self.ring.advance(self.read, DESCRIPTOR_BYTES);
        self.ring.read(memory, inside, &mut header)?;
        let data = header.split_off((offset - DESCRIPTOR_BYTES) as usize);
        self.read = self.ring.advance(self.read, length + TRAILER_BYTES);
        Ok(Some(Packet::parse(&descriptor, &header, data)?))
    }

    /// Whether so much was received since the last commit that the guest should get the room back.
    pub fn should_commit(&self) -> bool {
        self.ring.distance(self.committed, self.read) >= self.ring.size() / 4
    }

    /// Gives the room of what was received back to the guest. Answers whether the guest waits for
    /// it and must be signalled.
    ///
    /// # Errors
    /// What the guest did wrong.
    pub fn commit(&mut self, memory: &GuestMemory) -> Result<bool, RingError> {
        if self.committed == self.read {
            return Ok(false);
        }
        let size = self.ring.size();
        let write = self.ring.load_index(memory, header::WRITE_INDEX, "write")?;
        let before = size - self.ring.distance(self.committed, write);
        self.ring.store(memory, header::READ_INDEX, self.read)?;
        self.committed = self.read;
        // The guest says what it waits for, then looks for room; we make room, then look.
        fence(SeqCst);
        let features = self.ring.load(memory, header::FEATURES)?;
        if features & header::FEATURE_PENDING_SEND_SIZE == 0 {
            return Ok(false);
        }
        let pending = self.ring.load(memory, header::PENDING_SEND_SIZE)?;
        let after = size - self.ring.distance(self.read, write);
        Ok(pending != 0 && before <= pending && after > pending)
    }

    /// Tells the guest whether it must signal when it writes into the empty ring. After it was told
    /// that it must, [`IncomingRing::has_packet`] has to be asked once more.
    ///
    /// # Errors
    /// If the ring is no memory.
    pub fn set_signals_wanted(&self, memory: &GuestMemory, wanted: bool) -> Result<(), RingError> {
        self.ring
            .store(memory, header::INTERRUPT_MASK, (!wanted).into())?;
        fence(SeqCst);
        Ok(())
    }
}
