//! Packets through both rings against the model guest: none lost, none twice, none changed.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vmbus::{Channel, Device, Offer, Outgoing, PacketKind, Refused, RingError};
use vmbus_testing::{DriverChannel, ModelGuest};

const INTERFACE: Uuid = Uuid::from_u128(1);

/// Sends every packet back as its completion; keeps what finds no room.
#[derive(Default)]
struct Echo {
    kept: VecDeque<(u64, Vec<u8>)>,
    /// Packets it takes before it wants to be called again.
    appetite: Option<usize>,
    log: Arc<Mutex<Vec<&'static str>>>,
}

impl Device for Echo {
    fn offer(&self) -> Offer {
        Offer::new("echo", INTERFACE, Uuid::from_u128(2))
    }

    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        assert_eq!(channel.user_data(), &[0x55; 120]);
        self.log.lock().unwrap().push("open");
        self.kept.clear();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.log.lock().unwrap().push("close");
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        let mut left = self.appetite.unwrap_or(usize::MAX);
        loop {
            while let Some((transaction, data)) = self.kept.front() {
                if !channel.send(&Outgoing::completion(*transaction, data))? {
                    return Ok(());
                }
                self.kept.pop_front();
            }
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            match channel.receive()? {
                Some(packet) => self.kept.push_back((packet.transaction, packet.data)),
                None => return Ok(()),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// The driver sends and receives in any rhythm, the device is served only when it was signalled
    /// or asked for a later call: were a signal missing, this would stop.
    #[test]
    fn nothing_is_lost_doubled_or_changed(
        pages in 2usize..5,
        lengths in prop::collection::vec(0usize..2000, 1..150),
        rhythm in prop::collection::vec(0u8..4, 1..40),
        start in 0u32..500,
    ) {
        let (guest, endpoint) = ModelGuest::with_device(Box::new(Echo::default()));
        let offer = guest.offer_of(INTERFACE);
        let channel = guest.open(&offer, pages);
        guest.close(&channel);
        // Any place in the ring, so that packets wrap everywhere.
        for down in [false, true] {
            for field in [0, 4] {
                channel.set_word(&guest.memory, down, field, start * 8 % channel.size());
            }
        }
        prop_assert!(guest.reopen(&channel, pages as u32));
        let packet = |n: usize| {
            let data: Vec<u8> = (0..lengths[n]).map(|i| (i + n) as u8).collect();
            DriverChannel::packet(6, 1, n as u64, &[], &data)
        };
        let rhythm: Vec<u8> = rhythm.into_iter().chain([0]).collect();
        let (mut sent, mut received, mut idle) = (0, 0, 0);
        for step in (0..).map(|n: usize| rhythm[n % rhythm.len()]) {
            idle += 1;
            prop_assert!(idle < 400, "stuck: {sent} sent, {received} of {} back", lengths.len());
            if received == lengths.len() {
                break;
            }
            if step & 1 == 0 {
                while sent < lengths.len() && guest.send(&channel, &packet(sent)) {
                    sent += 1;
                    idle = 0;
                    if step == 0 {
                        break;
                    }
                }
            }
            // By the bell alone, never by the clock.
            guest.serve(&endpoint);
            if step & 2 == 0 {
                while let Some((packet, room_awaited)) = channel.receive(&guest.memory) {
                    prop_assert_eq!((packet.kind, packet.transaction), (11, received as u64));
                    let length = lengths[received].next_multiple_of(8);
                    prop_assert_eq!(packet.data.len(), length);
                    let right = packet.data[..lengths[received]]
                        .iter()
                        .enumerate()
                        .all(|(i, byte)| *byte == (i + received) as u8);
                    prop_assert!(right, "packet {received} changed");
                    received += 1;
                    idle = 0;
                    if room_awaited {
                        guest.bus.signal(&guest.now(), channel.connection).unwrap();
                    }
                }
            }
        }
        prop_assert_eq!(guest.host.take_reports(), Vec::<String>::new());
    }

    /// Whatever stands in the rings, the bus survives, and says why a channel ended.
    #[test]
    fn hostile_rings_break_their_own_channel_only(
        words in prop::collection::vec((any::<bool>(), prop::sample::select(vec![0u64, 4, 8, 12, 64]),
            prop_oneof![any::<u32>(), (0u32..4096).prop_map(|n| n * 8)]), 1..6),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..8),
    ) {
        let (guest, endpoint) = ModelGuest::with_device(Box::new(Echo::default()));
        let other = guest.bus.add(Box::new(Other));
        let offers = guest.offers();
        let channel = guest.open(&offers[0], 3);
        let sane = guest.open(&offers[1], 3);
        for bytes in packets {
            guest.send(&channel, &bytes);
        }
        for (down, field, value) in words {
            channel.set_word(&guest.memory, down, field, value);
        }
        endpoint.doorbell().ring();
        for _ in 0..4 {
            guest.serve(&endpoint);
        }
        let reports = guest.host.take_reports();
        prop_assert!(reports.len() <= 1, "{reports:?}");
        prop_assert_eq!(endpoint.open_channels().is_empty(), reports.len() == 1);
        prop_assert!(reports.iter().all(|r| r.contains("channel echo.0 is closed")));
        prop_assert!(guest.send(&sane, &DriverChannel::packet(6, 0, 1, &[], b"x")));
        prop_assert!(guest.serve(&other).is_some());
        prop_assert_eq!(other.open_channels(), vec![0]);
        // And the broken one can be opened anew.
        guest.close(&channel);
        channel.reset(&guest.memory);
        prop_assert!(guest.reopen(&channel, 3));
    }
}

struct Other;

impl Device for Other {
    fn offer(&self) -> Offer {
        Offer::new("other", Uuid::from_u128(7), Uuid::from_u128(8))
    }
    fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
        Ok(())
    }
    fn close(&mut self, _: u16) {}
    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while channel.receive()?.is_some() {}
        Ok(())
    }
}

