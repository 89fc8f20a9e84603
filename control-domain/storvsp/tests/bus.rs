//! A disk over the bus, with rings in a guest's memory.

mod guest;

use guest::{MOST_TRANSFER, Medium, disk_unit};
use std::sync::Arc;
use storvsp::{Attachment, Controller, Disks, StorageDevice};
use uuid::Uuid;
use vmbus::Endpoint;
use vmbus_testing::{DriverChannel, ModelGuest};

const IN_BAND: u16 = 6;
const GPA_DIRECT: u16 = 9;
const COMPLETION: u16 = 11;

struct Driver {
    guest: ModelGuest,
    endpoint: Arc<Endpoint>,
}

impl Driver {
    fn new(attachment: Attachment) -> Self {
        let mut controller = Controller::new(attachment, 3, MOST_TRANSFER);
        controller.add(0, disk_unit());
        let mut disks = Disks::default();
        disks.insert(0, Box::new(Medium::new()));
        let device = StorageDevice::new(controller, disks);
        let (guest, endpoint) = ModelGuest::with_device(Box::new(device));
        Self { guest, endpoint }
    }

    fn open(&self) -> DriverChannel {
        let offer = self.guest.offer_of(self.endpoint.offer().interface);
        let channel = self.guest.open(&offer, 4);
        for (operation, payload) in [(7, 0), (9, 0x602u16), (10, 0), (8, 0)] {
            assert_eq!(self.control(&channel, operation, payload), 0);
        }
        channel
    }

    /// A packet that is no request; answers its status.
    fn control(&self, channel: &DriverChannel, operation: u8, payload: u16) -> u32 {
        let mut data = vec![0; 64];
        data[0] = operation;
        data[12..14].copy_from_slice(&payload.to_le_bytes());
        let answer = self.ask(channel, IN_BAND, &[], &data);
        u32::from_le_bytes(answer[8..12].try_into().expect("four"))
    }

    fn ask(&self, channel: &DriverChannel, kind: u16, header: &[u8], data: &[u8]) -> Vec<u8> {
        let packet = DriverChannel::packet(kind, 1, 0x55, header, data);
        assert!(self.guest.send(channel, &packet));
        self.guest.serve(&self.endpoint);
        let memory = self.guest.now().memory;
        let (received, _) = channel.receive(memory).expect("an answer");
        assert_eq!((received.kind, received.transaction), (COMPLETION, 0x55));
        received.data
    }

    /// READ (10) into pages, from an offset in the first on; answers status and bytes.
    fn read(&self, channel: &DriverChannel, first: u8, count: u8) -> (u8, Vec<u8>) {
        let length = usize::from(count) * 512;
        let pages = self.guest.pages(length / 4096 + 2);
        let mut header = [0, 1, length as u32, 0x123].map(u32::to_le_bytes).concat();
        header.extend(pages.iter().flat_map(|page| page.to_le_bytes()));
        let mut data = vec![0; 64];
        data[0] = 3;
        data[20..23].copy_from_slice(&[10, 20, 1]);
        data[24..28].copy_from_slice(&(length as u32).to_le_bytes());
        data[28..38].copy_from_slice(&[0x28, 0, 0, 0, 0, first, 0, 0, count, 0]);
        let answer = self.ask(channel, GPA_DIRECT, &header, &data);
        let mut bytes = Vec::new();
        for page in pages {
            let mut piece = vec![0; 4096];
            let memory = self.guest.now().memory;
            memory.read(page * 4096, &mut piece).expect("memory");
            bytes.extend(piece);
        }
        (answer[14], bytes[0x123..0x123 + length].to_vec())
    }
}

