//! A driver on the card, as drivers of the time work.

use super::*;
use crate::test_memory::Ram;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

const MAC: [u8; 6] = [0x00, 0x15, 0x5d, 1, 2, 3];
const BROADCAST: [u8; 6] = [0xff; 6];
/// Where the driver has its lists and buffers.
const TRANSMIT: u32 = 0x1000;
const RECEIVE: u32 = 0x2000;
const BUFFERS: u32 = 0x4000;
const BUFFER_BYTES: u32 = 0x600;

const OWNED: u32 = 1 << 31;
const LAST: u32 = 1 << 30;
const FIRST: u32 = 1 << 29;
const INTERRUPT: u32 = 1 << 31;
const END_OF_RING: u32 = 1 << 25;
const CHAINED: u32 = 1 << 24;
const SETUP: u32 = 1 << 27;
/// A received frame passed because all do.
const FILTERED: u32 = 1 << 30;

struct Driver {
    card: Dec21140,
    ram: Ram,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Driver {
    fn new(plugged: bool) -> Self {
        let sent = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let out = sent.clone();
        let frames = move |frame: &[u8]| out.lock().unwrap().push(frame.to_vec());
        Driver {
            card: Dec21140::new(NetworkCard {
                mac: MAC,
                plugged,
                frames: Box::new(frames),
            }),
            ram: Ram::new(0x2_0000),
            sent,
        }
    }

    /// With `count` receive buffers, a ring of two transmit descriptors, all processes on.
    fn started(count: u32) -> Self {
        let mut driver = Driver::new(true);
        for i in 0..count {
            let end = if i + 1 == count { END_OF_RING } else { 0 };
            let buffer = BUFFERS + i * BUFFER_BYTES;
            driver.describe(RECEIVE + i * 16, [OWNED, end | BUFFER_BYTES, buffer, 0]);
        }
        driver.write(3, RECEIVE);
        driver.write(4, TRANSMIT);
        driver.write(7, 0x0001_a451);
        let mode = registers::START_RECEIVE | registers::START_TRANSMIT;
        driver.write(6, mode | registers::PROMISCUOUS);
        driver
    }

    fn write(&mut self, register: u16, value: u32) {
        self.card.write(register * 8, value, 0, Some(&self.ram));
    }

    fn read(&self, register: u16) -> u32 {
        self.card.read(register * 8)
    }

    fn describe(&self, gpa: u32, words: [u32; 4]) {
        let bytes = words.map(u32::to_le_bytes);
        self.ram.write(gpa.into(), bytes.as_flattened()).unwrap();
    }

    fn status(&self, gpa: u32) -> u32 {
        let bytes = self.ram.bytes(gpa as usize, 4);
        u32::from_le_bytes(bytes.try_into().unwrap())
    }

    fn fill(&self, gpa: u32, bytes: &[u8]) {
        self.ram.write(gpa.into(), bytes).unwrap();
    }

    fn send(&mut self, control: u32, bytes: &[u8]) {
        self.fill(BUFFERS + 0x8000, bytes);
        self.describe(
            TRANSMIT,
            [
                OWNED,
                control | END_OF_RING | bytes.len() as u32,
                BUFFERS + 0x8000,
                0,
            ],
        );
        self.write(1, 1);
    }

    /// A perfect filter, or one with a hash table.
    fn set_up(&mut self, control: u32, halves: &[(usize, [u8; 2])]) {
        let mut frame = [0; 192];
        for (longword, half) in halves {
            frame[longword * 4..][..2].copy_from_slice(half);
        }
        self.send(SETUP | control, &frame);
        assert_eq!(self.status(TRANSMIT), 0x7fff_ffff);
        // Not promiscuous any more.
        let mode = registers::START_RECEIVE | registers::START_TRANSMIT;
        self.write(6, mode);
    }

    fn receive(&mut self, frame: &[u8]) -> Reception {
        self.card.receive(frame, Some(&self.ram))
    }

    /// As Linux and iPXE read it: a start bit, "read", six bits of address.
    fn read_srom(&mut self, word: u32) -> u16 {
        const LINES: u32 = 0x4801;
        self.write(9, 0x4800);
        self.write(9, LINES);
        for bit in (0..11).rev() {
            let data = (0b110 << 6 | word) >> bit & 1;
            self.write(9, LINES | data << 2);
            self.write(9, LINES | data << 2 | 2);
        }
        assert_eq!(self.read(9) & 8, 0, "a zero goes before the word");
        self.write(9, LINES);
        let mut value = 0;
        for _ in 0..16 {
            self.write(9, LINES | 2);
            value = value << 1 | (self.read(9) >> 3 & 1) as u16;
            self.write(9, LINES);
        }
        self.write(9, 0x4800);
        value
    }

    fn clock_mii(&mut self, bits: u32, count: u32) {
        for bit in (0..count).rev() {
            let data = (bits >> bit & 1) << 17;
            self.write(9, data);
            self.write(9, data | 1 << 16);
        }
    }

    fn read_mii(&mut self, phy: u32, register: u32) -> u16 {
        self.clock_mii(u32::MAX, 32);
        self.clock_mii(0b0110 << 10 | phy << 5 | register, 14);
        let mut value = 0u32;
        for _ in 0..19 {
            self.write(9, 1 << 18);
            value = value << 1 | self.read(9) >> 19 & 1;
            self.write(9, 1 << 18 | 1 << 16);
        }
        (value >> 1) as u16
    }

    fn write_mii(&mut self, register: u32, value: u32) {
        self.clock_mii(u32::MAX, 32);
        self.clock_mii(0x5002 << 16 | 1 << 23 | register << 18 | value, 32);
    }
}

fn frame(to: [u8; 6], length: usize) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9, 0x08, 0x00]].concat();
    frame.extend((frame.len()..length).map(|i| i as u8));
    frame
}

