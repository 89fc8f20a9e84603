//! A card over the bus, with rings and buffers in a guest's memory.

mod guest;

use guest::{MAC, config, frame, packet, word, words};
use netvsp::{Arrived, Frame, Network, NetworkDevice, Nic};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use uuid::Uuid;
use vmbus::Endpoint;
use vmbus::message::{OfferBody, kind};
use vmbus_testing::{DriverChannel, ModelGuest, Received};

const IN_BAND: u16 = 6;
const TRANSFER_PAGES: u16 = 7;
const GPA_DIRECT: u16 = 9;
const COMPLETION: u16 = 11;

/// A wire with nothing but queues at its other end.
#[derive(Clone, Default)]
struct Wire {
    sent: Arc<Mutex<Vec<Frame>>>,
    coming: Arc<Mutex<VecDeque<Arrived>>>,
}

impl Network for Wire {
    fn transmit(&mut self, frame: Frame) {
        self.sent.lock().expect("lock").push(frame);
    }

    fn next(&mut self) -> Option<Arrived> {
        self.coming.lock().expect("lock").pop_front()
    }
}

struct Driver {
    guest: ModelGuest,
    endpoint: Arc<Endpoint>,
    channel: DriverChannel,
    wire: Wire,
    receive_pages: Vec<u64>,
}

impl Driver {
    fn new() -> Self {
        let wire = Wire::default();
        let nic = Nic::new(config(), true);
        let device = NetworkDevice::new(Uuid::from_bytes([4; 16]), nic, wire.clone());
        let (guest, endpoint) = ModelGuest::with_device(Box::new(device));
        let offer = guest.offer_of(endpoint.offer().interface);
        let channel = guest.open(&offer, 4);
        let receive_pages = guest.pages(32);
        let receive = guest.gpadl(channel.number, &receive_pages);
        let driver = Self {
            guest,
            endpoint,
            channel,
            wire,
            receive_pages,
        };
        for (message, status_word) in [
            (words(&[1, 0x6_0001, 0x6_0001]), 3),
            (words(&[101, receive, 0xcafe]), 1),
        ] {
            driver.send(IN_BAND, &[], &message);
            assert_eq!(word(&driver.completion().data, status_word), 1);
        }
        driver.rndis(1, &words(&[2, 24, 1, 1, 0, 0x4000]));
        assert_eq!(word(&driver.message(), 0), 0x8000_0002);
        driver.rndis(1, &words(&[5, 32, 2, 0x1_010e, 4, 20, 0, 0x20]));
        assert_eq!(word(&driver.message(), 0), 0x8000_0005);
        driver
    }

    fn send(&self, kind: u16, header: &[u8], data: &[u8]) {
        let packet = DriverChannel::packet(kind, 1, 0x66, header, data);
        assert!(self.guest.send(&self.channel, &packet));
        self.guest.serve(&self.endpoint);
    }

    /// An RNDIS message in a page of its own.
    fn rndis(&self, channel_type: u32, message: &[u8]) {
        let page = self.guest.pages(1)[0];
        let memory = self.guest.now().memory;
        memory.write(page * 4096, message).expect("memory");
        let mut header = words(&[0, 1, message.len() as u32, 0]);
        header.extend(page.to_le_bytes());
        self.send(
            GPA_DIRECT,
            &header,
            &words(&[107, channel_type, u32::MAX, 0]),
        );
        assert_eq!(word(&self.completion().data, 1), 1);
    }

    fn received(&self) -> Option<Received> {
        self.received_on(&self.channel)
    }

    fn received_on(&self, channel: &DriverChannel) -> Option<Received> {
        Some(channel.receive(self.guest.now().memory)?.0)
    }

    fn completion(&self) -> Received {
        let received = self.received().expect("a completion");
        assert_eq!((received.kind, received.transaction), (COMPLETION, 0x66));
        received
    }

    /// A message in the receive buffer, completed at once.
    fn message(&self) -> Vec<u8> {
        self.message_on(&self.channel)
    }

    fn message_on(&self, channel: &DriverChannel) -> Vec<u8> {
        let received = self.received_on(channel).expect("a message");
        assert_eq!((received.kind, received.flags), (TRANSFER_PAGES, 1));
        let [set, ranges, length, offset] = [0, 1, 2, 3].map(|at| word(&received.header, at));
        assert_eq!((set, ranges), (0xcafe, 1));
        let memory = self.guest.now().memory;
        let bytes = (offset..offset + length).map(|at| {
            let page = self.receive_pages[at as usize / 4096];
            memory
                .read_value(page * 4096 + u64::from(at) % 4096, 1)
                .expect("memory") as u8
        });
        let bytes = bytes.collect();
        let done =
            DriverChannel::packet(COMPLETION, 0, received.transaction, &[], &words(&[108, 1]));
        self.guest.send(channel, &done);
        bytes
    }

