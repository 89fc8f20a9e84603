//! Channels of every kind are opened and closed a hundred times, and nothing is left behind: the bus, as
//! it shows itself, is the same before and after, and so are the process's threads and descriptors.
#![allow(clippy::unwrap_used)]

use disk::Raw;
use disk_testing::Image;
use dynamic_memory::DynamicMemory;
use integration_services::{backup, file_copy, heartbeat, key_value, shutdown, time_sync};
use scsi::{DiskConfig, DiskUnit, Identity, Unit};
use storvsp::{Attachment, Controller, Disks, StorageDevice};
use synthetic_input::keyboard::Keyboard;
use synthetic_input::mouse::Mouse;
use synthetic_video::{Display, Mode, Video};
use uuid::Uuid;
use vmbus::Device;
use vmbus_testing::{DriverChannel, ModelGuest};

const CYCLES: usize = 100;
const DISK_BYTES: u64 = 1 << 20;

fn storage(attachment: Attachment) -> Box<dyn Device> {
    let mut controller = Controller::new(attachment, 2, 1 << 20);
    let unit = DiskUnit::new(DiskConfig {
        identity: Identity([1; 16]),
        block_size: 512,
        physical_block_size: 4096,
        blocks: DISK_BYTES / 512,
        read_only: false,
        thin: true,
        most_transfer: 1 << 20,
    });
    controller.add(0, Unit::Disk(unit));
    let mut disks = Disks::default();
    let disk = Raw::open(Image::zeros(DISK_BYTES), true).unwrap();
    disks.insert(0, Box::new(disk));
    Box::new(StorageDevice::new(controller, disks))
}

struct NoDisplay;

impl Display for NoDisplay {
    fn place(&mut self, _: u64) -> bool {
        false
    }

    fn show(&mut self, _: Option<Mode>) {}
}

fn devices() -> Vec<Box<dyn Device>> {
    let (channel, drive) = (0, 0);
    let instance = Uuid::from_bytes([9; 16]);
    vec![
        Box::new(heartbeat::Heartbeat::new(Default::default())),
        Box::new(shutdown::Shutdown::new(Default::default())),
        Box::new(time_sync::TimeSync::new(Box::new(|| 0))),
        Box::new(key_value::KeyValue::new(Default::default(), Vec::new())),
        Box::new(backup::Backup::new(Default::default())),
        Box::new(file_copy::FileCopy::new(&Default::default())),
        Box::new(DynamicMemory::new(Default::default(), &[], 0)),
        Box::new(Keyboard::new(Default::default())),
        Box::new(Mouse::new(Default::default())),
        Box::new(Video::new(Box::new(NoDisplay), Default::default())),
        storage(Attachment::Ide { channel, drive }),
        storage(Attachment::Scsi { instance }),
    ]
}

/// Entries of a folder of `/proc`.
fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_hundred_cycles_of_every_channel_leave_nothing_behind() {
    let guest = ModelGuest::default();
    let endpoints: Vec<_> = devices().into_iter().map(|d| guest.bus.add(d)).collect();
    assert!(guest.contact(5 << 16 | 3));
    let offers = guest.offers();
    assert_eq!(offers.len(), endpoints.len());
    let before = (
        guest.bus.inspect(),
        count("/proc/self/task"),
        count("/proc/self/fd"),
    );
    assert!(
        before
            .0
            .devices
            .iter()
            .all(|device| device.open_channels.is_empty())
    );
    // The guest's pages are used again, as a driver's are.
    let lists: Vec<Vec<u64>> = offers.iter().map(|_| guest.pages(8)).collect();
    for _ in 0..CYCLES {
        let mut open = Vec::new();
        for (offer, pages) in offers.iter().zip(&lists) {
            let gpadl = guest.gpadl(offer.channel.get(), pages);
            let channel = DriverChannel::of(offer, gpadl, pages.clone());
            channel.reset(&guest.memory);
            assert!(guest.reopen(&channel, 4), "{:?}", guest.host.take_reports());
            open.push(channel);
        }
        let during = guest.bus.inspect();
        assert_eq!((during.ports, during.gpadls), (offers.len(), offers.len()));
        for (endpoint, channel) in endpoints.iter().zip(&open) {
            // Each device sees something that it understands, or not.
            let packet = DriverChannel::packet(6, 1, 7, &[], &[7, 0, 0, 0, 0, 0, 0, 0]);
            guest.send(channel, &packet);
            guest.bus.serve(&guest.now(), endpoint);
        }
        for channel in &open {
            guest.close(channel);
            guest.tear_down(channel.number, channel.gpadl);
        }
    }
    let after = (
        guest.bus.inspect(),
        count("/proc/self/task"),
        count("/proc/self/fd"),
    );
    assert_eq!(before, after);
}
