//! Keyboard and mouse against a model of the guest's drivers.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

use std::sync::Arc;
use synthetic_input::keyboard::{self, Keyboard, Stroke, Strokes};
use synthetic_input::mouse::{self, Mouse, Movements, Pointer};
use synthetic_input::wire::{DeviceInfo, MouseHeader, PIPE_DATA, PipeHeader};
use uuid::Uuid;
use vmbus::{Device, Endpoint};
use vmbus_testing::{DriverChannel, ModelGuest};
use zerocopy::{FromBytes, IntoBytes};

/// A driver, with rings as Linux has them.
struct Driver {
    guest: ModelGuest,
    endpoint: Arc<Endpoint>,
    channel: DriverChannel,
}

impl Driver {
    fn load(device: Box<dyn Device>, interface: Uuid) -> Self {
        let (guest, endpoint) = ModelGuest::with_device(device);
        let offer = guest.offer_of(interface);
        let channel = guest.open(&offer, 10);
        Self {
            guest,
            endpoint,
            channel,
        }
    }

    fn serve(&self) {
        while self.guest.serve(&self.endpoint).is_some() {}
    }

    fn receive(&self) -> Option<Vec<u8>> {
        let (packet, _) = self.channel.receive(&self.guest.memory)?;
        assert_eq!(packet.kind, 6);
        Some(packet.data)
    }

    fn say(&self, bytes: &[u8]) {
        // Drivers ask for a completion that they never look at.
        let packet = DriverChannel::packet(6, 1, 0x77, &[], bytes);
        assert!(self.guest.send(&self.channel, &packet));
        self.serve();
    }

    fn say_words(&self, words: &[u32]) {
        self.say(words.as_bytes());
    }

    /// The next message of the mouse: its type and its body.
    fn receive_message(&self) -> Option<(u32, Vec<u8>)> {
        let data = self.receive()?;
        let (pipe, rest) = PipeHeader::read_from_prefix(&data).unwrap();
        assert_eq!(pipe.kind.get(), PIPE_DATA);
        let message = &rest[..pipe.length.get() as usize];
        let (header, body) = MouseHeader::read_from_prefix(message).unwrap();
        assert_eq!(header.length.get() as usize, body.len());
        Some((header.kind.get(), body.to_vec()))
    }

    fn reports(&self) -> Vec<String> {
        self.guest.host.take_reports()
    }
}

fn stroke(code: u8, extended: bool, down: bool) -> Stroke {
    Stroke {
        code,
        extended,
        down,
    }
}

fn with_keyboard() -> (Strokes, Driver) {
    let strokes = Strokes::default();
    let device = Box::new(Keyboard::new(strokes.clone()));
    (strokes, Driver::load(device, keyboard::INTERFACE))
}

fn with_mouse() -> (Movements, Driver) {
    let movements = Movements::default();
    let device = Box::new(Mouse::new(movements.clone()));
    (movements, Driver::load(device, mouse::INTERFACE))
}

#[test]
fn keys_arrive_once_the_driver_has_named_its_version() {
    let (strokes, driver) = with_keyboard();
    assert!(!strokes.put([stroke(0x1e, false, true)]), "no driver yet");
    driver.say_words(&[1, 1 << 16]);
    assert_eq!(driver.receive().unwrap(), [2u32, 1].as_bytes());
    assert!(driver.receive().is_none(), "what was typed before is gone");
    assert!(strokes.put([stroke(0x1e, false, true), stroke(0x1e, false, false)]));
    assert!(strokes.put([stroke(0x4b, true, true)]));
    driver.serve();
    for (code, flags) in [(0x1e, 0), (0x1e, 2), (0x4b, 4)] {
        let data = driver.receive().unwrap();
        assert_eq!(data[..12], *[3u32, code, flags].as_bytes());
    }
    // The LEDs.
    driver.say_words(&[4, 7]);
    assert!(driver.reports().is_empty());
    driver.guest.close(&driver.channel);
    assert!(!strokes.put([stroke(0x1e, false, true)]), "no driver more");
}

#[test]
fn a_keyboard_driver_of_another_version_gets_no_keys() {
    let (strokes, driver) = with_keyboard();
    driver.say_words(&[1, 2 << 16]);
    assert_eq!(driver.receive().unwrap(), [2u32, 0].as_bytes());
    assert!(!strokes.put([stroke(0x1e, false, true)]));
    driver.say_words(&[1, 1 << 16]);
    assert_eq!(driver.receive().unwrap(), [2u32, 1].as_bytes());
    assert!(strokes.put([stroke(0x1e, false, true)]));
}

