//! A card on the bus.

use crate::network::{Arrived, Network};
use crate::nic::{Effect, Gpadls, Nic, Outgoing, Packet};
use guest_buffer::Buffer;
use std::collections::VecDeque;
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
    /// What found no room in the ring.
    waiting: VecDeque<Outgoing>,
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
            waiting: VecDeque::new(),
            held: None,
            doorbell: None,
        }
    }

    /// Sends what waits. `false`: the ring is full.
    fn send(&mut self, channel: &mut Channel<'_>) -> Result<bool, RingError> {
        while let Some(outgoing) = self.waiting.front() {
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
            self.waiting.pop_front();
        }
        Ok(true)
    }

    fn serve(&mut self, packet: &vmbus::Packet, channel: &Channel<'_>) {
        if packet.kind == PacketKind::Completion {
            self.nic.completed(packet.transaction);
            return;
        }
        let packet = Packet {
            transaction_id: packet.transaction,
            wants_completion: packet.wants_completion,
            payload: &packet.data,
            buffer: Buffer::of_ranges(&packet.ranges),
        };
        let effects = self
            .nic
            .receive(packet, channel.memory(), &Described(channel));
        for effect in effects {
            match effect {
                Effect::Send(outgoing) => self.waiting.push_back(outgoing),
                Effect::Transmit(frame) => self.network.transmit(frame),
            }
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
                self.waiting.extend(outgoing);
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
        match channel.subchannel() {
            0 => {
                self.close(0);
                Ok(())
            }
            _ => Err(Refused("no subchannels were offered".into())),
        }
    }

    fn close(&mut self, _: u16) {
        self.nic.reset();
        self.waiting.clear();
        self.held = None;
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        for _ in 0..MOST_AT_ONCE {
            if !self.send(channel)? {
                return Ok(());
            }
            let fetched = self.fetch(channel);
            let packet = channel.receive()?;
            if let Some(packet) = &packet {
                self.serve(packet, channel);
            }
            if packet.is_none() && !fetched && self.waiting.is_empty() {
                return Ok(());
            }
        }
        // There may be more.
        if let Some(doorbell) = &self.doorbell {
            doorbell.ring();
        }
        Ok(())
    }
}
