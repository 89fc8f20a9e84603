//! A controller on the bus.

use crate::controller::{Controller, Outcome, Packet};
use crate::io::Completion;
use crate::media::Media;
use guest_buffer::Buffer;
use std::collections::{BTreeMap, VecDeque};
use vmbus::{Channel, Device, Doorbell, Offer, Outgoing, PacketKind, Refused, RingError};

/// A controller with what carries out its requests.
pub struct StorageDevice<M> {
    controller: Controller,
    media: M,
    /// What found no room in its ring, by subchannel.
    waiting: BTreeMap<u16, VecDeque<Completion>>,
}

impl<M: Media> StorageDevice<M> {
    /// Puts the two together.
    pub fn new(controller: Controller, media: M) -> Self {
        Self {
            controller,
            media,
            waiting: BTreeMap::new(),
        }
    }

    fn collect(&mut self) {
        while let Some((subchannel, completion)) = self.media.ended() {
            // A channel that was closed meanwhile wants nothing any more.
            if let Some(queue) = self.waiting.get_mut(&subchannel) {
                queue.push_back(completion);
            }
        }
    }

    /// Sends what waits. `false`: the ring is full.
    fn send(&mut self, channel: &mut Channel<'_>) -> Result<bool, RingError> {
        let Some(queue) = self.waiting.get_mut(&channel.subchannel()) else {
            return Ok(true);
        };
        while let Some(completion) = queue.front() {
            let packet = Outgoing::completion(completion.transaction_id, &completion.payload);
            if !channel.send(&packet)? {
                return Ok(false);
            }
            queue.pop_front();
        }
        Ok(true)
    }

    fn serve(&mut self, packet: &vmbus::Packet, channel: &mut Channel<'_>) {
        let subchannel = channel.subchannel();
        let packet = Packet {
            transaction_id: packet.transaction,
            wants_completion: packet.wants_completion,
            payload: &packet.data,
            buffer: Buffer::of_ranges(&packet.ranges),
        };
        let completion = match self.controller.receive(packet, channel.memory()) {
            Outcome::Done => None,
            Outcome::Complete(completion) => Some(completion),
            Outcome::Start(io) => {
                self.media.begin(subchannel, io, channel.memory());
                None
            }
            Outcome::Subchannels(count, completion) => {
                channel.offer_subchannels(count);
                completion
            }
            Outcome::Ejected(address, completion) => {
                self.media.ejected(address);
                completion
            }
        };
        if let Some(queue) = self.waiting.get_mut(&subchannel) {
            queue.extend(completion);
        }
    }
}

impl<M: Media> Device for StorageDevice<M> {
    fn offer(&self) -> Offer {
        self.controller.offer()
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.media.set_doorbell(doorbell);
    }

    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        if channel.subchannel() == 0 {
            self.controller.opened();
        }
        self.waiting.insert(channel.subchannel(), VecDeque::new());
        Ok(())
    }

    fn close(&mut self, subchannel: u16) {
        self.media.settle();
        self.waiting.remove(&subchannel);
        self.collect();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        self.collect();
        while self.send(channel)? {
            let Some(packet) = channel.receive()? else {
                // All that the guest wants is begun: what has ended already, ends with it.
                self.collect();
                self.send(channel)?;
                return Ok(());
            };
            // Completions of our notices say nothing.
            if matches!(packet.kind, PacketKind::InBand | PacketKind::GpaDirect) {
                self.serve(&packet, channel);
            }
        }
        Ok(())
    }
}
