//! The state of the control protocol: connection, offers, GPADLs, and the messages that wait for the
//! guest. It does nothing by itself: [`Server::receive`] answers what is to be done with channels.
//!
//! Offers outlive connections; all else ends with UNLOAD, or with a new INITIATE_CONTACT of a kernel
//! that did not say UNLOAD before (kexec, crash).

mod connection;
mod control;

use crate::gpadl::{GpadlId, Gpadls};
use crate::message::{self, Message, kind};
use crate::offer::{Offer, OfferFlags};
use crate::paged_range::PagedRange;
use crate::version::Version;
pub use connection::{Connection, MessageTarget};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The highest number of a channel: an event flags page has 2048 flags, and flag 0 means the
/// interrupt page.
pub const MOST_CHANNELS: u32 = 2047;
/// A channel's connection is its number with this bit (as Hyper-V does for synthetic interrupt 2).
const CONNECTION_BASE: u32 = 0x2000;

/// The channel that a guest signals on this connection.
pub fn channel_of_connection(connection: u32) -> Option<u32> {
    let channel = connection.checked_sub(CONNECTION_BASE)?;
    (1..=MOST_CHANNELS).contains(&channel).then_some(channel)
}

/// A channel's place: the device's number on the bus, and the subchannel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The device.
    pub device: usize,
    /// 0: its primary channel.
    pub subchannel: u16,
}

/// What a guest asked for with OPEN.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Memory of both rings.
    pub gpadl: Arc<PagedRange>,
    /// Page of it at which the ring to the guest begins.
    pub downstream_page: u32,
    /// For the device.
    pub user_data: [u8; 120],
    /// Where interrupts go.
    pub target_processor: u32,
    /// The channel's other GPADLs so far.
    pub gpadls: Vec<(GpadlId, Arc<PagedRange>)>,
}

/// What is to be done, in this order, before [`Server::pending`] messages go out.
#[derive(Debug)]
pub enum Effect {
    /// Open the channel, then call [`Server::opened`].
    Open(u32, Place, Box<OpenRequest>),
    /// Close it: nothing touches its rings afterwards.
    Close(u32, Place),
    /// Interrupts go to another processor.
    Retarget(Place, u32),
    /// The guest made a list of pages.
    GpadlCreated(Place, GpadlId, Arc<PagedRange>),
    /// The guest takes it back.
    GpadlTornDown(Place, GpadlId),
    /// A socket of the guest wants to be connected: its own end, and what to.
    Connect([u8; 16], [u8; 16]),
}

/// A channel, offered or to be offered.
#[derive(Debug)]
struct OfferedChannel {
    place: Place,
    phase: Phase,
    open_gpadl: Option<GpadlId>,
    open_number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Opening,
    Open,
    /// Rescinded; its number is free when the guest says so.
    Rescinded,
}

#[derive(Debug)]
struct Announced {
    offer: Offer,
    place: Place,
    /// Its number on this connection.
    channel: Option<u32>,
}

/// The server.
#[derive(Debug, Default)]
pub struct Server {
    connection: Option<Connection>,
    announced: Vec<Announced>,
    channels: BTreeMap<u32, OfferedChannel>,
    gpadls: Gpadls,
    offers_requested: bool,
    outbox: VecDeque<(MessageTarget, Message)>,
}

impl Server {
    /// The guest's version, its channels, its lists of pages, and messages that wait.
    pub fn counts(&self) -> (Option<Version>, usize, usize, usize) {
        let version = self.connection.as_ref().map(|c| c.version);
        let (channels, gpadls) = (self.channels.len(), self.gpadls.count());
        (version, channels, gpadls, self.outbox.len())
    }

    /// Adds an offer; a connected guest hears of it at once. A socket's is for a connected guest alone.
    pub fn announce(&mut self, place: Place, offer: Offer) {
        if offer.flags.has(OfferFlags::SOCKET) && !self.offers_requested {
            return;
        }
        self.announced.push(Announced {
            offer,
            place,
            channel: None,
        });
        if self.offers_requested {
            self.offer(self.announced.len() - 1);
        }
    }

