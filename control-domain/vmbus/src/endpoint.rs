//! A device on the bus with its open channels.

use crate::bus::{Guest, Posted};
use crate::channel::{Channel, Device, Refused};
use crate::doorbell::Doorbell;
use crate::gpadl::GpadlId;
use crate::inspect::DeviceState;
use crate::offer::Offer;
use crate::paged_range::PagedRange;
use crate::ring::{IncomingRing, OutgoingRing, RingError, RingMemory};
use crate::server::{Connection, OpenRequest};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// After this time a full ring, or an interrupt that found no room, is tried again. Guests that know
/// the pending send size signal earlier.
const RETRY_NS: u64 = 2_000_000;
/// Rounds over a channel's ring before other channels get their turn.
const MOST_ROUNDS: usize = 16;

/// An open channel: its rings, and where its interrupts go.
#[derive(Debug)]
pub struct OpenChannel {
    pub(crate) number: u32,
    pub(crate) connection: Connection,
    pub(crate) target_processor: u32,
    pub(crate) incoming: IncomingRing,
    pub(crate) outgoing: OutgoingRing,
    pub(crate) user_data: [u8; 120],
    pub(crate) gpadls: HashMap<GpadlId, Arc<PagedRange>>,
    /// The device has seen the ring empty.
    pub(crate) drained: bool,
    /// The guest must be interrupted.
    pub(crate) signal_owed: bool,
}

/// A guest that wants no interrupts says this processor.
const NO_PROCESSOR: u32 = u32::MAX;

impl OpenChannel {
    fn new(
        number: u32,
        connection: &Connection,
        request: &OpenRequest,
        guest: &Guest<'_>,
    ) -> Result<Self, RingError> {
        let [up, down] = RingMemory::pair(&request.gpadl, request.downstream_page)?;
        Ok(Self {
            number,
            connection: connection.clone(),
            target_processor: request.target_processor,
            incoming: IncomingRing::open(up, guest.memory)?,
            outgoing: OutgoingRing::open(down, guest.memory)?,
            user_data: request.user_data,
            gpadls: request.gpadls.iter().cloned().collect(),
            drained: true,
            signal_owed: false,
        })
    }

    /// Gives room back to the guest.
    pub(crate) fn commit(&mut self, guest: &Guest<'_>) -> Result<(), RingError> {
        self.signal_owed |= self.incoming.commit(guest.memory)?;
        Ok(())
    }

    /// Interrupts the guest if that is due. An interrupt that finds no room stays due.
    fn signal(&mut self, guest: &Guest<'_>) {
        if !self.signal_owed {
            return;
        }
        let sint = self.connection.target.sint;
        let posted = if !self.connection.version.has_event_flags() {
            self.connection.flag_channel(guest.memory, self.number);
            guest.host.signal(0, sint, 0)
        } else if self.target_processor == NO_PROCESSOR {
            Posted::Done
        } else {
            // Numbers of channels are below 2048.
            let flag = self.number as u16;
            guest.host.signal(self.target_processor, sint, flag)
        };
        self.signal_owed = posted == Posted::Full;
    }

