//! The device against a model of the guest's driver.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

use dynamic_memory::wire::{self, Header, PageRange, kind};
use dynamic_memory::{Assigned, DynamicMemory, INTERFACE, Reported, State, Unsettled};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use vmbus::Endpoint;
use vmbus_testing::{DriverChannel, ModelGuest};
use zerocopy::{FromBytes, IntoBytes};

/// Pages of a machine with 64 MiB at 0 and 64 MiB at 4 GiB.
const ALL: u64 = 2 * PART;
const PART: u64 = 64 << 20 >> 12;
const HIGH: u64 = 4 << 30;
const PATIENCE: Duration = Duration::from_secs(60);

struct Driver {
    guest: ModelGuest,
    endpoint: Arc<Endpoint>,
    channel: DriverChannel,
    assigned: Assigned,
}

impl Driver {
    fn load() -> Self {
        let assigned = Assigned::default();
        let memory = [0..PART << 12, HIGH..HIGH + (PART << 12)];
        let device = DynamicMemory::new(assigned.clone(), &memory, 2 * ALL);
        let (guest, endpoint) = ModelGuest::with_device(Box::new(device));
        // Linux's rings of 16 KiB.
        let channel = guest.open(&guest.offer_of(INTERFACE), 10);
        Self {
            guest,
            endpoint,
            channel,
            assigned,
        }
    }

    /// One that has agreed with the host upon version 2.0.
    fn agreed() -> Self {
        let driver = Self::load();
        driver.say(kind::VERSION_REQUEST, &[2 << 16, 0]);
        driver.say(kind::CAPABILITIES_REPORT, &[3 | 7 << 2, 0, 0, 0, !0, 0]);
        while driver.receive().is_some() {}
        driver
    }

    fn serve(&self) {
        while self.guest.serve(&self.endpoint).is_some() {}
    }

    fn say(&self, kind: u16, words: &[u32]) {
        let header = Header {
            kind: kind.into(),
            bytes: (8 + 4 * words.len() as u16).into(),
            transaction: 0x77.into(),
        };
        let message = [header.as_bytes(), words.as_bytes()].concat();
        let packet = DriverChannel::packet(6, 0, 0, &[], &message);
        assert!(self.guest.send(&self.channel, &packet));
        self.serve();
    }

    fn give(&self, ranges: &[(u64, u64)], more: bool) {
        let mut words = vec![0, (ranges.len() as u32) << 1 | u32::from(more)];
        for (first, count) in ranges {
            let word = PageRange {
                first: *first,
                count: *count,
            };
            let word = word.to_word();
            words.extend([word as u32, (word >> 32) as u32]);
        }
        self.say(kind::BALLOON_RESPONSE, &words);
    }

    /// The next message: its type and what follows the header.
    fn receive(&self) -> Option<(u16, Vec<u8>)> {
        let (packet, _) = self.channel.receive(&self.guest.memory)?;
        let (header, body) = Header::read_from_prefix(&packet.data).unwrap();
        let body = &body[..usize::from(header.bytes.get()) - 8];
        Some((header.kind.get(), body.to_vec()))
    }

