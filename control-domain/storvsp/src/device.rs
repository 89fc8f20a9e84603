//! A controller on the bus.

use crate::backplane::Backplane;
use crate::controller::{Controller, Outcome, Packet};
use crate::io::Completion;
use crate::media::Media;
use guest_buffer::Buffer;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vmbus::{Channel, Device, Doorbell, Offer, Outgoing, PacketKind, Refused, RingError};

/// A controller with what carries out its requests. Its units may come and go by its [`Backplane`].
pub struct StorageDevice<M>(Arc<Mutex<Parts<M>>>);

/// What the bus and the backplane share.
pub(crate) struct Parts<M> {
    pub(crate) controller: Controller,
    pub(crate) media: M,
    /// What found no room in its ring, by subchannel.
    waiting: BTreeMap<u16, VecDeque<Completion>>,
    /// What the guest is to be told of its own accord, on the first channel.
    pub(crate) notices: VecDeque<Vec<u8>>,
    pub(crate) doorbell: Option<Doorbell>,
}

impl<M: Media> StorageDevice<M> {
    /// Puts the two together.
    pub fn new(controller: Controller, media: M) -> Self {
        Self(Arc::new(Mutex::new(Parts {
            controller,
            media,
            waiting: BTreeMap::new(),
            notices: VecDeque::new(),
            doorbell: None,
        })))
    }

    /// The side on which units are plugged in and out.
    pub fn backplane(&self) -> Backplane<M> {
        Backplane::new(self.0.clone())
    }

    fn parts(&self) -> MutexGuard<'_, Parts<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Media> Parts<M> {
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
        while channel.subchannel() == 0
            && let Some(notice) = self.notices.front()
        {
            if !channel.send(&Outgoing::in_band(0, notice))? {
                return Ok(false);
            }
            self.notices.pop_front();
        }
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
        self.parts().controller.offer()
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        let mut parts = self.parts();
        parts.doorbell = Some(doorbell.clone());
        parts.media.set_doorbell(doorbell);
    }

    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        let mut parts = self.parts();
        if channel.subchannel() == 0 {
            parts.controller.opened();
            parts.notices.clear();
        }
        parts.waiting.insert(channel.subchannel(), VecDeque::new());
        Ok(())
    }

    fn close(&mut self, subchannel: u16) {
        let mut parts = self.parts();
        parts.media.settle();
        parts.waiting.remove(&subchannel);
        parts.collect();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        let mut parts = self.parts();
        parts.collect();
        while parts.send(channel)? {
            let Some(packet) = channel.receive()? else {
                // All that the guest wants is begun: what has ended already, ends with it.
                parts.collect();
                parts.send(channel)?;
                return Ok(());
            };
            // Completions of our notices say nothing.
            if matches!(packet.kind, PacketKind::InBand | PacketKind::GpaDirect) {
                parts.serve(&packet, channel);
            }
        }
        Ok(())
    }
}
