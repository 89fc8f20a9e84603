//! The control protocol against the model guest: versions, offers, opening, closing, and every way
//! to end. Traps that other hosts fell into have a test each.

use guest_memory::GuestMemory;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;
use vmbus::message::{self, Message, body, kind, split};
use vmbus::{
    Bus, Channel, Device, Endpoint, Guest, Host, NoConnection, Offer, Outgoing, Posted, Refused,
    RingError, Version,
};
use vmbus_testing::{DriverChannel, ModelGuest, RecordingHost};

const INTERFACE: Uuid = Uuid::from_u128(0xba6163d9_04a1_4d29_b605_72e2ffb1dc7f);

/// Answers every packet; wants subchannels when it is told so.
struct Plain(u128);

impl Device for Plain {
    fn offer(&self) -> Offer {
        Offer::new("plain", INTERFACE, Uuid::from_u128(self.0))
    }
    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        match channel.user_data()[0] {
            0x55 => Ok(()),
            _ => Err(Refused("user data".into())),
        }
    }
    fn close(&mut self, _: u16) {}
    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while let Some(packet) = channel.receive()? {
            if packet.data.starts_with(b"subchannels") {
                channel.offer_subchannels(2);
            }
            channel.send(&Outgoing::completion(packet.transaction, &packet.data))?;
        }
        Ok(())
    }
}

fn connected() -> (ModelGuest, Arc<Endpoint>) {
    ModelGuest::with_device(Box::new(Plain(1)))
}

fn rejected(guest: &ModelGuest) -> String {
    let reports = guest.host.take_reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports[0].clone()
}

#[test]
fn versions_are_negotiated() {
    let guest = ModelGuest::default();
    for refused in [13, 5 << 16 | 4, 7 << 16, 0, u32::MAX] {
        assert!(!guest.contact(refused), "{refused:#x}");
        assert!(guest.host.take_reports().is_empty());
        guest
            .post(Message::bare(kind::REQUEST_OFFERS).bytes())
            .unwrap();
        assert!(rejected(&guest).contains("without a connection"));
    }
    for version in Version::ALL {
        let number = version as u32;
        let contact = message::InitiateContactBody {
            version: number.into(),
            target_processor: 3.into(),
            target: if number >= 5 << 16 { 5 } else { 0x5000 }.into(),
            monitor_to_guest: 0.into(),
            monitor_to_host: 0.into(),
        };
        guest.tell(kind::INITIATE_CONTACT, &contact);
        let (processor, sint, bytes) = guest.host.next_message().unwrap();
        assert_eq!(
            processor,
            if number >= 3 << 16 { 3 } else { 0 },
            "{version}"
        );
        assert_eq!(sint, if number >= 5 << 16 { 5 } else { 2 }, "{version}");
        let (_, rest) = split(&bytes).unwrap();
        let (answer, more) = body::<message::VersionResponseBody>(rest).unwrap();
        assert_eq!((answer.supported, answer.state), (1, 0));
        let named = if number >= 5 << 16 { 4 } else { number };
        assert_eq!(answer.version_or_connection.get(), named, "{version}");
        assert_eq!(more.len(), if number >= 6 << 16 { 4 } else { 0 });
    }
}