    /// Waits until another thread's request has come to the guest.
    fn awaited(&self) -> (u16, Vec<u8>) {
        loop {
            self.serve();
            match self.receive() {
                Some(message) => return message,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Asks for so many pages, on a thread of its own.
    fn set(&self, pages: u64) -> JoinHandle<Result<State, Unsettled>> {
        let assigned = self.assigned.clone();
        std::thread::spawn(move || assigned.set(pages, PATIENCE))
    }

    fn expect_request(&self, pages: u64) {
        let (kind, body) = self.awaited();
        let (request, _) = wire::BalloonRequest::read_from_prefix(&body).unwrap();
        assert_eq!(kind, kind::BALLOON_REQUEST);
        assert_eq!(u64::from(request.pages.get()), pages);
    }

    /// The ranges of the next message, and whether more follow.
    fn expect_given_back(&self) -> (Vec<PageRange>, bool) {
        let (kind, body) = self.awaited();
        assert_eq!(kind, kind::UNBALLOON_REQUEST);
        let (request, words) = wire::UnballoonRequest::read_from_prefix(&body).unwrap();
        assert_eq!(words.len(), 8 * request.ranges.get() as usize);
        assert!(body.len() + 8 <= wire::MOST_BYTES);
        let words = words.chunks_exact(8);
        let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let more = request.more.get() == wire::MORE;
        (words.map(PageRange::from_word).collect(), more)
    }

    fn is_broken(&self) -> bool {
        let reports = self.guest.host.take_reports();
        reports
            .iter()
            .any(|line| line.contains("the guest broke it"))
    }
}

#[test]
fn versions_are_agreed_upon_and_the_most_memory_is_told() {
    let driver = Driver::load();
    assert_eq!(driver.assigned.set(ALL, PATIENCE), Err(Unsettled::NoDriver));
    for (version, accepted) in [(3 << 16, 0u64), (3, 1), (1 << 16, 1), (2 << 16, 1)] {
        driver.say(kind::VERSION_REQUEST, &[version, 0]);
        let (kind, body) = driver.receive().unwrap();
        assert_eq!(kind, kind::VERSION_RESPONSE);
        assert_eq!(body, accepted.as_bytes());
    }
    driver.say(kind::CAPABILITIES_REPORT, &[3, 0, 0, 0, !0, 0]);
    let (kind, body) = driver.receive().unwrap();
    assert_eq!(
        (kind, body.as_slice()),
        (kind::CAPABILITIES_RESPONSE, 1u64.as_bytes())
    );
    let (kind, body) = driver.receive().unwrap();
    assert_eq!(kind, kind::INFORMATION);
    assert_eq!(body[8..16], [0, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(body[16..], (2 * ALL).to_le_bytes());
    driver.say(kind::STATUS_REPORT, &[700, 0, 900, 0, 0, 0, 0, 0, 0, 0]);
    let reported = Reported {
        demand: 900,
        available: 700,
    };
    assert_eq!(driver.assigned.state().reported, Some(reported));
}

#[test]
fn pages_are_given_and_come_back() {
    let driver = Driver::agreed();
    let asked = driver.set(ALL - 1024 - 511);
    driver.expect_request(1024);
    driver.give(&[(512, 512)], true);
    assert_eq!(driver.assigned.state().given, 512);
    driver.give(&[((HIGH >> 12) + 1024, 512)], false);
    assert_eq!(asked.join().unwrap().unwrap().given, 1024);

    let asked = driver.set(ALL);
    let (ranges, more) = driver.expect_given_back();
    let high = PageRange {
        first: (HIGH >> 12) + 1024,
        count: 512,
    };
    let low = PageRange {
        first: 512,
        count: 512,
    };
    assert_eq!((ranges.as_slice(), more), (&[high, low][..], false));
    assert!(!asked.is_finished(), "until the guest has them");
    driver.say(kind::UNBALLOON_RESPONSE, &[]);
    assert_eq!(asked.join().unwrap().unwrap().given, 0);
    assert!(!driver.is_broken());
}

#[test]
fn single_pages_come_back_in_as_many_messages_as_they_need() {
    let driver = Driver::agreed();
    let asked = driver.set(ALL - 1536);
    driver.expect_request(1536);
    let pages: Vec<_> = (0..1536).map(|n| (2 * n + 1, 1)).collect();
    for (number, some) in pages.chunks(500).enumerate() {
        driver.give(some, number < 3);
    }
    assert!(asked.join().unwrap().is_ok());
    let asked = driver.set(ALL - 100);
    let mut count = 0;
    loop {
        let (ranges, more) = driver.expect_given_back();
        count += ranges.iter().map(|range| range.count).sum::<u64>();
        if !more {
            break;
        }
    }
    driver.say(kind::UNBALLOON_RESPONSE, &[]);
    assert_eq!(count, 1436);
    assert_eq!(asked.join().unwrap().unwrap().given, 100);
}

#[test]
fn a_guest_that_can_spare_less_says_so() {
    let driver = Driver::agreed();
    let asked = driver.set(ALL / 2);
    driver.expect_request(ALL / 2);
    driver.give(&[(0, 512)], true);
    driver.give(&[], false);
    assert_eq!(asked.join().unwrap(), Err(Unsettled::Refused));
    assert_eq!(driver.assigned.state().given, 512);
    // A driver that comes anew knows nothing of them.
    driver.guest.close(&driver.channel);
    assert_eq!(driver.assigned.state().given, 0);
}

#[test]
fn a_driver_that_goes_ends_the_wait() {
    let driver = Driver::agreed();
    let asked = driver.set(ALL / 2);
    driver.expect_request(ALL / 2);
    assert_eq!(driver.assigned.set(ALL, PATIENCE), Err(Unsettled::Busy));
    driver.guest.close(&driver.channel);
    assert_eq!(asked.join().unwrap(), Err(Unsettled::NoDriver));
}

#[test]
fn pages_that_are_not_the_guests_to_give_close_the_channel() {
    for ranges in [
        &[(PART - 1, 2)][..],
        &[(PART, 1)],
        &[(0, 512), (511, 1)],
        &[(0, 513)],
        &[(0, 0)],
        &[((1 << 40) - 1, PageRange::MOST)],
    ] {
        let driver = Driver::agreed();
        let asked = driver.set(ALL - 512);
        driver.expect_request(512);
        driver.give(ranges, false);
        assert!(driver.is_broken(), "{ranges:?}");
        assert_eq!(asked.join().unwrap(), Err(Unsettled::NoDriver));
    }
    for (kind, words) in [
        (kind::BALLOON_RESPONSE, &[0u32, 0][..]),
        (kind::UNBALLOON_RESPONSE, &[]),
        (kind::BALLOON_RESPONSE, &[]),
        (kind::VERSION_REQUEST, &[]),
        (kind::BALLOON_REQUEST, &[512, 0]),
        (0, &[]),
    ] {
        let driver = Driver::agreed();
        driver.say(kind, words);
        assert!(driver.is_broken(), "{kind} {words:?}");
    }
}

#[test]
fn more_ranges_than_the_message_has_close_the_channel() {
    let driver = Driver::agreed();
    let asked = driver.set(ALL - 512);
    driver.expect_request(512);
    driver.say(kind::BALLOON_RESPONSE, &[0, u32::MAX]);
    assert!(driver.is_broken());
    assert!(asked.join().unwrap().is_err());
}

#[test]
fn new_memory_is_used_and_can_be_given() {
    let driver = Driver::agreed();
    let new = PageRange {
        first: 5 << 30 >> 12,
        count: 4096,
    };
    let add = || {
        let assigned = driver.assigned.clone();
        std::thread::spawn(move || assigned.add(new, PATIENCE))
    };
    let asked = add();
    assert_eq!(
        driver.awaited(),
        (kind::HOT_ADD_REQUEST, new.to_word().as_bytes().to_vec())
    );
    driver.say(kind::HOT_ADD_RESPONSE, &[0, 0]);
    assert_eq!(asked.join().unwrap(), Err(Unsettled::NotTaken));

    let asked = add();
    driver.awaited();
    driver.say(kind::HOT_ADD_RESPONSE, &[2048, 1]);
    assert_eq!(asked.join().unwrap().unwrap().all, ALL + 2048);

    let asked = driver.set(ALL);
    driver.expect_request(2048);
    driver.give(&[(new.first, 2048)], false);
    assert_eq!(asked.join().unwrap().unwrap().assigned(), ALL);

    let asked = add();
    driver.awaited();
    driver.say(kind::HOT_ADD_RESPONSE, &[4097, 1]);
    assert!(driver.is_broken());
    assert!(asked.join().unwrap().is_err());
}

#[test]
fn a_driver_that_takes_no_memory_is_not_told_of_any() {
    let driver = Driver::load();
    driver.say(kind::VERSION_REQUEST, &[3, 0]);
    driver.say(kind::CAPABILITIES_REPORT, &[1, 0, 0, 0, !0, 0]);
    while driver.receive().is_some() {}
    let assigned = driver.assigned.clone();
    let new = PageRange {
        first: 5 << 30 >> 12,
        count: 4096,
    };
    let asked = std::thread::spawn(move || assigned.add(new, PATIENCE));
    while !asked.is_finished() {
        driver.serve();
    }
    assert_eq!(asked.join().unwrap(), Err(Unsettled::NotTaken));
    assert!(driver.receive().is_none());
}