    fn serve(
        &mut self,
        device: &mut dyn Device,
        guest: &Guest<'_>,
        subchannel: u16,
        wanted_subchannels: &mut Option<u16>,
    ) -> Result<bool, RingError> {
        for _ in 0..MOST_ROUNDS {
            self.incoming.set_signals_wanted(guest.memory, false)?;
            self.drained = false;
            let result = device.on_ring(&mut Channel {
                guest,
                open: self,
                subchannel,
                wanted_subchannels,
            });
            // What the device sent before it met a mistake is sent.
            self.signal(guest);
            result?;
            self.commit(guest)?;
            self.incoming.set_signals_wanted(guest.memory, true)?;
            self.signal(guest);
            // A packet that came before the guest saw that signals are wanted.
            if !self.drained || !self.incoming.has_packet(guest.memory)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A device with its channels. Served by one thread at a time.
pub struct Endpoint {
    offer: Offer,
    doorbell: Doorbell,
    seat: Mutex<Seat>,
}

struct Seat {
    device: Box<dyn Device>,
    channels: BTreeMap<u16, OpenChannel>,
    wanted_subchannels: Option<u16>,
}

/// What remains to be done after [`Endpoint::serve`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Serve again at this machine time, or when the doorbell rings.
    pub next_ns: Option<u64>,
    /// The driver wants so many subchannels.
    pub subchannels: Option<u16>,
}

impl Endpoint {
    pub(crate) fn new(mut device: Box<dyn Device>) -> Self {
        let doorbell = Doorbell::default();
        device.set_doorbell(doorbell.clone());
        Self {
            offer: device.offer(),
            doorbell,
            seat: Mutex::new(Seat {
                device,
                channels: BTreeMap::new(),
                wanted_subchannels: None,
            }),
        }
    }

    /// What the guest sees.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Rings when the device is to be served.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Numbers of the channels that are open now.
    pub fn open_channels(&self) -> Vec<u16> {
        self.lock().channels.keys().copied().collect()
    }

    /// How it is now.
    pub(crate) fn inspect(&self) -> DeviceState {
        let seat = self.lock();
        DeviceState {
            name: self.offer.name.clone(),
            interface: self.offer.interface,
            instance: self.offer.instance,
            open_channels: seat.channels.keys().copied().collect(),
            gpadls: seat.channels.values().map(|open| open.gpadls.len()).sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the device for each of its open channels.
    pub fn serve(&self, guest: &Guest<'_>) -> Served {
        let mut seat = self.lock();
        let Seat {
            device,
            channels,
            wanted_subchannels,
        } = &mut *seat;
        let mut retry = None;
        let mut broken = Vec::new();
        for (&subchannel, open) in channels.iter_mut() {
            match open.serve(&mut **device, guest, subchannel, wanted_subchannels) {
                Ok(true) => retry = Some(guest.now_ns),
                Ok(false) if open.signal_owed || open.outgoing.waits_for_room() => {
                    retry = retry.or(Some(guest.now_ns.saturating_add(RETRY_NS)));
                }
                Ok(false) => {}
                Err(error) => broken.push((subchannel, error)),
            }
        }
        for (subchannel, error) in broken {
            device.close(subchannel);
            channels.remove(&subchannel);
            let name = &self.offer.name;
            guest.host.report(&format!(
                "channel {name}.{subchannel} is closed, the guest broke it: {error}"
            ));
        }
        let deadline = device.deadline_ns().filter(|_| !channels.is_empty());
        Served {
            next_ns: [retry, deadline].into_iter().flatten().min(),
            subchannels: wanted_subchannels.take(),
        }
    }

    pub(crate) fn open(
        &self,
        guest: &Guest<'_>,
        subchannel: u16,
        number: u32,
        connection: &Connection,
        request: &OpenRequest,
    ) -> Result<(), Refused> {
        let mut seat = self.lock();
        let mut open = OpenChannel::new(number, connection, request, guest)
            .map_err(|error| Refused(error.to_string()))?;
        let Seat {
            device,
            channels,
            wanted_subchannels,
        } = &mut *seat;
        device.open(&mut Channel {
            guest,
            open: &mut open,
            subchannel,
            wanted_subchannels,
        })?;
        channels.insert(subchannel, open);
        Ok(())
    }

    /// When this returns, nothing touches the channel's rings any more.
    pub(crate) fn close(&self, subchannel: u16) {
        let mut seat = self.lock();
        if seat.channels.remove(&subchannel).is_some() {
            seat.device.close(subchannel);
        }
    }

    /// As [`Endpoint::close`], for all channels.
    pub(crate) fn close_all(&self) {
        for subchannel in self.open_channels() {
            self.close(subchannel);
        }
    }

    pub(crate) fn retarget(&self, subchannel: u16, processor: u32) {
        if let Some(open) = self.lock().channels.get_mut(&subchannel) {
            open.target_processor = processor;
            // What was signalled to the processor before may be lost with it.
            open.signal_owed = true;
        }
        self.doorbell.ring();
    }

    pub(crate) fn add_gpadl(&self, subchannel: u16, id: GpadlId, range: Arc<PagedRange>) {
        if let Some(open) = self.lock().channels.get_mut(&subchannel) {
            open.gpadls.insert(id, range);
        }
    }

    pub(crate) fn remove_gpadl(&self, subchannel: u16, id: GpadlId) {
        if let Some(open) = self.lock().channels.get_mut(&subchannel) {
            open.gpadls.remove(&id);
        }
    }
}
