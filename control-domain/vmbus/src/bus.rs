//! The bus of one machine: server, devices, and who is signalled on which connection.

use crate::channel::Device;
use crate::doorbell::Doorbell;
use crate::endpoint::{Endpoint, Served};
use crate::inspect::BusState;
use crate::message::{MAX_MESSAGE_BYTES, SYNIC_MESSAGE_TYPE};
use crate::offer::{Offer, OfferFlags};
use crate::server::{self, Effect, Place, Server};
use guest_memory::GuestMemory;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use uuid::Uuid;

/// Connections on which guests post messages: the old one and that of 5.0.
const MESSAGE_CONNECTIONS: [u32; 2] = [1, 4];
/// The connection for signals of channels without one of their own; flags are in the interrupt page.
const EVENT_CONNECTION: u32 = 2;
/// Where the flags from the guest begin in the interrupt page.
const FLAGS_FROM_GUEST: u64 = 2048;

/// What became of a message or signal for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// On its way.
    Done,
    /// No room: try again later.
    Full,
    /// There is no such processor.
    Nowhere,
}

/// What the bus asks of the machine.
pub trait Host: Sync {
    /// Posts a SynIC message of 256 bytes.
    fn post(&self, processor: u32, sint: u8, message: &[u8; 256]) -> Posted;
    /// Sets a SynIC event flag.
    fn signal(&self, processor: u32, sint: u8, flag: u16) -> Posted;
    /// Says something to whoever reads the log.
    fn report(&self, line: &str);
}

/// The guest at this moment.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    /// Its memory.
    pub memory: &'a GuestMemory,
    /// The way to its processors.
    pub host: &'a dyn Host,
    /// The machine's time.
    pub now_ns: u64,
}

/// A guest signals or posts where nothing listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoConnection;

/// A socket of the guest wants to be connected. Who takes this [adds](Bus::add) a device with an
/// [`Offer::socket`] of both, or [refuses](Bus::refuse_connect).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The guest's end.
    pub endpoint: Uuid,
    /// What it wants to reach.
    pub service: Uuid,
}

/// Requests to connect that wait; further ones are refused at once.
const MOST_CONNECTS: usize = 64;

/// The bus. Locks are taken in the order server, device.
#[derive(Default)]
pub struct Bus {
    server: Mutex<Server>,
    /// By number; a number is never used again.
    endpoints: RwLock<BTreeMap<usize, Arc<Endpoint>>>,
    next_device: AtomicUsize,
    connects: Mutex<VecDeque<ConnectRequest>>,
    connect_bell: Doorbell,
    /// Open channels by number, for signals.
    open: RwLock<BTreeMap<u32, Arc<Endpoint>>>,
}

impl Bus {
    /// Adds a device. The caller serves the endpoint; a guest that is connected hears of it with the
    /// next [`Bus::flush`].
    pub fn add(&self, device: Box<dyn Device>) -> Arc<Endpoint> {
        let endpoint = Arc::new(Endpoint::new(device));
        let device = self.next_device.fetch_add(1, Relaxed);
        self.numbered().insert(device, endpoint.clone());
        let place = Place {
            device,
            subchannel: 0,
        };
        self.server().announce(place, endpoint.offer().clone());
        endpoint
    }

    /// Takes a device away, as when it is unplugged: the guest is told, its channels are closed.
    pub fn remove(&self, guest: &Guest<'_>, endpoint: &Arc<Endpoint>) {
        if let Some(device) = self.number_of(endpoint) {
            let mut server = self.server();
            for place in server.places_of(device) {
                let effects = server.rescind(place);
                self.apply(&mut server, guest, effects);
            }
            self.numbered().remove(&device);
            self.deliver(&mut server, guest);
        }
    }

    fn numbered(&self) -> RwLockWriteGuard<'_, BTreeMap<usize, Arc<Endpoint>>> {
        self.endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn number_of(&self, endpoint: &Arc<Endpoint>) -> Option<usize> {
        let endpoints = self
            .endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let found = endpoints.iter().find(|(_, e)| Arc::ptr_eq(e, endpoint));
        found.map(|(number, _)| *number)
    }