    /// Takes an offer back, as when a device is unplugged. The guest closes the channel by itself.
    pub fn rescind(&mut self, place: Place) -> Vec<Effect> {
        let Some(index) = self.announced.iter().position(|a| a.place == place) else {
            return Vec::new();
        };
        let announced = self.announced.remove(index);
        let mut effects = Vec::new();
        if let Some(channel) = announced.channel
            && let Some(offered) = self.channels.get_mut(&channel)
        {
            if matches!(offered.phase, Phase::Open | Phase::Opening) {
                effects.push(Effect::Close(channel, place));
            }
            offered.phase = Phase::Rescinded;
            let body = message::ChannelBody {
                channel: channel.into(),
            };
            self.send(Message::new(kind::RESCIND, &body));
        }
        effects
    }

    /// The channels of a device, announced or offered.
    pub fn places_of(&self, device: usize) -> Vec<Place> {
        let places = self.announced.iter().map(|announced| announced.place);
        places.filter(|place| place.device == device).collect()
    }

    /// Tells the guest about an announced channel.
    fn offer(&mut self, index: usize) {
        let Some(channel) = (1..=MOST_CHANNELS).find(|n| !self.channels.contains_key(n)) else {
            return;
        };
        let announced = &mut self.announced[index];
        announced.channel = Some(channel);
        let offer = &announced.offer;
        let body = message::OfferBody {
            interface: offer.interface.to_bytes_le(),
            instance: offer.instance.to_bytes_le(),
            reserved: [0; 16],
            flags: offer.flags.0.into(),
            mmio_mib: offer.mmio_mib.into(),
            user_defined: offer.user_defined,
            subchannel: announced.place.subchannel.into(),
            optional_mmio_mib: 0.into(),
            channel: channel.into(),
            monitor: 0,
            monitor_allocated: 0,
            dedicated_interrupt: 1.into(),
            connection: (CONNECTION_BASE + channel).into(),
        };
        self.channels.insert(
            channel,
            OfferedChannel {
                place: announced.place,
                phase: Phase::Closed,
                open_gpadl: None,
                open_number: 0,
            },
        );
        self.send(Message::new(kind::OFFER, &body));
    }

    /// The device has opened a channel, or refused; the guest is told.
    pub fn opened(&mut self, channel: u32, success: bool) {
        let Some(offered) = self.channels.get_mut(&channel) else {
            return;
        };
        if offered.phase == Phase::Opening {
            offered.phase = if success { Phase::Open } else { Phase::Closed };
        }
        let body = message::OpenResultBody {
            channel: channel.into(),
            open: offered.open_number.into(),
            status: status(success).into(),
        };
        self.send(Message::new(kind::OPEN_RESULT, &body));
    }

    /// Nobody listens for what a socket of the guest wants to be connected to.
    pub fn refuse_connect(&mut self, endpoint: [u8; 16], service: [u8; 16]) {
        let answer = message::TlConnectResultBody {
            endpoint,
            service,
            status: message::STATUS_CONNECTION_REFUSED.into(),
        };
        self.send(Message::new(kind::TL_CONNECT_RESULT, &answer));
    }

    fn send(&mut self, message: Message) {
        if let Some(connection) = &self.connection {
            self.outbox.push_back((connection.target, message));
        }
    }

    /// The oldest message that waits for the guest.
    pub fn pending(&self) -> Option<&(MessageTarget, Message)> {
        self.outbox.front()
    }

    /// The oldest message is with the guest, or can't ever be.
    pub fn sent(&mut self) {
        self.outbox.pop_front();
    }

    /// The connection, if there is one.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Closes and forgets all that belongs to a connection.
    fn disconnect(&mut self) -> Vec<Effect> {
        let open = |c: &OfferedChannel| matches!(c.phase, Phase::Open | Phase::Opening);
        let effects = self
            .channels
            .iter()
            .filter(|(_, offered)| open(offered))
            .map(|(channel, offered)| Effect::Close(*channel, offered.place))
            .collect();
        self.channels.clear();
        self.gpadls = Gpadls::default();
        self.offers_requested = false;
        self.connection = None;
        self.outbox.clear();
        // Subchannels exist because a driver asked for them, sockets because one of the guest's is there.
        let stays =
            |a: &Announced| a.place.subchannel == 0 && !a.offer.flags.has(OfferFlags::SOCKET);
        self.announced.retain(stays);
        for announced in &mut self.announced {
            announced.channel = None;
        }
        effects
    }
}

fn status(success: bool) -> u32 {
    if success {
        message::STATUS_SUCCESS
    } else {
        message::STATUS_UNSUCCESSFUL
    }
}