    /// Asks for as many subchannels as there are, opens them and has frames spread over them.
    fn spread(&self) -> Vec<DriverChannel> {
        self.send(IN_BAND, &[], &words(&[133, 1, 9]));
        let answer = self.completion().data;
        assert_eq!((word(&answer, 1), word(&answer, 2)), (1, 3));
        let offers: Vec<OfferBody> = (0..3).map(|_| self.guest.expect(kind::OFFER)).collect();
        // A table of four entries and a key whose windows are told apart by the last byte of a source address.
        let header = [0x28_0189, 0, 0x101, 16, 40, 40, 56, 0, 0, 0];
        let mut set = words(&[5, 28 + 96, 2, 0x1_0204, 96, 20, 0]);
        set.extend(words(&header));
        set.extend(words(&[0, 1, 2, 3]));
        let mut key = [0; 40];
        key[7] = 6;
        set.extend(key);
        self.rndis(1, &set);
        let done = self.message();
        assert_eq!((word(&done, 0), word(&done, 3)), (0x8000_0005, 0));
        offers.iter().map(|sub| self.guest.open(sub, 4)).collect()
    }

    /// A frame over IPv4 from an address that ends with this.
    fn arrive(&self, from: u8) {
        let mut bytes = frame(MAC, 60);
        bytes[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        bytes[20..24].copy_from_slice(&[0, 0, 64, 17]);
        bytes[26..34].copy_from_slice(&[10, 0, 0, from, 10, 0, 0, 9]);
        self.wire.coming.lock().expect("lock").push_back(Arrived {
            bytes,
            ..Arrived::default()
        });
        self.endpoint.doorbell().ring();
    }
}

#[test]
fn frames_go_both_ways_and_none_is_lost_when_the_guest_is_slow() {
    let driver = Driver::new();
    let out = frame(MAC, 700);
    driver.rndis(0, &packet(&[], &out, 0));
    assert!(driver.wire.sent.lock().expect("lock")[0].bytes == out);

    // More than the receive buffer has pieces for.
    let count = 300u16;
    for number in 0..count {
        let mut bytes = frame(MAC, 900);
        bytes[20..22].copy_from_slice(&number.to_le_bytes());
        driver.wire.coming.lock().expect("lock").push_back(Arrived {
            bytes,
            ..Arrived::default()
        });
    }
    driver.endpoint.doorbell().ring();
    driver.guest.serve(&driver.endpoint);
    for number in 0..count {
        let message = driver.message();
        assert_eq!(message[44 + 20..44 + 22], number.to_le_bytes());
        driver.endpoint.doorbell().ring();
        driver.guest.serve(&driver.endpoint);
    }
    assert_eq!(driver.received(), None);
}

#[test]
fn a_closed_channel_leaves_nothing_behind() {
    let driver = Driver::new();
    driver.guest.close(&driver.channel);
    driver.channel.reset(driver.guest.now().memory);
    assert!(driver.guest.reopen(&driver.channel, 4));
    driver.wire.coming.lock().expect("lock").push_back(Arrived {
        bytes: frame(MAC, 60),
        ..Arrived::default()
    });
    driver.endpoint.doorbell().ring();
    driver.guest.serve(&driver.endpoint);
    assert_eq!(
        driver.received(),
        None,
        "no one listens before the handshake"
    );
    driver.send(IN_BAND, &[], &words(&[1, 2, 2]));
    assert_eq!(word(&driver.completion().data, 3), 1);
}

#[test]
fn frames_are_spread_over_subchannels() {
    let driver = Driver::new();
    let subchannels = driver.spread();
    for from in 0..8 {
        driver.arrive(from);
        driver.guest.serve(&driver.endpoint);
        let channels = [&driver.channel].into_iter().chain(&subchannels);
        let came: Vec<bool> = channels
            .map(|channel| driver.received_on(channel).is_some())
            .collect();
        let mut expected = [false; 4];
        // The address's last bit chooses both bits of the entry, the one before it the lower one.
        let (last, before) = (from & 1, from >> 1 & 1);
        expected[usize::from(last * 3 ^ before)] = true;
        assert_eq!(came, expected, "{from}");
    }
    // What the guest sends on them goes out, and nothing but frames.
    let sub = &subchannels[2];
    let refused = DriverChannel::packet(IN_BAND, 1, 0x66, &[], &words(&[101, 1, 0xcafe]));
    driver.guest.send(sub, &refused);
    driver.guest.serve(&driver.endpoint);
    let answer = driver.received_on(sub).expect("a completion");
    assert_eq!(word(&answer.data, 1), 2);
}

#[test]
fn frames_for_a_subchannel_that_closes_come_on_the_first_channel() {
    let driver = Driver::new();
    let subchannels = driver.spread();
    let on_subchannel = |from| {
        driver.arrive(from);
        driver.guest.serve(&driver.endpoint);
        let at = subchannels
            .iter()
            .position(|sub| driver.received_on(sub).is_some());
        at.map(|at| (from, at))
    };
    let (from, at) = (0..8).find_map(on_subchannel).expect("one on a subchannel");
    while driver.received().is_some() {}
    driver.guest.close(&subchannels[at]);
    driver.arrive(from);
    driver.guest.serve(&driver.endpoint);
    driver.message();
}
