//! The services against a model of the guest's drivers.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

mod driver;

use driver::{Driver, SECOND};
use integration_services::wire::{self, Version, kind};
use integration_services::{heartbeat, key_value, shutdown, time_sync};
use std::sync::atomic::Ordering::Relaxed;
use vmbus_testing::DriverChannel;
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn heartbeats_come_every_two_seconds_and_their_end_is_seen() {
    let status = heartbeat::Status::default();
    let device = Box::new(heartbeat::Heartbeat::new(status.clone()));
    let driver = Driver::load(device, heartbeat::INTERFACE);
    driver.negotiate(Version::new(3, 0));
    assert_eq!(status.health(), heartbeat::Health::NoContact);
    for beat in 0..5u64 {
        driver.wait(2 * SECOND);
        let (header, body) = driver.receive().unwrap();
        assert_eq!(header.kind.get(), kind::HEARTBEAT);
        assert_eq!(header.version.numbers(), (3, 0));
        assert_eq!(body[..8], beat.to_le_bytes());
        assert!(driver.receive().is_none());
        let mut counted = body;
        counted[..8].copy_from_slice(&(beat + 1).to_le_bytes());
        driver.answer(header, 0, &counted);
        driver.wait(0);
        assert_eq!(status.health(), heartbeat::Health::Alive);
    }
    assert_eq!(driver.reports(), ["heartbeat: the guest is alive"]);
    driver.wait(13 * SECOND);
    assert_eq!(status.health(), heartbeat::Health::Lost);
    assert_eq!(driver.reports(), ["heartbeat: the guest does not answer"]);
    // One that is not answered is not followed by another.
    assert!(driver.receive().is_some() && driver.receive().is_none());
    driver.guest.close(&driver.channel);
    assert_eq!(status.health(), heartbeat::Health::NoContact);
}

#[test]
fn a_shutdown_is_asked_for_once_the_driver_is_there() {
    let request = shutdown::Request::default();
    assert!(!request.power_off());
    let device = Box::new(shutdown::Shutdown::new(request.clone()));
    let driver = Driver::load(device, shutdown::INTERFACE);
    assert!(!request.power_off(), "no version yet");
    driver.negotiate(Version::new(3, 2));
    driver.wait(SECOND);
    assert!(
        driver.receive().is_none(),
        "what could not be is not done later"
    );
    assert!(request.power_off());
    driver.wait(0);
    let (header, body) = driver.receive().unwrap();
    assert_eq!(header.kind.get(), kind::SHUTDOWN);
    assert_eq!(body.len(), 12 + 2048);
    assert_eq!(body[8..12], 1u32.to_le_bytes(), "power off");
    driver.answer(header, 0, &body);
    driver.wait(0);
    assert_eq!(driver.reports(), ["shutdown: the guest powers off"]);
    assert!(driver.receive().is_none());
    // The machine is reset without a word of the driver.
    assert!(request.power_off());
    let _fresh = shutdown::Shutdown::new(request.clone());
    assert!(!request.power_off());
    driver.guest.close(&driver.channel);
    assert!(!request.power_off());
}

#[test]
fn time_is_set_once_and_then_steered() {
    let start = 1_800_000_000 * SECOND;
    for (version, length) in [(Version::new(4, 0), 22), (Version::new(3, 0), 25)] {
        let device = Box::new(time_sync::TimeSync::new(Box::new(move || start)));
        let driver = Driver::load(device, time_sync::INTERFACE);
        driver.guest.now_ns.store(77 * SECOND, Relaxed);
        driver.negotiate(version);
        for flags in [
            time_sync::FLAG_SYNC,
            time_sync::FLAG_SAMPLE,
            time_sync::FLAG_SAMPLE,
        ] {
            let reference = driver.guest.now_ns.load(Relaxed) / 100;
            let (header, body) = driver.receive().unwrap();
            assert_eq!((header.kind.get(), body.len()), (kind::TIME_SYNC, length));
            // Seconds from 1601 to 1970, then to the host's time.
            let expected = (11_644_473_600u64 + 1_800_000_000) * 10_000_000;
            assert_eq!(body[..8], expected.to_le_bytes());
            if length == 22 {
                assert_eq!(body[8..16], reference.to_le_bytes());
                assert_eq!(body[16], flags);
            } else {
                assert_eq!(body[24], flags);
            }
            driver.answer(header, 0, &body);
            driver.wait(5 * SECOND);
        }
    }
}