#[test]
fn a_disk_is_read_over_the_bus_again_and_again() {
    let attachment = Attachment::Ide {
        channel: 0,
        drive: 0,
    };
    let driver = Driver::new(attachment);
    let expected = Medium::new().bytes;
    let channel = driver.open();
    for first in 0..40 {
        let (status, bytes) = driver.read(&channel, first, 17);
        assert_eq!(status, 1);
        let start = usize::from(first) * 512;
        assert!(bytes == expected[start..start + 17 * 512]);
    }
    // A driver that is unloaded and loaded again begins at the beginning.
    driver.guest.close(&channel);
    channel.reset(driver.guest.now().memory);
    assert!(driver.guest.reopen(&channel, 4));
    assert_ne!(
        driver.control(&channel, 3, 0),
        0,
        "no handshake, no requests"
    );
    assert_eq!(driver.control(&channel, 7, 0), 0);
}

#[test]
fn subchannels_are_offered_when_asked_for() {
    let instance = Uuid::from_bytes([3; 16]);
    let driver = Driver::new(Attachment::Scsi { instance });
    let channel = driver.open();
    assert_ne!(driver.control(&channel, 13, 4), 0, "more than there are");
    assert_eq!(driver.control(&channel, 13, 2), 0);
    let offers = [1, 2].map(|_| driver.guest.expect::<vmbus::message::OfferBody>(1));
    assert_eq!(offers.map(|offer| offer.subchannel.get()), [1, 2]);
    let subchannel = driver.guest.open(&offers[1], 4);
    let (status, bytes) = driver.read(&subchannel, 9, 1);
    assert_eq!(status, 1);
    assert!(bytes == Medium::new().bytes[9 * 512..10 * 512]);
}

/// REPORT LUNS: the numbers of the units.
fn luns(driver: &Driver, channel: &DriverChannel) -> Vec<u8> {
    let length = 64u32;
    let page = driver.guest.pages(1)[0];
    let mut header = [0, 1, length, 0].map(u32::to_le_bytes).concat();
    header.extend(page.to_le_bytes());
    let mut data = vec![0; 64];
    data[0] = 3;
    data[20..23].copy_from_slice(&[12, 20, 1]);
    data[24..28].copy_from_slice(&length.to_le_bytes());
    data[28] = 0xa0;
    data[37] = length as u8;
    let answer = driver.ask(channel, GPA_DIRECT, &header, &data);
    assert_eq!(answer[14], 1);
    let mut list = [0; 64];
    let memory = driver.guest.now().memory;
    memory.read(page * 4096, &mut list).expect("memory");
    let count = usize::from(list[3]) / 8;
    (1..=count).map(|unit| list[unit * 8 + 1]).collect()
}

#[test]
fn units_come_and_go_while_the_guest_listens() {
    const ENUMERATE_BUS: u8 = 11;
    let instance = Uuid::from_bytes([3; 16]);
    let mut controller = Controller::new(Attachment::Scsi { instance }, 0, MOST_TRANSFER);
    controller.add(0, disk_unit());
    let mut disks = Disks::default();
    disks.insert(0, Box::new(Medium::new()));
    let device = StorageDevice::new(controller, disks);
    let backplane = device.backplane();
    let add = |lun| {
        backplane.add(lun, disk_unit(), |media| {
            media.insert(lun, Box::new(Medium::new()))
        })
    };
    let (guest, endpoint) = ModelGuest::with_device(Box::new(device));
    let driver = Driver { guest, endpoint };
    // Before anyone listens: no notice.
    assert!(add(5));
    assert!(!add(5), "the place is taken");
    let channel = driver.open();
    assert_eq!(luns(&driver, &channel), [0, 5]);
    let notices = || {
        driver.guest.serve(&driver.endpoint);
        let memory = driver.guest.now().memory;
        let received = std::iter::from_fn(|| channel.receive(memory));
        received
            .map(|(packet, _)| {
                assert_eq!((packet.kind, packet.data[0]), (IN_BAND, ENUMERATE_BUS));
            })
            .count()
    };
    assert_eq!(notices(), 0);
    assert!(add(63));
    assert!(add(7));
    assert_eq!(notices(), 1, "one says it for both");
    assert_eq!(luns(&driver, &channel), [0, 5, 7, 63]);
    assert!(backplane.remove(5, |_| ()).is_some());
    assert_eq!(notices(), 1);
    assert_eq!(backplane.remove(5, |_| ()), None);
    assert_eq!(luns(&driver, &channel), [0, 7, 63]);
}
