//! How a channel starts, in and out of order.

mod guest;

use guest::{Bench, MOST_TRANSFER};
use guest_buffer::Buffer;
use storvsp::wire::{Operation, Version};
use storvsp::{Attachment, Outcome};
use uuid::{Uuid, uuid};

const SCSI: Attachment = Attachment::Scsi {
    instance: Uuid::from_bytes([9; 16]),
};

#[test]
fn every_version_from_4_2_on_is_served_and_others_are_refused() {
    for version in [0x0602, 0x0600, 0x0501, 0x0402] {
        let mut bench = Bench::new(SCSI);
        if version == 0x0402 {
            bench.packet_length = 48;
        }
        assert_eq!(bench.control(Operation::BEGIN_INITIALIZATION, &[]).0, 0);
        // A guest tries from the newest down.
        for refused in [0x0700u16, 0x0603, 0x0200, 0] {
            let (status, _) =
                bench.control(Operation::QUERY_PROTOCOL_VERSION, &refused.to_le_bytes());
            assert_ne!(status, 0);
        }
        bench.controller.opened();
        bench.shake_hands(Version(version));
        let told = bench
            .controller
            .add(3, guest::disk_unit())
            .expect("a notice");
        assert_eq!(told.len(), bench.packet_length);
        assert_eq!(told[..12], [11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn properties_tell_of_subchannels_and_transfers() {
    let mut bench = Bench::new(SCSI);
    bench.control(Operation::BEGIN_INITIALIZATION, &[]);
    bench.control(Operation::QUERY_PROTOCOL_VERSION, &[2, 6]);
    let (status, payload) = bench.control(Operation::QUERY_PROPERTIES, &[0xff; 52]);
    assert_eq!(status, 0);
    assert_eq!(payload[..12], [0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(payload[12..16], MOST_TRANSFER.to_le_bytes());
    assert!(
        payload[16..].iter().all(|byte| *byte == 0),
        "nothing of the guest's comes back"
    );
}

#[test]
fn steps_out_of_order_are_refused_and_change_nothing() {
    let steps = [7, 9, 10, 8].map(Operation);
    for done in 0..=steps.len() {
        for wrong in [7, 8, 9, 10, 3, 6, 13].map(Operation) {
            let mut bench = Bench::new(SCSI);
            for step in &steps[..done] {
                assert_eq!(bench.control(*step, &[2, 6]).0, 0);
            }
            let fits = steps.get(done) == Some(&wrong);
            let request_may_come = done == 4 && [3, 6, 13].contains(&wrong.0);
            if !fits && !request_may_come {
                assert_eq!(bench.control(wrong, &[2, 6]).0, 0xc000_0184);
            }
            for step in &steps[done..] {
                assert_eq!(bench.control(*step, &[2, 6]).0, 0, "{wrong:?} after {done}");
            }
        }
    }
}

#[test]
fn subchannels_come_as_many_as_there_may_be() {
    let mut bench = Bench::ready();
    for (count, status) in [(0u16, 0xc000_000d), (5, 0xc000_000d), (4, 0)] {
        let found = bench.control(Operation::CREATE_SUB_CHANNELS, &count.to_le_bytes());
        assert_eq!(found.0, status);
    }
    let packet = bench.packet(Operation::CREATE_SUB_CHANNELS, &[3, 0]);
    let outcome = bench.send(&packet, Buffer::default());
    assert!(matches!(outcome, Outcome::Subchannels(3, Some(_))));
}

#[test]
fn what_is_not_there_is_refused() {
    let mut bench = Bench::ready();
    assert_eq!(bench.control(Operation::FCHBA_DATA, &[]).0, 0xc000_00bb);
    for unknown in [0, 1, 2, 11, 14, u32::MAX] {
        assert_eq!(bench.control(Operation(unknown), &[]).0, 0xc000_0010);
    }
}

#[test]
fn offers_are_hyper_vs() {
    let scsi = SCSI.offer();
    assert_eq!(
        scsi.interface,
        uuid!("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f")
    );
    assert_eq!(scsi.user_defined, [0; 120]);
    let ide = Attachment::Ide {
        channel: 1,
        drive: 0,
    }
    .offer();
    assert_eq!(ide.interface, uuid!("32412632-86cb-44a2-9b5c-50d1417354f5"));
    assert_eq!(ide.instance, uuid!("00000001-0000-8899-0000-000000000000"));
    assert_eq!(ide.user_defined[..12], [0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
}