#[test]
fn the_guest_describes_itself() {
    let pairs = key_value::Pairs::default();
    let host = vec![("HostName".to_owned(), "pc".to_owned())];
    let device = Box::new(key_value::KeyValue::new(pairs.clone(), host));
    let driver = Driver::load(device, key_value::INTERFACE);
    // Linux waits with its answer until its daemon is there, or 55 s.
    driver.wait(30 * SECOND);
    driver.negotiate(Version::new(4, 0));
    // A guest whose daemon can't keep what it is told is told again, a minute later.
    for status in [0x8000_4005, 0] {
        let (header, body) = driver.receive().unwrap();
        let told = wire::Set::read_from_bytes(&body).unwrap();
        assert_eq!((told.operation, told.pool), (1, 3));
        assert_eq!((told.key_bytes.get(), told.value_bytes.get()), (18, 6));
        assert_eq!(told.value[..8], *b"p\0c\0\0\0\0\0");
        driver.answer(header, status, &body);
        driver.wait(if status == 0 { 0 } else { 61 * SECOND });
    }
    let known = [("OSName", "Debian"), ("FullyQualifiedDomainName", "guest")];
    for (index, (key, value)) in known.iter().enumerate() {
        let (header, body) = driver.receive().unwrap();
        let mut pair = wire::Enumerate::read_from_bytes(&body).unwrap();
        assert_eq!((pair.operation, pair.pool), (3, 2));
        assert_eq!(pair.index.get(), index as u32);
        let utf16 = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16().chain([0]);
            units.flat_map(u16::to_le_bytes).collect()
        };
        let (key, value) = (utf16(key), utf16(value));
        pair.key[..key.len()].copy_from_slice(&key);
        pair.value[..value.len()].copy_from_slice(&value);
        pair.key_bytes = (key.len() as u32).into();
        pair.value_bytes = (value.len() as u32).into();
        driver.answer(header, 0, pair.as_bytes());
        driver.wait(0);
    }
    let (header, body) = driver.receive().unwrap();
    driver.answer(header, 0x8007_0103, &body);
    driver.wait(30 * SECOND);
    assert!(driver.receive().is_none(), "all are known");
    let all = pairs.all();
    assert_eq!(all.len(), 2);
    assert_eq!(all["OSName"], "Debian");
    driver.wait(31 * SECOND);
    assert!(driver.receive().is_some(), "asked again after a minute");
}

#[test]
fn a_guest_that_breaks_the_protocol_loses_its_channel() {
    for (n, bytes) in [
        vec![1, 2, 3],
        vec![0xff; 64],
        [&[1, 0, 0, 0, 20, 0, 0, 0][..], &[0xff; 20]].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        let device = Box::new(heartbeat::Heartbeat::new(heartbeat::Status::default()));
        let driver = Driver::load(device, heartbeat::INTERFACE);
        driver.wait(0);
        let packet = DriverChannel::packet(6, 0, 0, &[], &bytes);
        driver.guest.send(&driver.channel, &packet);
        driver.wait(0);
        let reports = driver.reports();
        assert!(
            reports[0].contains("heartbeat.0 is closed"),
            "{n}: {reports:?}"
        );
    }
}

#[test]
fn a_guest_that_knows_no_version_is_left_alone() {
    let status = heartbeat::Status::default();
    let device = Box::new(heartbeat::Heartbeat::new(status.clone()));
    let driver = Driver::load(device, heartbeat::INTERFACE);
    driver.wait(0);
    let (header, mut body) = driver.receive().unwrap();
    body[..4].fill(0);
    driver.answer(header, 0, &body);
    driver.wait(20 * SECOND);
    assert!(driver.receive().is_none());
    assert!(driver.reports().is_empty());
}
