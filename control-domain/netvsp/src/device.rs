//! A card on the bus.

use crate::network::{Arrived, Network};
use crate::nic::{Effect, Gpadls, Nic, Outgoing, Packet};
use guest_buffer::Buffer;
use std::collections::{BTreeMap, VecDeque};
use uuid::{Uuid, uuid};
use vmbus::packet::TransferRange;
use vmbus::{Channel, Device, Doorbell, GpadlId, Offer, PacketKind, Refused, RingError};

const NETWORK: Uuid = uuid!("f8615163-df3e-46c5-913f-f2d2f965ed0e");
/// Packets and frames in a row, after which others may touch the device.
const MOST_AT_ONCE: usize = 256;

/// A card with its network.
pub struct NetworkDevice<N> {
    instance: Uuid,
    nic: Nic,
    network: N,
    /// What is to be sent, for each open channel.
    waiting: BTreeMap<u16, VecDeque<Outgoing>>,
    /// A frame for which the guest had no room.
    held: Option<Arrived>,
    doorbell: Option<Doorbell>,
}

struct Described<'a, 'b>(&'a Channel<'b>);

impl Gpadls for Described<'_, '_> {
    fn find(&self, handle: u32) -> Option<Buffer> {
        let range = self.0.gpadl(GpadlId(handle))?;
        Some(Buffer::of_ranges([&*range]))
    }
}

impl<N: Network> NetworkDevice<N> {
    /// Puts the two together; `instance` says which card it is, and has to stay the same.
    pub fn new(instance: Uuid, nic: Nic, network: N) -> Self {
        Self {
            instance,
            nic,
            network,
            waiting: BTreeMap::new(),
            held: None,
            doorbell: None,
        }
    }

    /// Sends what waits. `false`: the ring is full.
    fn send(&mut self, channel: &mut Channel<'_>) -> Result<bool, RingError> {
        let Some(waiting) = self.waiting.get_mut(&channel.subchannel()) else {
            return Ok(true);
        };
        while let Some(outgoing) = waiting.front() {
            let sent = match outgoing {
                Outgoing::Completion {
                    transaction_id,
                    payload,
                } => channel.send(&vmbus::Outgoing::completion(*transaction_id, payload))?,
                Outgoing::TransferPages {
                    transaction_id,
                    page_set,
                    offset,
                    length,
                    payload,
                } => {
                    let range = TransferRange {
                        offset: *offset,
                        length: *length,
                    };
                    let packet = vmbus::Outgoing::transfer_pages(
                        *transaction_id,
                        *page_set,
                        &[range],
                        payload,
                    );
                    channel.send(&packet.wanting_completion())?
                }
            };
            if !sent {
                return Ok(false);
            }
            waiting.pop_front();
        }
        Ok(true)
    }

    fn serve(&mut self, packet: &vmbus::Packet, channel: &mut Channel<'_>) {
        let subchannel = channel.subchannel();
        if packet.kind == PacketKind::Completion {
            let freed = self.nic.completed(packet.transaction);
            // Frames are fetched for the first channel, which was served before.
            if freed && subchannel != 0 && self.held.is_some() {
                self.come_again();
            }
            return;
        }
        let packet = Packet {
            transaction_id: packet.transaction,
            wants_completion: packet.wants_completion,
            primary: subchannel == 0,
            payload: &packet.data,
            buffer: Buffer::of_ranges(&packet.ranges),
        };
        let effects = self
            .nic
            .receive(packet, channel.memory(), &Described(channel));
        for effect in effects {
            match effect {
                Effect::Send(outgoing) => self.put(subchannel, outgoing),
                Effect::Transmit(frame) => self.network.transmit(frame),
                Effect::OfferSubchannels(count) => channel.offer_subchannels(count),
            }
        }
    }

    /// Has a packet wait for its channel; the first one takes what is for channels that are not open.
    fn put(&mut self, subchannel: u16, outgoing: Outgoing) {
        let at = if self.waiting.contains_key(&subchannel) {
            subchannel
        } else {
            0
        };
        self.waiting.entry(at).or_default().push_back(outgoing);
    }

    fn come_again(&self) {
        if let Some(doorbell) = &self.doorbell {
            doorbell.ring();
        }
    }

    /// Takes the next frame from the network. `false`: there is none, or no room for it.
    fn fetch(&mut self, channel: &Channel<'_>) -> bool {
        let Some(frame) = self.held.take().or_else(|| self.network.next()) else {
            return false;
        };
        let delivered =
            self.nic
                .deliver(&frame.bytes, frame.vlan, frame.verified, channel.memory());
        match delivered {
            Ok(outgoing) => {
                if let Some(outgoing) = outgoing {
                    self.put(self.nic.channel(&frame.bytes), outgoing);
                }
                true
            }
            // Frames that never fit are dropped, else nothing would come after them.
            Err(_) if !self.nic.fits(&frame.bytes) => true,
            Err(_) => {
                self.held = Some(frame);
                false
            }
        }
    }
}

impl<N: Network> Device for NetworkDevice<N> {
    fn offer(&self) -> Offer {
        Offer::new("network card", NETWORK, self.instance)
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.doorbell = Some(doorbell.clone());
        self.network.set_doorbell(doorbell);
    }

    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        let subchannel = channel.subchannel();
        if subchannel == 0 {
            self.close(0);
        }
        self.waiting.insert(subchannel, VecDeque::new());
        Ok(())
    }

    fn close(&mut self, subchannel: u16) {
        let rest = self.waiting.remove(&subchannel);
        if subchannel == 0 {
            self.nic.reset();
            self.held = None;
            self.waiting.values_mut().for_each(VecDeque::clear);
            return;
        }
        // Frames lie in the guest's buffer already: it gives the pieces back when it sees them.
        let frames = rest.into_iter().flatten();
        for frame in frames.filter(|one| matches!(one, Outgoing::TransferPages { .. })) {
            self.put(0, frame);
        }
        self.come_again();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        for _ in 0..MOST_AT_ONCE {
            if !self.send(channel)? {
                return Ok(());
            }
            let fetched = channel.subchannel() == 0 && self.fetch(channel);
            let packet = channel.receive()?;
            if let Some(packet) = &packet {
                self.serve(packet, channel);
            }
            let own = self.waiting.get(&channel.subchannel());
            if packet.is_none() && !fetched && own.is_none_or(VecDeque::is_empty) {
                return Ok(());
            }
        }
        // There may be more.
        self.come_again();
        Ok(())
    }
}
