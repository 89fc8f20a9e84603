//! A guest that connects, finds devices, and opens their channels.

use crate::{DriverChannel, RecordingHost};
use guest_memory::{GuestMemory, Layout, Mapping, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use uuid::Uuid;
use vmbus::message::{self, Message, OfferBody, body, kind, split};
use vmbus::{Bus, Device, Endpoint, Guest, NoConnection, Served};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const MEMORY_BYTES: u64 = 64 << 20;
/// Version 5.3.
const NEWEST: u32 = 5 << 16 | 3;

/// The guest, with the machine around it.
pub struct ModelGuest {
    /// Its memory.
    pub memory: GuestMemory,
    /// What the bus wanted of the machine.
    pub host: RecordingHost,
    /// The bus.
    pub bus: Bus,
    /// The machine's time.
    pub now_ns: AtomicU64,
    next_page: AtomicU64,
    next_gpadl: AtomicU32,
}

impl Default for ModelGuest {
    fn default() -> Self {
        let mut layout = Layout::default();
        let all = Range {
            gpa: 0,
            length: MEMORY_BYTES,
            offset: 0,
        };
        layout.add(all).unwrap();
        let mapping = Mapping::anonymous(MEMORY_BYTES).unwrap();
        Self {
            memory: GuestMemory::new(mapping, layout).unwrap(),
            host: RecordingHost::default(),
            bus: Bus::default(),
            now_ns: AtomicU64::new(0),
            next_page: AtomicU64::new(16),
            next_gpadl: AtomicU32::new(0xe1e10),
        }
    }
}

impl ModelGuest {
    /// A guest with one device, connected with the newest version.
    pub fn with_device(device: Box<dyn Device>) -> (Self, Arc<Endpoint>) {
        let guest = Self::default();
        let endpoint = guest.bus.add(device);
        assert!(guest.contact(NEWEST));
        (guest, endpoint)
    }

    /// The guest at this moment.
    pub fn now(&self) -> Guest<'_> {
        Guest {
            memory: &self.memory,
            host: &self.host,
            now_ns: self.now_ns.load(Relaxed),
        }
    }

    /// New pages, no two of them neighbours in ascending order, zeroed.
    pub fn pages(&self, count: usize) -> Vec<u64> {
        let first = self.next_page.fetch_add(count as u64, Relaxed);
        assert!(
            (first + count as u64) * 4096 <= MEMORY_BYTES,
            "memory is used up"
        );
        (first..first + count as u64).rev().collect()
    }

    /// Posts any bytes as a control message.
    pub fn post(&self, bytes: &[u8]) -> Result<(), NoConnection> {
        self.bus.message(&self.now(), 4, bytes)
    }

    /// Posts a message with a body.
    pub fn tell(&self, kind: u32, body: &(impl IntoBytes + Immutable)) {
        self.post(Message::new(kind, body).bytes()).unwrap();
    }

    /// The body of the next message, which must be of this kind.
    pub fn expect<T: FromBytes + Copy>(&self, kind: u32) -> T {
        let (_, _, bytes) = self.host.next_message().expect("a message");
        let (found, rest) = split(&bytes).unwrap();
        assert_eq!(found, kind, "{:?}", self.host.take_reports());
        body(rest).unwrap().0
    }

    /// Asks for a version; messages go to processor 1.
    pub fn contact(&self, version: u32) -> bool {
        let target = if version >= 5 << 16 { 2 } else { 0x3000 };
        let contact = message::InitiateContactBody {
            version: version.into(),
            target_processor: 1.into(),
            target: target.into(),
            monitor_to_guest: 0x1000.into(),
            monitor_to_host: 0x2000.into(),
        };
        self.tell(kind::INITIATE_CONTACT, &contact);
        let answer: message::VersionResponseBody = self.expect(kind::VERSION_RESPONSE);
        answer.supported == 1
    }

    /// All offers.
    pub fn offers(&self) -> Vec<OfferBody> {
        self.post(Message::bare(kind::REQUEST_OFFERS).bytes())
            .unwrap();
        let mut offers = Vec::new();
        while let Some((_, _, bytes)) = self.host.next_message() {
            match split(&bytes).unwrap() {
                (kind::OFFER, rest) => offers.push(body(rest).unwrap().0),
                (kind::ALL_OFFERS_DELIVERED, _) => return offers,
                (other, _) => panic!("message {other} among the offers"),
            }
        }
        panic!("the offers have no end");
    }

    /// The offer of a kind of device.
    pub fn offer_of(&self, interface: Uuid) -> OfferBody {
        let offers = self.offers();
        let found = offers
            .iter()
            .find(|offer| offer.interface == interface.to_bytes_le());
        *found.expect("an offer")
    }

    /// Describes pages, as a driver does, in as many messages as they need. Answers the number and
    /// the status of the answer, if one came.
    pub fn describe(&self, channel: u32, pages: &[u64]) -> (u32, Option<u32>) {
        let gpadl = self.next_gpadl.fetch_add(1, Relaxed);
        let mut list = [pages.len() as u32 * 4096, 0]
            .map(u32::to_le_bytes)
            .concat();
        list.extend(pages.iter().flat_map(|page| page.to_le_bytes()));
        let header = message::GpadlHeaderBody {
            channel: channel.into(),
            gpadl: gpadl.into(),
            range_bytes: (list.len() as u16).into(),
            range_count: 1.into(),
        };
        let (first, mut rest) = list.split_at(list.len().min(216));
        let message = Message::new(kind::GPADL_HEADER, &header).followed_by(first);
        self.post(message.bytes()).unwrap();
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let (part, after) = rest.split_at(rest.len().min(224));
            let header = message::GpadlBodyBody {
                number: number.into(),
                gpadl: gpadl.into(),
            };
            let message = Message::new(kind::GPADL_BODY, &header).followed_by(part);
            self.post(message.bytes()).unwrap();
            rest = after;
        }
        let answer = self.host.next_message().map(|(_, _, bytes)| {
            let (kind, rest) = split(&bytes).unwrap();
            assert_eq!(kind, kind::GPADL_CREATED);
            let created: message::GpadlCreatedBody = body(rest).unwrap().0;
            assert_eq!(
                (created.gpadl.get(), created.channel.get()),
                (gpadl, channel)
            );
            created.status.get()
        });
        (gpadl, answer)
    }

    /// A finished GPADL.
    pub fn gpadl(&self, channel: u32, pages: &[u64]) -> u32 {
        let (gpadl, status) = self.describe(channel, pages);
        assert_eq!(status, Some(message::STATUS_SUCCESS));
        gpadl
    }

    /// Opens a channel with rings of so many pages each. `None`: the host refuses.
    pub fn try_open(&self, offer: &OfferBody, pages: usize) -> Option<DriverChannel> {
        let list = self.pages(2 * pages);
        let gpadl = self.gpadl(offer.channel.get(), &list);
        let channel = DriverChannel::of(offer, gpadl, list);
        channel.reset(&self.memory);
        self.reopen(&channel, pages as u32).then_some(channel)
    }

    /// Sends the request to open with the rings of a channel that is closed.
    pub fn reopen(&self, channel: &DriverChannel, downstream_page: u32) -> bool {
        let open = message::OpenBody {
            channel: channel.number.into(),
            open: 0x77.into(),
            gpadl: channel.gpadl.into(),
            target_processor: 2.into(),
            downstream_page: downstream_page.into(),
            user_data: [0x55; 120],
        };
        self.tell(kind::OPEN, &open);
        let result: message::OpenResultBody = self.expect(kind::OPEN_RESULT);
        assert_eq!(
            (result.channel.get(), result.open.get()),
            (channel.number, 0x77)
        );
        result.status == message::STATUS_SUCCESS
    }

    /// Opens a channel.
    pub fn open(&self, offer: &OfferBody, pages: usize) -> DriverChannel {
        let opened = self.try_open(offer, pages);
        opened.unwrap_or_else(|| panic!("{:?}", self.host.take_reports()))
    }

    /// Closes a channel.
    pub fn close(&self, channel: &DriverChannel) {
        let close = message::ChannelBody {
            channel: channel.number.into(),
        };
        self.tell(kind::CLOSE, &close);
    }

    /// Takes the memory of a GPADL back.
    pub fn tear_down(&self, channel: u32, gpadl: u32) {
        let teardown = message::GpadlTeardownBody {
            channel: channel.into(),
            gpadl: gpadl.into(),
        };
        self.tell(kind::GPADL_TEARDOWN, &teardown);
        let torn: message::GpadlTorndownBody = self.expect(kind::GPADL_TORNDOWN);
        assert_eq!(torn.gpadl.get(), gpadl);
    }

    /// Sends a packet on a channel, and signals as a driver does.
    pub fn send(&self, channel: &DriverChannel, packet: &[u8]) -> bool {
        let sent = channel.send(&self.memory, packet);
        if sent == Some(true) {
            self.bus.signal(&self.now(), channel.connection).unwrap();
        }
        sent.is_some()
    }

    /// Serves a device if its bell has rung; answers whether it had.
    pub fn serve(&self, endpoint: &Arc<Endpoint>) -> Option<Served> {
        let rung = endpoint.doorbell().wait(Some(std::time::Duration::ZERO));
        rung.then(|| self.bus.serve(&self.now(), endpoint))
    }

    /// Serves a device as its thread does, up to a time of the machine.
    pub fn serve_until(&self, endpoint: &Arc<Endpoint>, end_ns: u64) {
        loop {
            let served = self.bus.serve(&self.now(), endpoint);
            let rung = endpoint.doorbell().wait(Some(std::time::Duration::ZERO));
            match served.next_ns {
                _ if rung => {}
                Some(next) if next <= end_ns => drop(self.now_ns.fetch_max(next, Relaxed)),
                _ => return self.now_ns.store(end_ns, Relaxed),
            }
        }
    }
}