#[test]
fn offers_want_no_monitor_and_signals_of_their_own() {
    let (guest, _) = connected();
    let second = guest.bus.add(Box::new(Plain(2)));
    let offers = guest.offers();
    assert_eq!(offers.len(), 2);
    for (offer, instance) in offers.iter().zip([1, 2]) {
        assert_eq!(offer.interface, INTERFACE.to_bytes_le());
        assert_eq!(offer.instance, Uuid::from_u128(instance).to_bytes_le());
        assert_eq!((offer.flags.get(), offer.dedicated_interrupt.get()), (1, 1));
        // A guest that is told of a monitor page would signal through it, where nobody looks.
        assert_eq!((offer.monitor, offer.monitor_allocated), (0, 0));
        assert_eq!(offer.connection.get(), 0x2000 + offer.channel.get());
    }
    assert_ne!(offers[0].channel, offers[1].channel);
    guest
        .post(Message::bare(kind::REQUEST_OFFERS).bytes())
        .unwrap();
    assert!(rejected(&guest).contains("already"));
    // Unplugged, and its number is not used again before the guest lets go of it.
    guest.bus.remove(&guest.now(), &second);
    let gone: message::ChannelBody = guest.expect(kind::RESCIND);
    assert_eq!(gone.channel, offers[1].channel);
    guest.bus.add(Box::new(Plain(3)));
    guest.bus.flush(&guest.now());
    let third: message::OfferBody = guest.expect(kind::OFFER);
    assert_ne!(third.channel, gone.channel);
    guest.tell(kind::RELID_RELEASED, &gone);
    guest.bus.add(Box::new(Plain(4)));
    guest.bus.flush(&guest.now());
    let fourth: message::OfferBody = guest.expect(kind::OFFER);
    assert_eq!(fourth.channel, gone.channel);
    assert!(guest.host.take_reports().is_empty());
}

#[test]
fn a_device_can_be_unplugged_while_its_channel_is_open() {
    let (guest, endpoint) = connected();
    let channel = guest.open(&guest.offer_of(INTERFACE), 2);
    guest.bus.remove(&guest.now(), &endpoint);
    assert!(endpoint.open_channels().is_empty());
    let gone: message::ChannelBody = guest.expect(kind::RESCIND);
    let late = guest.bus.signal(&guest.now(), channel.connection);
    assert_eq!(late, Err(NoConnection));
    guest.close(&channel);
    guest.tear_down(channel.number, channel.gpadl);
    guest.tell(kind::RELID_RELEASED, &gone);
    assert!(guest.host.take_reports().is_empty());
}

#[test]
fn lists_of_pages_may_take_many_messages() {
    let (guest, _) = connected();
    let channel = guest.offer_of(INTERFACE).channel.get();
    // Network cards share up to 31 MB.
    let pages: Vec<u64> = (0..7936).collect();
    guest.gpadl(channel, &pages);
    let (id, status) = guest.describe(channel, &[1 << 40]);
    assert_eq!(status, Some(message::STATUS_UNSUCCESSFUL));
    assert!(rejected(&guest).contains("beyond physical memory"));
    // What was refused can be tried again, and what is torn down is answered even then.
    guest.tear_down(channel, id);
    let (_, status) = guest.describe(999, &[1]);
    assert_eq!(status, Some(message::STATUS_UNSUCCESSFUL));
    assert!(rejected(&guest).contains("not offered"));
    let header = message::GpadlHeaderBody {
        channel: channel.into(),
        gpadl: 5.into(),
        range_bytes: 32.into(),
        range_count: 2.into(),
    };
    guest.tell(kind::GPADL_HEADER, &header);
    let created: message::GpadlCreatedBody = guest.expect(kind::GPADL_CREATED);
    assert_eq!(created.status.get(), message::STATUS_UNSUCCESSFUL);
    assert!(rejected(&guest).contains("2 ranges"));
}

#[test]
fn a_guest_can_not_fill_our_memory_with_lists() {
    let (guest, _) = connected();
    let channel = guest.offer_of(INTERFACE).channel.get();
    let refused = (0..2000).find(|_| guest.describe(channel, &[1]).1 != Some(0));
    assert_eq!(refused, Some(1024));
}