#[test]
fn serial_rom_has_the_address_and_a_medium() {
    let mut driver = Driver::new(true);
    let words: Vec<u8> = (0..64)
        .flat_map(|word| driver.read_srom(word).to_le_bytes())
        .collect();
    assert_eq!(words[20..26], MAC);
    assert_eq!((words[18], words[19]), (3, 1));
    let leaf = &words[words[27].into()..];
    assert_eq!(leaf[..4], [0, 8, 0, 1], "autosense, one block");
    assert_eq!((leaf[4], leaf[5], leaf[6]), (0x8c, 1, 1), "MII, number 1");
    let checksum = crc32fast::hash(&words[..126]) as u16;
    assert_eq!(words[126..], checksum.to_le_bytes());
}

#[test]
fn the_transceiver_tells_whether_the_cable_is_plugged_in() {
    let mut driver = Driver::new(true);
    assert_eq!(driver.read_mii(1, 1), 0x786d);
    assert_eq!(driver.read_mii(1, 5), 0x41e1);
    assert_eq!(driver.read_mii(0, 1), 0xffff, "nobody is there");
    driver.write_mii(4, 0x0061);
    assert_eq!(driver.read_mii(1, 4), 0x0061);
    driver.write_mii(0, 0x8000);
    assert_eq!(driver.read_mii(1, 4), 0x01e1, "a reset");
    assert_eq!(Driver::new(false).read_mii(1, 1), 0x7849);
}

#[test]
fn a_frame_leaves_padded_and_interrupts() {
    let mut driver = Driver::started(1);
    let short = frame(BROADCAST, 42);
    driver.send(FIRST | LAST | INTERRUPT, &short);
    let sent = driver.sent.lock().unwrap().pop().unwrap();
    assert_eq!((sent.len(), &sent[..42]), (60, &short[..]));
    assert_eq!(driver.status(TRANSMIT), 0);
    assert!(driver.card.interrupt());
    assert_eq!(driver.read(5) & 0x0001_0001, 0x0001_0001);
    driver.write(5, 0x0001_ffff);
    assert!(!driver.card.interrupt());
}

#[test]
fn a_frame_in_pieces_along_a_chain_is_one() {
    let mut driver = Driver::started(1);
    let whole = frame(BROADCAST, 100);
    driver.fill(BUFFERS, &whole);
    let far = TRANSMIT + 0x100;
    driver.describe(TRANSMIT, [OWNED, FIRST | CHAINED | 30, BUFFERS, far]);
    // Two buffers in the second one.
    let sizes = LAST | 50 << 11 | 20;
    driver.describe(far, [OWNED, sizes, BUFFERS + 30, BUFFERS + 50]);
    driver.write(1, 1);
    assert_eq!(*driver.sent.lock().unwrap(), [whole]);
    assert_eq!((driver.status(TRANSMIT), driver.status(far)), (0, 0));
    assert_eq!(driver.card.state.transmit_list.next, far + 16);
}