#[test]
fn packets_that_list_memory_arrive_with_their_pages() {
    struct Reader(Arc<Mutex<Vec<u8>>>);
    impl Device for Reader {
        fn offer(&self) -> Offer {
            Offer::new("reader", INTERFACE, Uuid::from_u128(2))
        }
        fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
            Ok(())
        }
        fn close(&mut self, _: u16) {}
        fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
            while let Some(packet) = channel.receive()? {
                assert_eq!(packet.kind, PacketKind::GpaDirect);
                let mut bytes = vec![0; packet.ranges[0].length() as usize];
                packet.ranges[0].read(channel.memory(), 0, &mut bytes)?;
                self.0.lock().unwrap().extend(bytes);
            }
            Ok(())
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (guest, endpoint) = ModelGuest::with_device(Box::new(Reader(seen.clone())));
    let channel = guest.open(&guest.offer_of(INTERFACE), 4);
    let pages = guest.pages(2);
    guest.memory.write(pages[0] * 4096 + 4094, b"ab").unwrap();
    guest.memory.write(pages[1] * 4096, b"cd").unwrap();
    let mut header = [0u32, 1, 4, 4094].map(u32::to_le_bytes).concat();
    header.extend(pages.iter().flat_map(|page| page.to_le_bytes()));
    guest.send(&channel, &DriverChannel::packet(9, 1, 5, &header, b"cdb"));
    guest.serve(&endpoint).unwrap();
    assert_eq!(*seen.lock().unwrap(), b"abcd");
    // The same with a page that is no memory ends the channel.
    let header = [0u32, 1, 4, 0, 0xffff_ffff, 0]
        .map(u32::to_le_bytes)
        .concat();
    guest.send(&channel, &DriverChannel::packet(9, 1, 5, &header, b"cdb"));
    guest.serve(&endpoint).unwrap();
    let reports = guest.host.take_reports();
    assert!(
        reports[0].contains("no memory at guest-physical address"),
        "{reports:?}"
    );
}

#[test]
fn a_device_that_takes_a_packet_at_a_time_leaves_the_others_in_the_ring() {
    let echo = Echo {
        appetite: Some(1),
        ..Echo::default()
    };
    let (guest, endpoint) = ModelGuest::with_device(Box::new(echo));
    let channel = guest.open(&guest.offer_of(INTERFACE), 4);
    for n in 0..3 {
        guest.send(&channel, &DriverChannel::packet(6, 1, n, &[], b"x"));
    }
    for n in 0..3 {
        guest.bus.serve(&guest.now(), &endpoint);
        let (packet, _) = channel.receive(&guest.memory).unwrap();
        assert_eq!(packet.transaction, n);
        assert!(channel.receive(&guest.memory).is_none());
    }
}