/// Linux signals once and waits: a signal from the moment at which it sees the result must count.
#[test]
fn the_connection_is_there_before_the_result_of_open() {
    struct Eager {
        bus: Bus,
        memory: Arc<GuestMemory>,
        inner: RecordingHost,
        signalled: Mutex<Vec<bool>>,
    }
    impl Eager {
        fn now(&self) -> Guest<'_> {
            Guest {
                memory: &self.memory,
                host: self,
                now_ns: 0,
            }
        }
    }
    impl Host for Eager {
        fn post(&self, processor: u32, sint: u8, message: &[u8; 256]) -> Posted {
            let (kind, rest) = split(&message[16..]).unwrap();
            if kind == kind::OPEN_RESULT {
                let result = body::<message::OpenResultBody>(rest).unwrap().0;
                let connection = 0x2000 + result.channel.get();
                let signalled = self.bus.signal(&self.now(), connection).is_ok();
                self.signalled.lock().unwrap().push(signalled);
            }
            self.inner.post(processor, sint, message)
        }
        fn signal(&self, processor: u32, sint: u8, flag: u16) -> Posted {
            self.inner.signal(processor, sint, flag)
        }
        fn report(&self, line: &str) {
            panic!("{line}");
        }
    }
    let model = ModelGuest::default();
    let eager = Eager {
        bus: Bus::default(),
        memory: Arc::new(model.memory),
        inner: RecordingHost::default(),
        signalled: Mutex::default(),
    };
    let endpoint = eager.bus.add(Box::new(Plain(1)));
    let post = |bytes: &[u8]| eager.bus.message(&eager.now(), 4, bytes).unwrap();
    let contact = message::InitiateContactBody {
        version: (5 << 16 | 3).into(),
        target_processor: 0.into(),
        target: 2.into(),
        monitor_to_guest: 0.into(),
        monitor_to_host: 0.into(),
    };
    post(Message::new(kind::INITIATE_CONTACT, &contact).bytes());
    post(Message::bare(kind::REQUEST_OFFERS).bytes());
    let header = message::GpadlHeaderBody {
        channel: 1.into(),
        gpadl: 1.into(),
        range_bytes: 40.into(),
        range_count: 1.into(),
    };
    let list = [4 * 4096u64, 16, 17, 18, 19].map(u64::to_le_bytes).concat();
    let header = Message::new(kind::GPADL_HEADER, &header).followed_by(&list);
    post(header.bytes());
    let open = message::OpenBody {
        channel: 1.into(),
        open: 0.into(),
        gpadl: 1.into(),
        target_processor: 0.into(),
        downstream_page: 2.into(),
        user_data: [0x55; 120],
    };
    post(Message::new(kind::OPEN, &open).bytes());
    assert_eq!(*eager.signalled.lock().unwrap(), [true]);
    assert!(endpoint.doorbell().wait(Some(Duration::ZERO)));
}

#[test]
fn a_hundred_times_open_and_closed() {
    let (guest, endpoint) = connected();
    let offer = guest.offer_of(INTERFACE);
    let channel = guest.open(&offer, 3);
    for round in 0..100 {
        assert!(guest.send(&channel, &DriverChannel::packet(6, 1, round, &[], b"hello")));
        guest.serve(&endpoint).unwrap();
        assert_eq!(channel.receive(&guest.memory).unwrap().0.transaction, round);
        guest.close(&channel);
        assert!(endpoint.open_channels().is_empty());
        assert_eq!(
            guest.bus.signal(&guest.now(), channel.connection),
            Err(NoConnection),
            "a closed channel"
        );
        channel.reset(&guest.memory);
        assert!(guest.reopen(&channel, 3));
    }
    // A driver that is loaded again takes new memory each time.
    guest.close(&channel);
    guest.tear_down(channel.number, channel.gpadl);
    for _ in 0..1100 {
        let list = [1, 2, 3, 4];
        let gpadl = guest.gpadl(channel.number, &list);
        guest.tear_down(channel.number, gpadl);
    }
    assert!(guest.host.take_reports().is_empty());
}

#[test]
fn openings_that_can_not_be_are_answered() {
    let (guest, _) = connected();
    let offer = guest.offer_of(INTERFACE);
    let channel = guest.open(&offer, 2);
    guest.close(&channel);
    for page in [0, 1, 3, 4, u32::MAX] {
        assert!(!guest.reopen(&channel, page), "no room for a ring");
        assert!(rejected(&guest).contains("not opened"));
    }
    channel.set_word(&guest.memory, false, 0, 12);
    assert!(!guest.reopen(&channel, 2));
    assert!(rejected(&guest).contains("write index 0xc"));
    channel.reset(&guest.memory);
    let mut wrong = channel.clone();
    wrong.gpadl = 7;
    assert!(!guest.reopen(&wrong, 2));
    assert!(rejected(&guest).contains("unknown"));
    assert!(guest.reopen(&channel, 2), "and now it works");
}