#[test]
fn what_is_too_long_is_cut_off_by_the_jabber_timer() {
    let mut driver = Driver::started(1);
    for i in 0..3 {
        let marks = [FIRST, 0, LAST][i as usize];
        driver.describe(TRANSMIT + i * 16, [OWNED, marks | 2000, BUFFERS, 0]);
    }
    driver.write(1, 1);
    assert!(driver.sent.lock().unwrap().is_empty());
    assert_eq!(driver.status(TRANSMIT + 32), 0xc000);
}

#[test]
fn frames_arrive_with_length_and_checksum_and_wait_for_buffers() {
    let mut driver = Driver::started(2);
    let long = frame(MAC, 1514);
    assert_eq!(driver.receive(&long), Reception::Taken);
    assert_eq!(driver.status(RECEIVE), FILTERED | 1518 << 16 | 0x320);
    let stored = driver.ram.bytes(BUFFERS as usize, 1518);
    assert_eq!(stored[..1514], long);
    assert_eq!(stored[1514..], crc32fast::hash(&long).to_le_bytes());
    assert!(driver.card.interrupt());
    let group = frame(BROADCAST, 60);
    assert_eq!(driver.receive(&group), Reception::Taken);
    assert_eq!(driver.status(RECEIVE + 16), 64 << 16 | 0x720);
    driver.write(5, 0x0001_ffff);
    assert_eq!(driver.receive(&group), Reception::NoRoom);
    assert_eq!(driver.read(5) & 0x000e_0080, 0x0008_0080, "suspended");
    driver.write(5, 0x80);
    assert_eq!(driver.receive(&group), Reception::NoRoom);
    assert_eq!(driver.read(5) & 0x80, 0, "it is said once");
    let status = OWNED.to_le_bytes();
    driver.fill(RECEIVE, &status);
    assert_eq!(driver.receive(&group), Reception::Taken);
}

#[test]
fn a_frame_may_lie_in_several_buffers() {
    let mut driver = Driver::started(1);
    let second = RECEIVE + 16;
    let sizes = 40 << 11 | 30;
    driver.describe(RECEIVE, [OWNED, sizes, BUFFERS, BUFFERS + 0x100]);
    driver.describe(second, [OWNED, END_OF_RING | 200, BUFFERS + 0x200, 0]);
    let whole = frame(MAC, 96);
    assert_eq!(driver.receive(&whole), Reception::Taken);
    assert_eq!(driver.status(RECEIVE), 0x200);
    assert_eq!(driver.status(second), FILTERED | 100 << 16 | 0x120);
    let stored = [(0, 30), (0x100, 40), (0x200, 26)]
        .map(|(at, count)| driver.ram.bytes(BUFFERS as usize + at, count))
        .concat();
    assert_eq!(stored, whole);
    // A ring that is too small for a frame will never have room.
    driver.describe(RECEIVE, [OWNED, END_OF_RING | 30, BUFFERS, 0]);
    assert_eq!(driver.receive(&whole), Reception::Unwanted);
}

#[test]
fn the_filter_is_what_the_setup_frame_says() {
    let (other, group) = ([0, 0x15, 0x5d, 9, 9, 9], [0x33, 0x33, 0, 0, 0, 1]);
    let address = |at: usize| [(at, [0x00, 0x15]), (at + 1, [0x5d, 1]), (at + 2, [2, 3])];
    let mut driver = Driver::started(8);
    assert_eq!(
        driver.receive(&frame(other, 60)),
        Reception::Taken,
        "promiscuous"
    );
    driver.set_up(0, &address(0));
    for (to, wanted) in [
        (MAC, Reception::Taken),
        (other, Reception::Unwanted),
        (group, Reception::Unwanted),
    ] {
        assert_eq!(driver.receive(&frame(to, 60)), wanted, "perfect {to:x?}");
    }
    driver.set_up(1 << 28, &address(0));
    assert_eq!(
        driver.receive(&frame(MAC, 60)),
        Reception::Unwanted,
        "inverse"
    );
    // As Linux computes the place of a group.
    let hash = !crc32fast::hash(&group) & 0x1ff;
    let mut halves = address(39).to_vec();
    halves.push((hash as usize / 16, (1u16 << (hash % 16)).to_le_bytes()));
    driver.set_up(1 << 22, &halves);
    assert_eq!(driver.read(6) & 0x15, 1);
    for (to, wanted) in [
        (MAC, Reception::Taken),
        (group, Reception::Taken),
        (BROADCAST, Reception::Taken),
        (other, Reception::Unwanted),
        ([0x33, 0x33, 0, 0, 0, 2], Reception::Unwanted),
    ] {
        assert_eq!(driver.receive(&frame(to, 60)), wanted, "hashed {to:x?}");
    }
    let mode = driver.read(6);
    driver.write(6, mode | registers::PASS_ALL_MULTICAST);
    let passed = driver.receive(&frame([0x33, 0x33, 0, 0, 0, 2], 60));
    assert_eq!(passed, Reception::Taken);
}

