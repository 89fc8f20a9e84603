//! Connections against a model of the guest's driver.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

use hv_socket::{Connection, Life, Service};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use vmbus::message::{self, kind};
use vmbus::{Endpoint, PipeHeader};
use vmbus_testing::{DriverChannel, ModelGuest};
use zerocopy::IntoBytes;

struct Driver {
    guest: ModelGuest,
    endpoint: Arc<Endpoint>,
    channel: DriverChannel,
    program: UnixStream,
    life: Life,
}

const END: Uuid = Uuid::from_u128(0x00000400_facb_11e6_bd58_64006a7986d3);

/// Offers a connection to a guest that has asked for offers before, and opens it.
fn connect(make: impl FnOnce(UnixStream) -> Connection) -> (Driver, message::OfferBody) {
    let guest = ModelGuest::default();
    assert!(guest.contact(5 << 16 | 3));
    assert!(guest.offers().is_empty());
    let (ours, program) = UnixStream::pair().unwrap();
    program
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let device = make(ours);
    let life = device.life();
    let endpoint = guest.bus.add(Box::new(device));
    guest.bus.flush(&guest.now());
    let offer: message::OfferBody = guest.expect(kind::OFFER);
    assert!(!life.was_opened());
    // Linux gives these rings six pages each.
    let channel = guest.open(&offer, 6);
    assert!(life.was_opened() && !life.has_ended());
    let driver = Driver {
        guest,
        endpoint,
        channel,
        program,
        life,
    };
    (driver, offer)
}

impl Driver {
    fn send(&self, bytes: &[u8]) {
        let data = [PipeHeader::of(bytes.len()).as_bytes(), bytes].concat();
        let packet = DriverChannel::packet(6, 0, 0, &[], &data);
        assert!(self.guest.send(&self.channel, &packet));
        self.serve();
    }

    fn serve(&self) {
        let now = self.guest.now_ns.load(std::sync::atomic::Ordering::Relaxed);
        self.guest.serve_until(&self.endpoint, now + 10_000_000);
    }

    /// The next packet's bytes.
    fn receive(&self) -> Vec<u8> {
        for _ in 0..10_000 {
            self.serve();
            if let Some((packet, _)) = self.channel.receive(&self.guest.memory) {
                assert_eq!(packet.data[..4], 1u32.to_le_bytes());
                return PipeHeader::data_of(&packet.data).unwrap().to_vec();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing comes");
    }
}

#[test]
fn a_guest_reaches_a_program_and_each_way_has_its_end() {
    let service = Service::of_port(5000);
    let (mut driver, offer) = connect(|stream| Connection::from_guest(stream, END, service));
    assert_eq!(offer.interface, service.0.to_bytes_le());
    assert_eq!(offer.instance, END.to_bytes_le());
    assert_eq!(offer.flags.get() & 0x2000, 0x2000);
    assert_eq!(offer.user_defined[4], 0, "the guest connects");
    driver.send(b"to the ");
    driver.send(b"host");
    driver.send(b"");
    let mut text = String::new();
    driver.program.read_to_string(&mut text).unwrap();
    assert_eq!(text, "to the host");
    driver.program.write_all(b"to the guest").unwrap();
    assert_eq!(driver.receive(), b"to the guest");
    assert!(!driver.life.has_ended());
    driver.program.shutdown(Shutdown::Both).unwrap();
    assert_eq!(driver.receive(), b"");
    driver.serve();
    assert!(driver.life.has_ended());
    driver
        .guest
        .bus
        .remove(&driver.guest.now(), &driver.endpoint);
    let rescind: message::ChannelBody = driver.guest.expect(kind::RESCIND);
    assert_eq!(rescind.channel.get(), driver.channel.number);
    assert!(driver.guest.bus.endpoints().is_empty());
}

#[test]
fn a_program_reaches_a_guest_and_large_things_wait_for_room() {
    let service = Service::of_port(6000);
    let greeting = "OK 6000\n";
    let (mut driver, offer) = connect(|s| Connection::to_guest(s, END, service, greeting));
    assert_eq!(offer.user_defined[4], 1, "the host connects");
    driver.serve();
    let mut hello = [0; 8];
    driver.program.read_exact(&mut hello).unwrap();
    assert_eq!(hello, *b"OK 6000\n");
    let large: Vec<u8> = (0..300_000u32).map(|n| (n % 253) as u8).collect();
    let mut to_write = driver.program.try_clone().unwrap();
    let copy = large.clone();
    let writer = std::thread::spawn(move || to_write.write_all(&copy).unwrap());
    let mut arrived = Vec::new();
    while arrived.len() < large.len() {
        arrived.extend(driver.receive());
    }
    writer.join().unwrap();
    assert!(arrived == large);
    // The program reads nothing for a while: the guest's ring fills, and nothing is lost.
    let mut from_guest = driver.program.try_clone().unwrap();
    let length = large.len();
    let mut sent = 0;
    let piece = |at: usize| &large[at..(at + 4088).min(length)];
    let mut reader = None;
    while sent < length {
        let data = [PipeHeader::of(piece(sent).len()).as_bytes(), piece(sent)].concat();
        let packet = DriverChannel::packet(6, 0, 0, &[], &data);
        if driver.guest.send(&driver.channel, &packet) {
            sent += piece(sent).len();
        } else if reader.is_none() {
            reader = Some(std::thread::spawn({
                let mut from_guest = from_guest.try_clone().unwrap();
                move || {
                    let mut all = vec![0; length];
                    from_guest.read_exact(&mut all).unwrap();
                    all
                }
            }));
        }
        driver.serve();
    }
    let all = match reader {
        Some(reader) => {
            while !reader.is_finished() {
                driver.serve();
            }
            reader.join().unwrap()
        }
        None => {
            let mut all = vec![0; length];
            from_guest.read_exact(&mut all).unwrap();
            all
        }
    };
    assert!(all == large);
    driver.guest.close(&driver.channel);
    assert!(driver.life.has_ended());
    assert_eq!(driver.program.read(&mut hello).unwrap(), 0);
}

#[test]
fn a_guest_that_breaks_the_protocol_loses_its_connection_alone() {
    let packets: [&[u8]; 4] = [
        &[],
        &[1, 0, 0, 0, 9, 0, 0, 0, 7],
        &[2, 0, 0, 0, 1, 0, 0, 0, 7],
        &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in packets {
        let service = Service::of_port(1);
        let (mut driver, _) = connect(|stream| Connection::from_guest(stream, END, service));
        let packet = DriverChannel::packet(6, 0, 0, &[], bytes);
        assert!(driver.guest.send(&driver.channel, &packet));
        driver.serve();
        let reports = driver.guest.host.take_reports();
        assert!(reports[0].contains("the guest broke it"), "{reports:?}");
        assert!(driver.life.has_ended());
        assert_eq!(driver.program.read(&mut [0]).unwrap(), 0);
    }
    let (driver, _) = connect(|s| Connection::from_guest(s, END, Service::of_port(1)));
    driver.send(b"");
    driver.send(b"more");
    assert!(driver.life.has_ended());
}

#[test]
fn a_new_kernel_knows_nothing_of_old_sockets() {
    let (driver, _) = connect(|s| Connection::from_guest(s, END, Service::of_port(1)));
    assert!(driver.guest.contact(5 << 16 | 3));
    assert!(driver.life.has_ended());
    assert!(driver.guest.offers().is_empty());
}