/// Linux lets go of every channel, rescinded or not, when its bus driver is unloaded.
#[test]
fn channels_may_be_let_go_before_unload() {
    let (guest, endpoint) = connected();
    let second = guest.bus.add(Box::new(Plain(2)));
    let offers = guest.offers();
    let channel = guest.open(&offers[0], 2);
    guest.close(&channel);
    guest.tear_down(channel.number, channel.gpadl);
    guest.open(&offers[1], 2);
    for offer in &offers {
        let released = message::ChannelBody {
            channel: offer.channel,
        };
        guest.tell(kind::RELID_RELEASED, &released);
    }
    assert!(endpoint.open_channels().is_empty() && second.open_channels().is_empty());
    guest.bus.remove(&guest.now(), &second);
    assert!(guest.host.next_message().is_none(), "nothing to rescind");
    guest.post(Message::bare(kind::UNLOAD).bytes()).unwrap();
    assert!(guest.host.next_message().is_some());
    assert!(guest.contact(5 << 16 | 3));
    assert_eq!(guest.offers().len(), 1);
    assert!(guest.host.take_reports().is_empty());
}

#[test]
fn nothing_is_open_after_the_power_is_off() {
    let (guest, endpoint) = connected();
    let channel = guest.open(&guest.offer_of(INTERFACE), 2);
    guest.bus.power_off();
    assert!(endpoint.open_channels().is_empty());
    assert_eq!(
        guest.bus.signal(&guest.now(), channel.connection),
        Err(NoConnection)
    );
}

#[test]
fn memory_of_open_rings_can_be_taken_back_at_the_price_of_the_channel() {
    let (guest, endpoint) = connected();
    let channel = guest.open(&guest.offer_of(INTERFACE), 2);
    guest.tear_down(channel.number, channel.gpadl);
    assert!(endpoint.open_channels().is_empty());
}

#[test]
fn unload_and_a_kernel_that_forgot_it_end_everything() {
    let (guest, endpoint) = connected();
    for unload in [true, false, true] {
        let channel = guest.open(&guest.offer_of(INTERFACE), 2);
        guest.describe(channel.number, &guest.pages(1));
        // Half a list stays behind.
        let header = message::GpadlHeaderBody {
            channel: channel.number.into(),
            gpadl: 1.into(),
            range_bytes: 800.into(),
            range_count: 1.into(),
        };
        guest.tell(kind::GPADL_HEADER, &header);
        if unload {
            guest.post(Message::bare(kind::UNLOAD).bytes()).unwrap();
            let (processor, _, bytes) = guest.host.next_message().unwrap();
            assert_eq!(processor, 1, "where the connection was");
            assert_eq!(split(&bytes).unwrap().0, kind::UNLOAD_RESPONSE);
            assert!(endpoint.open_channels().is_empty());
        }
        assert!(guest.contact(5 << 16 | 3));
        assert!(endpoint.open_channels().is_empty());
        let late = guest.bus.signal(&guest.now(), channel.connection);
        assert_eq!(late, Err(NoConnection));
    }
    assert!(guest.host.take_reports().is_empty());
}

/// Firmware speaks 6.0 and unloads; the system that it starts may be of 2012.
#[test]
fn firmware_and_system_may_differ() {
    let guest = ModelGuest::default();
    let endpoint = guest.bus.add(Box::new(Plain(1)));
    for version in [6 << 16, 2 << 16 | 4] {
        assert!(guest.contact(version));
        let channel = guest.open(&guest.offer_of(INTERFACE), 2);
        assert!(guest.send(&channel, &DriverChannel::packet(6, 1, 9, &[], b"x")));
        guest.serve(&endpoint).unwrap();
        assert!(channel.receive(&guest.memory).is_some());
        guest.post(Message::bare(kind::UNLOAD).bytes()).unwrap();
        guest.host.next_message().unwrap();
    }
}

