//! A card over the bus, with rings and buffers in a guest's memory.

mod guest;

use guest::{MAC, config, frame, packet, word, words};
use netvsp::{Arrived, Frame, Network, NetworkDevice, Nic};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use uuid::Uuid;
use vmbus::Endpoint;
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
        Some(self.channel.receive(self.guest.now().memory)?.0)
    }

    fn completion(&self) -> Received {
        let received = self.received().expect("a completion");
        assert_eq!((received.kind, received.transaction), (COMPLETION, 0x66));
        received
    }

    /// A message in the receive buffer, completed at once.
    fn message(&self) -> Vec<u8> {
        let received = self.received().expect("a message");
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
        self.guest.send(&self.channel, &done);
        bytes
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