#[test]
fn an_interrupt_that_finds_no_room_is_tried_again() {
    let (guest, endpoint) = ModelGuest::with_device(Box::new(Echo::default()));
    let channel = guest.open(&guest.offer_of(INTERFACE), 4);
    guest.serve(&endpoint);
    guest.host.take_signals();
    guest.host.set_room(usize::MAX, 0);
    guest.send(&channel, &DriverChannel::packet(6, 1, 1, &[], b"x"));
    let served = guest.serve(&endpoint).unwrap();
    assert!(served.next_ns.is_some());
    guest.host.set_room(usize::MAX, usize::MAX);
    guest.bus.serve(&guest.now(), &endpoint);
    // Processor 2, as the request to open said; the flag is the channel's number.
    assert_eq!(guest.host.take_signals(), [(2, 2, channel.number as u16)]);
}

/// Driver and device on threads of their own, each asleep until the other signals: one signal that
/// is lost, in either direction, would leave both asleep for ever.
#[test]
fn no_wake_up_is_lost_between_threads() {
    const PACKETS: usize = 30_000;
    let (guest, endpoint) = ModelGuest::with_device(Box::new(Echo::default()));
    let channel = guest.open(&guest.offer_of(INTERFACE), 2);
    let over = AtomicBool::new(false);
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                endpoint.doorbell().wait(None);
                guest.bus.serve(&guest.now(), &endpoint);
            }
        });
        let driver = || {
            let (mut sent, mut received) = (0, 0);
            let deadline = Instant::now() + Duration::from_secs(30);
            while received < PACKETS && Instant::now() < deadline {
                for burst in 0..sent % 7 + 1 {
                    let data = vec![0; (sent + burst) % 90];
                    let packet = DriverChannel::packet(6, 1, sent as u64, &[], &data);
                    if sent < PACKETS && guest.send(&channel, &packet) {
                        sent += 1;
                    }
                }
                // Its interrupt handler runs only when there was an interrupt, and reads all.
                while guest.host.take_signals().is_empty() && Instant::now() < deadline {
                    std::hint::spin_loop();
                }
                while let Some((packet, room_awaited)) = channel.receive(&guest.memory) {
                    assert_eq!(packet.transaction, received as u64);
                    received += 1;
                    if room_awaited {
                        let _ = guest.bus.signal(&guest.now(), channel.connection);
                    }
                }
            }
            received
        };
        let received = driver();
        over.store(true, SeqCst);
        endpoint.doorbell().ring();
        received
    });
    assert_eq!(received, PACKETS, "both sleep");
}

#[test]
fn a_driver_that_waits_for_room_is_woken_when_there_is_enough() {
    let (guest, endpoint) = ModelGuest::with_device(Box::new(Other));
    let offer = guest.offer_of(Uuid::from_u128(7));
    for (awaited, woken) in [
        (0, false),
        (900, false),
        (1024, true),
        (3000, true),
        (5000, false),
    ] {
        let channel = guest.open(&offer, 2);
        guest.serve(&endpoint);
        let packet = DriverChannel::packet(6, 0, 1, &[], &[0; 1000]);
        while guest.send(&channel, &packet) {}
        channel.set_word(&guest.memory, false, 12, awaited);
        guest.host.take_signals();
        guest.serve(&endpoint).unwrap();
        assert_eq!(!guest.host.take_signals().is_empty(), woken, "{awaited}");
        // Room that was there before is no news.
        guest.send(&channel, &DriverChannel::packet(6, 0, 1, &[], b"x"));
        guest.serve(&endpoint).unwrap();
        assert_eq!(guest.host.take_signals(), [], "{awaited}");
        guest
            .post(vmbus::message::Message::bare(16).bytes())
            .unwrap();
        assert!(guest.host.next_message().is_some() && guest.contact(5 << 16 | 3));
        guest.offers();
    }
}
