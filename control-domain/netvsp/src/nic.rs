//! A card: packets and frames in, effects out.

use crate::adapter::{Adapter, Config, ETHERNET_HEADER};
use crate::control;
use crate::offload::{self, Frame, Verified, Vlan};
use crate::receive::{self, NoRoom, ReceiveBuffer};
use crate::session::{SECTION_LENGTH, Session};
use crate::transmit;
use crate::wire::nvsp::{
    CONTROL, DATA, MessageType, NO_SECTION, NdisConfig, RECEIVE_BUFFER_ID, ReceiveBufferComplete,
    RndisPacket, SendBuffer, Status, Subchannels, message,
};
use crate::wire::{self, Version};
use guest_buffer::{Buffer, Memory};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

/// What Hyper-V says; guests look at it no more.
const MDL_CHAIN: u32 = 34;

/// What came over the ring.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// To be repeated in the completion.
    pub transaction_id: u64,
    /// Whether the guest wants one.
    pub wants_completion: bool,
    /// Whether it came on the first channel; the others carry nothing but frames.
    pub primary: bool,
    /// What follows the ring's own header and the ranges.
    pub payload: &'a [u8],
    /// The ranges of a GPA-direct packet.
    pub buffer: Buffer,
}

/// Memory that the guest has described on the channel.
pub trait Gpadls {
    /// The memory behind a handle.
    fn find(&self, handle: u32) -> Option<Buffer>;
}

/// A packet to put on the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// The answer to the packet with this number.
    Completion {
        /// The packet's.
        transaction_id: u64,
        /// An NVSP message.
        payload: Vec<u8>,
    },
    /// An RNDIS message in the receive buffer: a packet with transfer pages, which the guest completes.
    TransferPages {
        /// To be given to [`Nic::completed`].
        transaction_id: u64,
        /// The set of pages.
        page_set: u16,
        /// Where in the receive buffer.
        offset: u32,
        /// Bytes.
        length: u32,
        /// An NVSP message.
        payload: Vec<u8>,
    },
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put a packet on the channel.
    Send(Outgoing),
    /// Send a frame to the network.
    Transmit(Frame),
    /// Offer the guest subchannels up to this number.
    OfferSubchannels(u16),
}

/// A card.
#[derive(Clone, Debug)]
pub struct Nic {
    adapter: Adapter,
    session: Session,
}

impl Nic {
    /// A card with its cable plugged in or not.
    pub fn new(config: Config, connected: bool) -> Self {
        Self {
            adapter: Adapter::new(config, connected),
            session: Session::default(),
        }
    }

    /// The guest has opened or closed the channel: everything begins anew.
    pub fn reset(&mut self) {
        self.session = Session::default();
        self.adapter.reset();
    }

    /// The version that was agreed on.
    pub fn version(&self) -> Option<Version> {
        self.session.version
    }

    /// Whether the guest wants frames.
    pub fn listens(&self) -> bool {
        self.session.receive.is_some() && self.adapter.listens()
    }

