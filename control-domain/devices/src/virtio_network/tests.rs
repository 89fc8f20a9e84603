use super::*;
use crate::test_memory::Ram;
use crate::virtio::{DESCRIPTOR_NEXT, DESCRIPTOR_WRITE};
use std::sync::mpsc::{self, Receiver};

/// Bytes between the parts of a queue, and between queues.
const QUEUE_BYTES: u64 = 0x4000;
const BUFFER: u64 = 0x2_0000;
const HEADER: u64 = 0x3_0000;

struct Bench {
    device: VirtioNetwork,
    ram: Ram,
    sent: Receiver<Vec<u8>>,
}

impl Bench {
    fn new() -> Self {
        let (sink, sent) = mpsc::channel();
        let mut device = VirtioNetwork::new(NetworkCard {
            mac: [2, 0, 0, 0, 0, 7],
            plugged: true,
            frames: Box::new(move |frame: &[u8]| sink.send(frame.to_vec()).expect("heard")),
        });
        let ram = Ram::new(1 << 20);
        for queue in [RECEIVE, TRANSMIT] {
            device.write(14, 2, queue as u32, &ram);
            device.write(8, 4, (queue_at(queue) / 4096) as u32, &ram);
        }
        Bench { device, ram, sent }
    }

    /// Makes a header and a buffer available as the first chain of a queue.
    fn offer(&mut self, queue: usize, length: u32, flags: u16) {
        let at = queue_at(queue);
        let descriptors = [
            (HEADER, HEADER_BYTES as u32, DESCRIPTOR_NEXT | flags, 1u16),
            (BUFFER, length, flags, 0),
        ];
        for (i, (address, length, flags, next)) in (0..).zip(descriptors) {
            let mut bytes = address.to_le_bytes().to_vec();
            bytes.extend(length.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            bytes.extend(next.to_le_bytes());
            self.ram.write(at + 16 * i, &bytes).expect("in RAM");
        }
        self.ram.write(at + 64 * 16 + 2, &[1, 0]).expect("in RAM");
        self.device.write(16, 2, queue as u32, &self.ram);
    }

    /// How many chains of a queue have ended, and the bytes written in the first one.
    fn ended(&self, queue: usize) -> (u8, u32) {
        let used = self.ram.bytes(queue_at(queue) as usize + 0x1000, 12);
        let written = used[8..12].try_into().expect("four");
        (used[2], u32::from_le_bytes(written))
    }
}

fn queue_at(queue: usize) -> u64 {
    0x4000 + QUEUE_BYTES * queue as u64
}

#[test]
fn the_driver_finds_its_address_and_a_link() {
    let bench = Bench::new();
    assert_eq!(bench.device.read(0, 4), 1 << 5 | 1 << 16);
    let mac: Vec<u32> = (20..26).map(|at| bench.device.read(at, 1)).collect();
    assert_eq!(mac, [2, 0, 0, 0, 0, 7]);
    assert_eq!((bench.device.read(26, 2), bench.device.read(28, 4)), (1, 0));
}

#[test]
fn frames_go_out_without_their_header() {
    let mut bench = Bench::new();
    bench.ram.write(HEADER, &[0xee; HEADER_BYTES]).expect("RAM");
    bench.ram.write(BUFFER, &[7; 60]).expect("in RAM");
    bench.offer(TRANSMIT, 60, 0);
    assert_eq!(bench.sent.try_recv().expect("a frame"), [7; 60]);
    assert_eq!(bench.ended(TRANSMIT), (1, 0));
}

#[test]
fn what_is_no_frame_is_not_sent() {
    for length in [0, 13, 1519, u32::MAX] {
        let mut bench = Bench::new();
        bench.offer(TRANSMIT, length, 0);
        assert!(bench.sent.try_recv().is_err(), "{length} bytes");
        assert_eq!(bench.ended(TRANSMIT).0, 1);
    }
}

#[test]
fn frames_come_in_behind_an_empty_header_where_there_is_room() {
    let mut bench = Bench::new();
    let frame = [5; 60];
    let receive = |bench: &mut Bench| bench.device.receive(&frame, &bench.ram);
    assert_eq!(receive(&mut bench), Reception::Unwanted, "no driver yet");
    bench.device.write(18, 1, 7, &bench.ram);
    assert_eq!(receive(&mut bench), Reception::NoRoom);
    bench.ram.write(HEADER, &[0xee; HEADER_BYTES]).expect("RAM");
    bench.offer(RECEIVE, 1514, DESCRIPTOR_WRITE);
    assert_eq!(receive(&mut bench), Reception::Taken);
    assert_eq!(bench.ended(RECEIVE), (1, 70));
    assert_eq!(bench.ram.bytes(HEADER as usize, HEADER_BYTES), [0; 10]);
    assert_eq!(bench.ram.bytes(BUFFER as usize, 60), frame);
    assert_eq!(receive(&mut bench), Reception::NoRoom);
}

#[test]
fn a_frame_that_does_not_fit_is_none() {
    let mut bench = Bench::new();
    bench.device.write(18, 1, 7, &bench.ram);
    bench.offer(RECEIVE, 20, DESCRIPTOR_WRITE);
    assert_eq!(bench.device.receive(&[5; 60], &bench.ram), Reception::Taken);
    assert_eq!(bench.ended(RECEIVE), (1, 0));
}
