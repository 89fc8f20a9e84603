//! A storage driver that means harm.

use crate::Records;
use disk::{Disk, Raw};
use disk_testing::Image;
use scsi::{DiskConfig, DiskUnit, DvdUnit, Identity, Request, Unit};
use storvsp::{Attachment, Controller, Io, Outcome, Packet, perform};
use uuid::Uuid;

const DISK: u64 = 1 << 20;
const MOST_TRANSFER: u32 = 1 << 18;
/// The handshake, so that chance begins behind it.
const HANDSHAKE: [(u8, u16); 4] = [(7, 0), (9, 0x602), (10, 0), (8, 0)];

/// Tries packets on a controller with a disk and a drive; see the crate. The first byte says whether it is
/// a SCSI controller or an IDE disk, and whether the handshake was made.
pub fn storage(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    let (Some(memory), Ok(mut disk)) = (crate::memory(), Raw::open(Image::zeros(DISK), true))
    else {
        return;
    };
    let attachment = match choice & 1 {
        0 => Attachment::Scsi {
            instance: Uuid::from_bytes([1; 16]),
        },
        _ => Attachment::Ide {
            channel: 0,
            drive: 0,
        },
    };
    let mut controller = Controller::new(attachment, 4, MOST_TRANSFER);
    controller.add(0, Unit::Disk(DiskUnit::new(config())));
    controller.add(1, Unit::Dvd(DvdUnit::new(Identity([2; 16]), Some(DISK))));
    if choice & 2 == 0 {
        for (operation, version) in HANDSHAKE {
            let mut payload = [0; 64];
            payload[0] = operation;
            payload[12..14].copy_from_slice(&version.to_le_bytes());
            let packet = Packet {
                transaction_id: 1,
                wants_completion: true,
                payload: &payload,
                buffer: Default::default(),
            };
            controller.receive(packet, &memory);
        }
    }
    for record in Records(rest) {
        record.put(&memory);
        let packet = Packet {
            transaction_id: 2,
            wants_completion: record.wants_completion,
            payload: record.payload,
            buffer: record.buffer(),
        };
        if let Outcome::Start(io) = controller.receive(packet, &memory) {
            check(&io);
            perform(io, &mut disk as &mut dyn Disk, &memory);
        }
    }
}

fn config() -> DiskConfig {
    DiskConfig {
        identity: Identity([1; 16]),
        block_size: 512,
        physical_block_size: 4096,
        blocks: DISK / 512,
        read_only: false,
        thin: true,
        most_transfer: MOST_TRANSFER,
    }
}

fn check(io: &Io) {
    assert_eq!(io.buffer.length(), io.request.transfer_length());
    let ranges = match &io.request {
        Request::Discard(ranges) => ranges.as_slice(),
        Request::Read(range)
        | Request::Write { range, .. }
        | Request::Fill { range, .. }
        | Request::Verify { range, .. } => std::slice::from_ref(range),
        Request::Flush => &[],
    };
    for range in ranges {
        assert!(range.length > 0 && range.offset + range.length <= DISK);
    }
}