#[test]
fn interrupts_move_with_the_channel() {
    for (version, answered) in [(5 << 16 | 3, true), (5 << 16 | 2, false)] {
        let guest = ModelGuest::default();
        let endpoint = guest.bus.add(Box::new(Plain(1)));
        guest.contact(version);
        let channel = guest.open(&guest.offer_of(INTERFACE), 2);
        guest.serve(&endpoint);
        let modify = message::ModifyChannelBody {
            channel: channel.number.into(),
            target_processor: 3.into(),
        };
        guest.tell(kind::MODIFY_CHANNEL, &modify);
        assert_eq!(guest.host.next_message().is_some(), answered);
        guest.host.take_signals();
        guest.serve(&endpoint).unwrap();
        // One more than needed: what went to the old processor may have been too late there.
        assert_eq!(guest.host.take_signals(), [(3, 2, channel.number as u16)]);
        let nobody = message::ModifyChannelBody {
            channel: channel.number.into(),
            target_processor: u32::MAX.into(),
        };
        guest.tell(kind::MODIFY_CHANNEL, &nobody);
        guest.serve(&endpoint);
        assert!(guest.host.take_signals().is_empty());
    }
}

/// The slot of the guest's message page is taken: nothing is lost, and the order stays.
#[test]
fn messages_wait_for_room() {
    let (guest, _) = connected();
    guest.host.set_room(1, usize::MAX);
    guest
        .post(Message::bare(kind::REQUEST_OFFERS).bytes())
        .unwrap();
    assert!(guest.bus.has_waiting());
    let _: message::OfferBody = guest.expect(kind::OFFER);
    assert!(guest.bus.flush(&guest.now()));
    assert!(guest.host.next_message().is_none());
    guest.host.set_room(usize::MAX, usize::MAX);
    assert!(!guest.bus.flush(&guest.now()));
    let (_, _, bytes) = guest.host.next_message().unwrap();
    assert_eq!(split(&bytes).unwrap().0, kind::ALL_OFFERS_DELIVERED);
}

/// What waits for a kernel that has gone is not for the next one.
#[test]
fn a_new_connection_gets_no_old_messages() {
    let (guest, _) = connected();
    guest.host.set_room(0, usize::MAX);
    guest
        .post(Message::bare(kind::REQUEST_OFFERS).bytes())
        .unwrap();
    guest.host.set_room(usize::MAX, usize::MAX);
    assert!(guest.contact(5 << 16 | 3));
    assert!(guest.host.next_message().is_none());
}

#[test]
fn old_guests_have_a_page_of_flags() {
    let guest = ModelGuest::default();
    let endpoint = guest.bus.add(Box::new(Plain(1)));
    assert!(guest.contact(1 << 16 | 1));
    let channel = guest.open(&guest.offer_of(INTERFACE), 2);
    guest.serve(&endpoint);
    channel.send(&guest.memory, &DriverChannel::packet(6, 1, 1, &[], b"x"));
    guest.memory.set_bits(0x3800, 1 << channel.number).unwrap();
    guest.bus.signal(&guest.now(), 2).unwrap();
    assert_eq!(guest.memory.take_bits(0x3800), Ok(0), "taken");
    guest.serve(&endpoint).expect("the bell rang");
    // Flag 0 on processor 0 says: look into the page.
    assert_eq!(guest.host.take_signals(), [(0, 2, 0)]);
    assert_eq!(guest.memory.take_bits(0x3000), Ok(1 << channel.number));
}

#[test]
fn nothing_listens_on_other_connections() {
    let (guest, _) = connected();
    let now = guest.now();
    for connection in [0, 3, 5, 0x2000, 0x2001, 0x2800, u32::MAX] {
        assert_eq!(guest.bus.signal(&now, connection), Err(NoConnection));
    }
    let hello = Message::bare(kind::REQUEST_OFFERS);
    for connection in [0, 2, 3, 0x2001] {
        let posted = guest.bus.message(&now, connection, hello.bytes());
        assert_eq!(posted, Err(NoConnection));
    }
    assert_eq!(
        guest.bus.signal(&now, 2),
        Err(NoConnection),
        "5.3 has no page"
    );
}