    /// Takes a packet of the channel.
    pub fn receive<M, G>(&mut self, packet: Packet<'_>, memory: &M, gpadls: &G) -> Vec<Effect>
    where
        M: Memory + ?Sized,
        G: Gpadls + ?Sized,
    {
        let mut effects = Vec::new();
        let answer = self.answer(&packet, memory, gpadls, &mut effects);
        if let Some((kind, body)) = answer
            && packet.wants_completion
        {
            let length = self.session.version.unwrap_or(Version::V1).message_length();
            let completion = Outgoing::Completion {
                transaction_id: packet.transaction_id,
                payload: message(kind, &body, length),
            };
            // Before what it leads to: a guest takes the answer to a request for a sign that it was seen.
            effects.insert(0, Effect::Send(completion));
        }
        effects
    }

    fn answer<M, G>(
        &mut self,
        packet: &Packet<'_>,
        memory: &M,
        gpadls: &G,
        effects: &mut Vec<Effect>,
    ) -> Option<(MessageType, Vec<u8>)>
    where
        M: Memory + ?Sized,
        G: Gpadls + ?Sized,
    {
        let kind: U32 = wire::at(packet.payload, 0)?;
        let kind = MessageType(kind.get());
        let body = &packet.payload[4..];
        if !packet.primary && kind != MessageType::SEND_RNDIS_PACKET {
            return Some((kind, words(&[Status::Fail as u32])));
        }
        match kind {
            MessageType::INIT => {
                let chosen = self.session.init(wire::at(body, 0)?);
                let (version, status) = match chosen {
                    Ok(version) => (version.0, Status::Success),
                    Err(status) => (0, status),
                };
                Some((
                    MessageType::INIT_COMPLETE,
                    words(&[version, MDL_CHAIN, status as u32]),
                ))
            }
            MessageType::SEND_NDIS_CONFIG => {
                self.session.configure(wire::at::<NdisConfig>(body, 0)?);
                Some(done())
            }
            MessageType::SEND_RECEIVE_BUFFER => {
                let complete = self.take_receive_buffer(wire::at(body, 0)?, gpadls);
                Some((
                    MessageType::SEND_RECEIVE_BUFFER_COMPLETE,
                    complete.as_bytes().to_vec(),
                ))
            }
            MessageType::SEND_SEND_BUFFER => {
                let given: SendBuffer = wire::at(body, 0)?;
                let buffer = self.described(given, gpadls);
                let status = match buffer {
                    Some(_) => Status::Success,
                    None => Status::Fail,
                };
                if buffer.is_some() {
                    self.session.send = buffer;
                }
                let body = words(&[status as u32, SECTION_LENGTH]);
                Some((MessageType::SEND_SEND_BUFFER_COMPLETE, body))
            }
            MessageType::REVOKE_RECEIVE_BUFFER => {
                self.session.receive = None;
                Some(done())
            }
            MessageType::REVOKE_SEND_BUFFER => {
                self.session.send = None;
                Some(done())
            }
            MessageType::SEND_RNDIS_PACKET => {
                let given = wire::at(body, 0)?;
                let status = match self.rndis(given, packet, memory, effects) {
                    Some(()) => Status::Success,
                    None => Status::InvalidRndisPacket,
                };
                Some((
                    MessageType::SEND_RNDIS_PACKET_COMPLETE,
                    words(&[status as u32]),
                ))
            }
            MessageType::SUBCHANNEL => Some((kind, self.subchannels(wire::at(body, 0)?, effects))),
            MessageType::OID_QUERY_EX => Some((
                MessageType::OID_QUERY_EX_COMPLETE,
                words(&[Status::Fail as u32, 0, 0]),
            )),
            _ => Some(done()),
        }
    }

    /// As many as the guest wants and there are; the first channel is none of them.
    fn subchannels(&self, wanted: Subchannels, effects: &mut Vec<Effect>) -> Vec<u8> {
        let most = self.adapter.config.channels.saturating_sub(1);
        let allowed = self.session.version >= Some(Version::V5)
            && wanted.operation.get() == Subchannels::ALLOCATE;
        let count = wanted.count.get().min(most.into());
        if !allowed || count == 0 {
            return words(&[Status::Fail as u32, 0]);
        }
        effects.push(Effect::OfferSubchannels(count as u16));
        words(&[Status::Success as u32, count])
    }

    /// The channel that a frame is for, if it is open.
    pub fn channel(&self, frame: &[u8]) -> u16 {
        let channels = u32::from(self.adapter.config.channels.max(1));
        (self.adapter.scaling.entry(frame) % channels) as u16
    }

    fn described<G: Gpadls + ?Sized>(&self, given: SendBuffer, gpadls: &G) -> Option<Buffer> {
        self.session.version?;
        gpadls.find(given.gpadl.get())
    }

    fn take_receive_buffer<G: Gpadls + ?Sized>(
        &mut self,
        given: SendBuffer,
        gpadls: &G,
    ) -> ReceiveBufferComplete {
        let own = self.adapter.config.mtu.saturating_add(ETHERNET_HEADER);
        let frame_length = self.session.frame_length.max(own);
        let buffer = match &self.session.receive {
            // Pieces of the old one may still be lent.
            Some(_) => None,
            None => self
                .described(given, gpadls)
                .and_then(|buffer| ReceiveBuffer::new(buffer, frame_length)),
        };
        let (status, length, pieces) = match &buffer {
            Some(buffer) => (Status::Success, buffer.piece_length, buffer.pieces),
            None => (Status::Fail, 0, 0),
        };
        if buffer.is_some() {
            self.session.receive = buffer;
        }
        ReceiveBufferComplete {
            status: (status as u32).into(),
            sections: u32::from(pieces > 0).into(),
            offset: 0.into(),
            piece_length: length.into(),
            pieces: pieces.into(),
            end_offset: (length * pieces).into(),
        }
    }

    fn rndis<M: Memory + ?Sized>(
        &mut self,
        given: RndisPacket,
        packet: &Packet<'_>,
        memory: &M,
        effects: &mut Vec<Effect>,
    ) -> Option<()> {
        self.session.version?;
        let bytes = self.session.message(&given, &packet.buffer, memory)?;
        match given.channel_type.get() {
            DATA => {
                let frames = transmit::frames(&bytes).ok()?;
                self.adapter.sent = self.adapter.sent.wrapping_add(frames.len() as u32);
                effects.extend(frames.into_iter().map(Effect::Transmit));
            }
            CONTROL if packet.primary => {
                if let Some(reply) = control::control(&mut self.adapter, &bytes) {
                    // A guest without room for the answer asks again.
                    let sent = self.put(&reply, CONTROL, memory);
                    effects.extend(sent.ok().map(Effect::Send));
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Puts an RNDIS message into the receive buffer.
    fn put<M: Memory + ?Sized>(
        &mut self,
        bytes: &[u8],
        channel_type: u32,
        memory: &M,
    ) -> Result<Outgoing, NoRoom> {
        let version = self.session.version.ok_or(NoRoom)?;
        let receive = self.session.receive.as_mut().ok_or(NoRoom)?;
        let piece = receive.put(memory, bytes)?.map_err(|_| NoRoom)?;
        let body = RndisPacket {
            channel_type: channel_type.into(),
            section: NO_SECTION.into(),
            section_length: 0.into(),
        };
        Ok(Outgoing::TransferPages {
            transaction_id: piece.into(),
            page_set: RECEIVE_BUFFER_ID,
            offset: receive.offset(piece),
            length: bytes.len() as u32,
            payload: message(
                MessageType::SEND_RNDIS_PACKET,
                body.as_bytes(),
                version.message_length(),
            ),
        })
    }

    /// The guest has completed a packet with transfer pages: its piece is free. Says no if the guest
    /// completes what it was not given.
    pub fn completed(&mut self, transaction_id: u64) -> bool {
        let receive = self.session.receive.as_mut();
        receive.is_some_and(|receive| receive.give_back(transaction_id))
    }

    /// A frame from the network, without tag. Nothing to send if the guest does not want it.
    ///
    /// # Errors
    /// [`NoRoom`] if the guest has no free piece, or the frame is longer than its pieces.
    pub fn deliver<M: Memory + ?Sized>(
        &mut self,
        frame: &[u8],
        vlan: Option<Vlan>,
        verified: Verified,
        memory: &M,
    ) -> Result<Option<Outgoing>, NoRoom> {
        if !self.listens() || !self.adapter.connected || !self.adapter.accepts(frame) {
            return Ok(None);
        }
        let bytes = receive::packet(frame, &offload::received(vlan, verified));
        let sent = self.put(&bytes, DATA, memory);
        match sent {
            Ok(_) => self.adapter.received = self.adapter.received.wrapping_add(1),
            Err(_) => self.adapter.no_buffer = self.adapter.no_buffer.wrapping_add(1),
        }
        sent.map(Some)
    }

    /// Whether a frame is not too long for the guest's pieces.
    pub fn fits(&self, frame: &[u8]) -> bool {
        let receive = self.session.receive.as_ref();
        receive.is_some_and(|receive| receive.fits(frame))
    }

    /// The cable is plugged in or out. Answers what to tell the guest.
    pub fn set_connected<M: Memory + ?Sized>(
        &mut self,
        connected: bool,
        memory: &M,
    ) -> Option<Outgoing> {
        let changed = std::mem::replace(&mut self.adapter.connected, connected) != connected;
        match changed {
            true => self.put(&control::link(connected), CONTROL, memory).ok(),
            false => None,
        }
    }
}

fn done() -> (MessageType, Vec<u8>) {
    (MessageType(0), words(&[Status::Success as u32]))
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