#[test]
fn processes_stop_and_a_reset_forgets() {
    let mut driver = Driver::started(1);
    assert_eq!(driver.read(5) >> 17 & 0x3f, 0o63);
    driver.write(6, 0);
    assert_eq!(driver.read(5) >> 17 & 0x3f, 0);
    assert_eq!(driver.read(5) & 0x102, 0x102);
    assert_eq!(driver.receive(&frame(MAC, 60)), Reception::Unwanted);
    driver.write(0, 1);
    assert_eq!(
        [0, 5, 6, 7, 8].map(|register| driver.read(register)),
        [
            0xfe00_0000,
            0xfc00_0000,
            0x3200_0040,
            0xf3fe_0000,
            0xe000_0000
        ]
    );
}

#[test]
fn memory_that_is_not_there_is_a_bus_error() {
    let mut driver = Driver::started(1);
    driver.write(4, 0xffff_fff0);
    driver.write(1, 1);
    assert_eq!(driver.read(5) & 0x0380_2000, 0x0080_2000);
    assert!(driver.card.interrupt());
    assert_eq!(driver.receive(&frame(MAC, 60)), Reception::Unwanted);
}

#[test]
fn without_the_bus_nothing_moves() {
    let mut driver = Driver::started(1);
    assert_eq!(
        driver.card.receive(&frame(MAC, 60), None),
        Reception::Unwanted
    );
    driver.describe(TRANSMIT, [OWNED, FIRST | LAST | 60, BUFFERS, 0]);
    driver.card.write(8, 1, 0, None);
    assert!(driver.sent.lock().unwrap().is_empty());
}

#[test]
fn what_is_sent_in_loopback_comes_back() {
    let mut driver = Driver::started(1);
    let mode = driver.read(6);
    driver.write(6, mode | 1 << 10);
    let own = frame(MAC, 80);
    driver.send(FIRST | LAST, &own);
    assert!(driver.sent.lock().unwrap().is_empty());
    assert_eq!(driver.ram.bytes(BUFFERS as usize, 80), own);
}

#[test]
fn the_timer_interrupts_once_or_again_and_again() {
    let mut driver = Driver::started(1);
    driver.write(7, 0x8800);
    driver.write(11, 2);
    assert_eq!(driver.card.next_deadline_ns(), Some(163_840));
    driver.card.advance(163_840);
    assert!(driver.card.interrupt());
    assert_eq!(driver.card.next_deadline_ns(), None);
    driver.write(11, 0x1_0001);
    driver.card.advance(100_000);
    assert_eq!(driver.card.next_deadline_ns(), Some(181_920));
}

proptest! {
    /// Any lists and registers: the work ends, and no frame is longer than a frame can be.
    #[test]
    fn whatever_a_guest_writes(
        words in proptest::collection::vec(
            prop_oneof![any::<u32>(), (0u32..64).prop_map(|at| at * 16), Just(OWNED | 0x7ff)],
            256,
        ),
        writes in proptest::collection::vec((0u16..16, any::<u32>(), 0u32..0x400), 1..40),
        arrives in 14usize..1600,
    ) {
        let mut driver = Driver::new(true);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        driver.ram.write(0, &bytes).unwrap();
        for (register, value, low) in writes {
            let value = match register {
                3 | 4 => low,
                6 => value | 0x2002,
                _ => value,
            };
            driver.write(register, value);
            driver.card.receive(&frame(BROADCAST, arrives), Some(&driver.ram));
            driver.card.advance(u64::from(value));
            driver.read(register);
        }
        for sent in driver.sent.lock().unwrap().iter() {
            prop_assert!((14..=2048).contains(&sent.len()));
        }
    }
}