#[test]
fn subchannels_are_offered_once_and_go_with_the_connection() {
    let (guest, endpoint) = connected();
    let offer = guest.offer_of(INTERFACE);
    let channel = guest.open(&offer, 2);
    for _ in 0..2 {
        guest.send(
            &channel,
            &DriverChannel::packet(6, 1, 1, &[], b"subchannels"),
        );
        guest.serve(&endpoint).unwrap();
    }
    let offers: Vec<message::OfferBody> = (0..2).map(|_| guest.expect(kind::OFFER)).collect();
    assert!(guest.host.next_message().is_none());
    for (number, sub) in (1..).zip(&offers) {
        assert_eq!(
            (sub.subchannel.get(), sub.instance),
            (number, offer.instance)
        );
        let channel = guest.open(sub, 2);
        guest.send(&channel, &DriverChannel::packet(6, 1, 5, &[], b"x"));
        guest.serve(&endpoint).unwrap();
        assert!(channel.receive(&guest.memory).is_some());
    }
    assert_eq!(endpoint.open_channels(), [0, 1, 2]);
    assert!(guest.contact(5 << 16 | 3));
    assert_eq!(guest.offers().len(), 1);
}

#[test]
fn subchannels_are_rescinded_when_the_primary_channel_is_closed() {
    let (guest, endpoint) = connected();
    let channel = guest.open(&guest.offer_of(INTERFACE), 2);
    for _ in 0..2 {
        let packet = DriverChannel::packet(6, 1, 1, &[], b"subchannels");
        guest.send(&channel, &packet);
        guest.serve(&endpoint).unwrap();
        let offers: Vec<message::OfferBody> = (0..2).map(|_| guest.expect(kind::OFFER)).collect();
        guest.open(&offers[0], 2);
        guest.close(&channel);
        assert_eq!(endpoint.open_channels(), []);
        for offer in offers {
            let rescinded: message::ChannelBody = guest.expect(kind::RESCIND);
            assert_eq!(rescinded.channel, offer.channel);
            guest.tell(kind::RELID_RELEASED, &rescinded);
        }
        channel.reset(&guest.memory);
        assert!(guest.reopen(&channel, 2));
    }
    assert!(guest.host.take_reports().is_empty());
}

/// A message of any kind, often a sensible one.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![0u32..6, Just(0x2001), Just(5 << 16 | 3), any::<u32>()];
    (0u32..30, prop::collection::vec(word, 0..40)).prop_map(|(kind, words)| {
        let mut bytes = Message::bare(kind).bytes().to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a guest posts, in whatever order: UNLOAD is answered, and a new kernel finds all as
    /// it should be.
    #[test]
    fn unload_works_at_any_moment(messages in prop::collection::vec(any_message(), 0..30)) {
        let (guest, endpoint) = connected();
        let channel = guest.open(&guest.offer_of(INTERFACE), 2);
        for bytes in &messages {
            guest.post(bytes).unwrap();
            let _ = guest.bus.signal(&guest.now(), channel.connection);
            guest.serve(&endpoint);
        }
        while guest.host.next_message().is_some() {}
        guest.post(Message::bare(kind::UNLOAD).bytes()).unwrap();
        match guest.host.next_message() {
            Some((_, _, bytes)) => prop_assert_eq!(split(&bytes).unwrap().0, kind::UNLOAD_RESPONSE),
            // It wanted its messages at a processor that does not exist.
            None => prop_assert!(guest.host.take_reports().concat().contains("message lost")),
        }
        prop_assert!(endpoint.open_channels().is_empty());
        prop_assert!(guest.contact(5 << 16 | 3));
        let channel = guest.open(&guest.offer_of(INTERFACE), 2);
        prop_assert!(guest.send(&channel, &DriverChannel::packet(6, 1, 9, &[], b"x")));
        guest.serve(&endpoint).unwrap();
        prop_assert!(channel.receive(&guest.memory).is_some());
    }

    #[test]
    fn bytes_without_sense_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..240)) {
        let (guest, _) = connected();
        guest.post(&bytes).unwrap();
        prop_assert!(guest.host.take_reports().len() <= 1);
    }
}