    /// The devices.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let endpoints = self.endpoints.read();
        let endpoints = endpoints.unwrap_or_else(PoisonError::into_inner);
        endpoints.values().cloned().collect()
    }

    /// Rings when a socket of the guest wants to be connected.
    pub fn connect_bell(&self) -> &Doorbell {
        &self.connect_bell
    }

    fn connects(&self) -> MutexGuard<'_, VecDeque<ConnectRequest>> {
        self.connects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next socket that wants to be connected.
    pub fn next_connect(&self) -> Option<ConnectRequest> {
        self.connects().pop_front()
    }

    /// Tells the guest that nobody listens.
    pub fn refuse_connect(&self, guest: &Guest<'_>, request: &ConnectRequest) {
        let mut server = self.server();
        let (endpoint, service) = (request.endpoint, request.service);
        server.refuse_connect(endpoint.to_bytes_le(), service.to_bytes_le());
        self.deliver(&mut server, guest);
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest posts a message. All that it asks for is done when this returns.
    ///
    /// # Errors
    /// If nothing listens on the connection.
    pub fn message(
        &self,
        guest: &Guest<'_>,
        connection: u32,
        payload: &[u8],
    ) -> Result<(), NoConnection> {
        if !MESSAGE_CONNECTIONS.contains(&connection) {
            return Err(NoConnection);
        }
        let mut server = self.server();
        match server.receive(payload) {
            Ok(effects) => self.apply(&mut server, guest, effects),
            Err(why) => guest.host.report(&format!("VMBus message refused: {why}")),
        }
        self.deliver(&mut server, guest);
        Ok(())
    }

    fn apply(&self, server: &mut Server, guest: &Guest<'_>, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let endpoints = self
            .endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for effect in effects {
            match effect {
                Effect::Connect(endpoint, service) => {
                    let mut connects = self.connects();
                    if connects.len() >= MOST_CONNECTS {
                        server.refuse_connect(endpoint, service);
                        continue;
                    }
                    connects.push_back(ConnectRequest {
                        endpoint: Uuid::from_bytes_le(endpoint),
                        service: Uuid::from_bytes_le(service),
                    });
                    self.connect_bell.ring();
                }
                Effect::Open(channel, place, request) => {
                    let (Some(endpoint), Some(connection)) =
                        (endpoints.get(&place.device), server.connection().cloned())
                    else {
                        continue;
                    };
                    // Before the result: some guests signal at once and never again.
                    self.ports().insert(channel, endpoint.clone());
                    let opened =
                        endpoint.open(guest, place.subchannel, channel, &connection, &request);
                    if let Err(refused) = &opened {
                        self.ports().remove(&channel);
                        let name = &endpoint.offer().name;
                        let why = &refused.0;
                        guest
                            .host
                            .report(&format!("channel {name} not opened: {why}"));
                    }
                    server.opened(channel, opened.is_ok());
                    // A device may have something to say first.
                    endpoint.doorbell().ring();
                }
                Effect::Close(channel, place) => {
                    self.ports().remove(&channel);
                    if let Some(endpoint) = endpoints.get(&place.device) {
                        endpoint.close(place.subchannel);
                    }
                }
                Effect::Retarget(place, processor) => {
                    if let Some(endpoint) = endpoints.get(&place.device) {
                        endpoint.retarget(place.subchannel, processor);
                    }
                }
                Effect::GpadlCreated(place, id, range) => {
                    if let Some(endpoint) = endpoints.get(&place.device) {
                        endpoint.add_gpadl(place.subchannel, id, range);
                    }
                }
                Effect::GpadlTornDown(place, id) => {
                    if let Some(endpoint) = endpoints.get(&place.device) {
                        endpoint.remove_gpadl(place.subchannel, id);
                    }
                }
            }
        }
    }

    fn ports(&self) -> RwLockWriteGuard<'_, BTreeMap<u32, Arc<Endpoint>>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest signals a connection.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn signal(&self, guest: &Guest<'_>, connection: u32) -> Result<(), NoConnection> {
        if connection == EVENT_CONNECTION {
            return self.signal_flagged(guest);
        }
        let channel = server::channel_of_connection(connection).ok_or(NoConnection)?;
        self.ring(channel).ok_or(NoConnection)
    }

    fn ring(&self, channel: u32) -> Option<()> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&channel)?.doorbell().ring();
        Some(())
    }

    /// All channels whose flag the guest has set in its interrupt page.
    fn signal_flagged(&self, guest: &Guest<'_>) -> Result<(), NoConnection> {
        let connection = self.server().connection().cloned();
        let page = connection
            .and_then(|c| c.interrupt_page)
            .ok_or(NoConnection)?;
        for word in 0..=u64::from(server::MOST_CHANNELS / 64) {
            let mut flags = guest
                .memory
                .take_bits(page + FLAGS_FROM_GUEST + word * 8)
                .map_err(|_| NoConnection)?;
            while flags != 0 {
                self.ring(word as u32 * 64 + flags.trailing_zeros());
                flags &= flags - 1;
            }
        }
        Ok(())
    }

    /// Serves a device, and does what its driver asked of the bus.
    pub fn serve(&self, guest: &Guest<'_>, endpoint: &Arc<Endpoint>) -> Served {
        let served = endpoint.serve(guest);
        if let Some(count) = served.subchannels {
            self.offer_subchannels(guest, endpoint, count);
        }
        served
    }

    fn offer_subchannels(&self, guest: &Guest<'_>, endpoint: &Arc<Endpoint>, count: u16) {
        let Some(device) = self.number_of(endpoint) else {
            return;
        };
        let mut server = self.server();
        let there = server.places_of(device);
        for subchannel in 1..=count {
            let place = Place { device, subchannel };
            if !there.contains(&place) {
                let offer = Offer {
                    flags: OfferFlags(endpoint.offer().flags.0),
                    ..endpoint.offer().clone()
                };
                server.announce(place, offer);
            }
        }
        self.deliver(&mut server, guest);
    }

    /// Tries again to deliver messages that found no room. Answers whether some still wait.
    pub fn flush(&self, guest: &Guest<'_>) -> bool {
        let mut server = self.server();
        self.deliver(&mut server, guest);
        server.pending().is_some()
    }

    /// The machine's power is off: all channels are closed, so that no device touches guest memory
    /// any more when this returns.
    pub fn power_off(&self) {
        self.ports().clear();
        for endpoint in self.endpoints() {
            endpoint.close_all();
        }
    }

    /// How everything on the bus is now.
    pub fn inspect(&self) -> BusState {
        let (version, channels, gpadls, messages_waiting) = self.server().counts();
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        BusState {
            version,
            channels,
            gpadls,
            messages_waiting,
            ports: open.len(),
            devices: self.endpoints().iter().map(|e| e.inspect()).collect(),
        }
    }

    /// Do messages wait for room?
    pub fn has_waiting(&self) -> bool {
        self.server().pending().is_some()
    }

    fn deliver(&self, server: &mut Server, guest: &Guest<'_>) {
        while let Some((target, message)) = server.pending() {
            let (processor, sint) = (target.processor, target.sint);
            match guest
                .host
                .post(processor, sint, &synic_message(message.bytes()))
            {
                Posted::Full => return,
                Posted::Done => {}
                Posted::Nowhere => guest.host.report(&format!(
                    "VMBus message lost: the guest wants it at processor {processor}"
                )),
            }
            server.sent();
        }
    }
}

/// Type, payload size, flags, reserved, sender, payload (TLFS, HV_MESSAGE).
fn synic_message(payload: &[u8]) -> [u8; 256] {
    let mut message = [0; 256];
    let length = payload.len().min(MAX_MESSAGE_BYTES);
    message[..4].copy_from_slice(&SYNIC_MESSAGE_TYPE.to_le_bytes());
    message[4] = length as u8;
    message[16..16 + length].copy_from_slice(&payload[..length]);
    message
}