#[test]
fn keys_wait_for_room() {
    let (strokes, driver) = with_keyboard();
    driver.say_words(&[1, 1 << 16]);
    driver.receive().unwrap();
    // A packet of 12 bytes takes 40: more than the ring of nine pages holds.
    let room = driver.channel.size() / 40;
    for _ in 0..=room / 256 {
        for n in 0..=255 {
            strokes.put([stroke(n & 0x7f, false, true)]);
        }
        driver.serve();
    }
    let mut count = 0;
    while driver.receive().is_some() {
        count += 1;
    }
    assert!(count <= room, "{count}");
    driver.guest.serve_until(&driver.endpoint, 10_000_000);
    assert!(driver.receive().is_some(), "the rest comes later");
}

#[test]
fn the_mouse_introduces_itself_and_then_tells_where_it_is() {
    let (movements, driver) = with_mouse();
    driver.say_words(&[1, 12, 0, 4, 2 << 16]);
    let (kind, body) = driver.receive_message().unwrap();
    assert_eq!((kind, body.as_slice()), (1, &[0, 0, 2, 0, 1][..]));
    let (kind, body) = driver.receive_message().unwrap();
    let (info, report) = DeviceInfo::read_from_prefix(&body).unwrap();
    assert_eq!((kind, info.vendor.get()), (2, 0x045e));
    assert_eq!(report.len(), usize::from(info.report_length.get()));
    assert_eq!(report_bits(report), 8 * 7, "bits that the report describes");
    // Linux takes this byte for a mistake of old hosts if it is 0x25.
    assert_eq!(report[14], 0x29);
    let there = Pointer {
        buttons: 1,
        x: 100,
        y: mouse::EDGE + 1,
        wheel: -1,
    };
    assert!(!movements.put([there]), "it has not said that it knows");
    driver.say_words(&[1, 9, 3, 1, 0]);
    assert!(movements.put([there]));
    driver.serve();
    let (kind, body) = driver.receive_message().unwrap();
    assert_eq!((kind, body), (4, vec![1, 100, 0, 0xff, 0x7f, 0xff, 0xff]));
    driver.guest.close(&driver.channel);
    assert!(!movements.put([there]));
}

/// Bits of a report, as the descriptor adds them up (HID 1.11, 6.2.2: short items).
fn report_bits(mut descriptor: &[u8]) -> usize {
    let (mut size, mut count, mut bits) = (0, 0, 0);
    while let [tag, rest @ ..] = descriptor {
        let length = usize::from(*tag & 3);
        match tag & 0xfc {
            0x74 => size = usize::from(rest[0]),
            0x94 => count = usize::from(rest[0]),
            0x80 => bits += size * count,
            _ => {}
        }
        descriptor = &rest[length..];
    }
    bits
}

#[test]
fn a_mouse_driver_of_another_version_is_told_nothing_more() {
    let (movements, driver) = with_mouse();
    driver.say_words(&[1, 12, 0, 4, 1 << 16]);
    let (kind, body) = driver.receive_message().unwrap();
    assert_eq!((kind, body.as_slice()), (1, &[0, 0, 1, 0, 0][..]));
    assert!(driver.receive_message().is_none());
    assert!(!movements.put([Pointer::default()]));
}

#[test]
fn a_driver_that_breaks_the_protocol_loses_its_channel() {
    for words in [&[][..], &[3, 0, 0][..], &[9, 1][..]] {
        let (_, driver) = with_keyboard();
        driver.say_words(words);
        let reports = driver.reports();
        assert!(reports[0].contains("keyboard.0 is closed"), "{reports:?}");
    }
    let hostile = [
        &[1][..],
        &[1, 400, 0, 4, 2 << 16],
        &[1, 4, 0, 4],
        &[1, 8, 0, 0],
        // It knows what it was not told.
        &[1, 9, 3, 1, 0],
    ];
    for words in hostile {
        let (_, driver) = with_mouse();
        driver.say_words(words);
        let reports = driver.reports();
        assert!(reports[0].contains("mouse.0 is closed"), "{reports:?}");
    }
}
