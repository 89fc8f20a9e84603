use super::*;
use crate::block::{BlockBackend, BlockError};
use crate::interrupts::Interrupts;
use crate::test_memory::Ram;
use std::sync::{Arc, Mutex};

#[derive(Clone)]
struct Image(Arc<Mutex<Vec<u8>>>);

impl Image {
    /// Every sector begins with its number.
    fn numbered(sectors: u64) -> Self {
        let mut bytes = vec![0; sectors as usize * SECTOR_BYTES];
        for (number, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
            sector[..2].copy_from_slice(&(number as u16).to_le_bytes());
        }
        Image(Arc::new(Mutex::new(bytes)))
    }

    fn number_at(&self, lba: usize) -> u16 {
        let bytes = self.0.lock().unwrap();
        u16::from_le_bytes([bytes[lba * SECTOR_BYTES], bytes[lba * SECTOR_BYTES + 1]])
    }
}

impl BlockBackend for Image {
    fn size_sectors(&self) -> u64 {
        (self.0.lock().unwrap().len() / SECTOR_BYTES) as u64
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), BlockError> {
        let at = lba as usize * SECTOR_BYTES;
        data.copy_from_slice(&self.0.lock().unwrap()[at..at + data.len()]);
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let at = lba as usize * SECTOR_BYTES;
        self.0.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}

struct Bench {
    floppy: Floppy,
    dma: Dma,
    interrupts: Interrupts,
    ram: Ram,
}

const BUFFER: usize = 0x1000;

impl Bench {
    fn new(diskette: Option<Diskette>) -> Self {
        let mut bench = Bench {
            floppy: Floppy::new(diskette),
            dma: Dma::default(),
            interrupts: Interrupts::default(),
            ram: Ram::new(0x1_0000),
        };
        // IRQ 6, edge-triggered, vector 36h, so that its line shows as messages.
        bench.io_apic(0x10 + 12, 0x36);
        bench
    }

    fn of_1440() -> (Self, Image) {
        let image = Image::numbered(2880);
        let mut bench = Bench::new(Some(Diskette::new(Box::new(image.clone()), false).unwrap()));
        bench.write(DIGITAL_OUTPUT, 0x1c);
        for _ in 0..4 {
            bench.command(&[8]);
        }
        bench.write(DIGITAL_INPUT, 0);
        bench.interrupts.messages.clear();
        (bench, image)
    }

    fn io_apic(&mut self, register: u32, value: u32) {
        let Interrupts {
            ioapic, messages, ..
        } = &mut self.interrupts;
        ioapic.write(0, register, messages);
        ioapic.write(0x10, value, messages);
    }

    fn write(&mut self, port: u16, value: u8) {
        let mut context = Context {
            memory: &self.ram,
            interrupts: &mut self.interrupts,
        };
        self.floppy.write(port, value, &mut self.dma, &mut context);
    }

    fn read(&mut self, port: u16) -> u8 {
        let mut context = Context {
            memory: &self.ram,
            interrupts: &mut self.interrupts,
        };
        self.floppy.read(port, &mut context)
    }

    /// Sends a command and fetches what it answers, minding the status as drivers do.
    fn command(&mut self, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            assert_eq!(self.read(STATUS) & 0xc0, 0x80, "not ready for {bytes:x?}");
            self.write(FIFO, *byte);
        }
        let mut result = Vec::new();
        while self.read(STATUS) & 0xf0 == 0xd0 {
            result.push(self.read(FIFO));
        }
        result
    }

    fn program_dma(&mut self, mode: u8, bytes: u16) {
        self.dma.write(0x0c, 0);
        let [low, high] = (BUFFER as u16).to_le_bytes();
        let [count_low, count_high] = (bytes - 1).to_le_bytes();
        for (port, value) in [(4, low), (4, high), (5, count_low), (5, count_high)] {
            self.dma.write(port, value);
        }
        self.dma.write(0x81, 0);
        self.dma.write(0x0b, mode);
        self.dma.write(0x0a, 2);
    }

    fn buffer_number(&self, sector: usize) -> u16 {
        let bytes = self.ram.bytes(BUFFER + sector * SECTOR_BYTES, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    fn interrupts(&mut self) -> usize {
        std::mem::take(&mut self.interrupts.messages).len()
    }
}

#[test]
fn a_reset_is_told_for_all_four_drives() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.read(STATUS), 0, "in reset at power-on");
    bench.write(DIGITAL_OUTPUT, 0x0c);
    assert_eq!(bench.interrupts(), 1);
    for drive in 0..4 {
        assert_eq!(bench.command(&[8]), [0xc0 | drive, 0]);
    }
    assert_eq!(bench.command(&[8]), [0x80], "nothing left");
}

#[test]
fn a_closed_gate_holds_the_interrupt_back() {
    let mut bench = Bench::new(None);
    bench.write(DIGITAL_OUTPUT, 0x04);
    assert_eq!(bench.interrupts(), 0);
    bench.write(DIGITAL_OUTPUT, 0x0c);
    assert_eq!(bench.interrupts(), 1);
}

#[test]
fn sectors_are_read_by_dma() {
    let (mut bench, _) = Bench::of_1440();
    assert!(bench.command(&[0x0f, 0, 3]).is_empty());
    assert_eq!(bench.interrupts(), 1);
    assert_eq!(bench.command(&[8]), [0x20, 3]);
    bench.program_dma(0x46, 1024);
    let result = bench.command(&[0x46, 0, 3, 0, 17, 2, 18, 0x1b, 0xff]);
    // The count ran out with the last sector of the track: next would be cylinder 4.
    assert_eq!(result, [0, 0, 0, 4, 0, 1, 2]);
    assert_eq!(bench.interrupts(), 1);
    let first = 3 * 36 + 16;
    assert_eq!(
        [bench.buffer_number(0), bench.buffer_number(1)],
        [first, first + 1]
    );
}

#[test]
fn multi_track_goes_on_with_the_other_side() {
    let (mut bench, _) = Bench::of_1440();
    bench.program_dma(0x46, 1024);
    let result = bench.command(&[0xc6, 0, 0, 0, 18, 2, 18, 0x1b, 0xff]);
    assert_eq!(result, [4, 0, 0, 0, 1, 2, 2]);
    assert_eq!([bench.buffer_number(0), bench.buffer_number(1)], [17, 18]);
}

#[test]
fn what_the_count_leaves_over_is_the_end_of_the_cylinder() {
    let (mut bench, _) = Bench::of_1440();
    bench.program_dma(0x46, 2048);
    let result = bench.command(&[0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff]);
    assert_eq!(result[..3], [0x40, 0x80, 0]);
}

#[test]
fn sectors_are_written_and_read_without_dma_too() {
    let (mut bench, image) = Bench::of_1440();
    bench.ram.write(BUFFER as u64, &[0xcd, 0xab]).unwrap();
    bench.program_dma(0x4a, 512);
    let result = bench.command(&[0x45, 4, 0, 1, 5, 2, 18, 0x1b, 0xff]);
    assert_eq!(result, [4, 0, 0, 0, 1, 6, 2]);
    assert_eq!(image.number_at(18 + 4), 0xabcd);

    bench.command(&[3, 0xaf, 3]);
    bench.interrupts();
    assert!(
        bench
            .command(&[0x45, 0, 0, 0, 18, 2, 18, 0x1b, 0xff])
            .is_empty()
    );
    assert_eq!((bench.read(STATUS), bench.interrupts()), (0xb0, 1));
    for i in 0..SECTOR_BYTES {
        bench.write(FIFO, i as u8 | 0x80);
    }
    assert_eq!(bench.read(STATUS), 0xd0);
    let result: Vec<u8> = (0..7).map(|_| bench.read(FIFO)).collect();
    assert_eq!(result[..3], [0x40, 0x80, 0], "no count ever runs out");
    assert_eq!(image.number_at(17), 0x8180);

    assert!(
        bench
            .command(&[0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff])
            .is_empty()
    );
    assert_eq!(bench.read(STATUS), 0xf0);
    let data: Vec<u8> = (0..SECTOR_BYTES).map(|_| bench.read(FIFO)).collect();
    assert_eq!(data[..4], [0x80, 0x81, 0x82, 0x83]);
    assert_eq!(bench.read(STATUS), 0xd0);
}

#[test]
fn mistakes_are_told_in_the_status_bytes() {
    let (mut bench, image) = Bench::of_1440();
    let read = [0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff];
    let with = |at: usize, value: u8| {
        let mut command = read;
        command[at] = value;
        command
    };
    for (command, status, why) in [
        (with(0, 0x06), [0x40, 1, 0], "single density"),
        (with(2, 1), [0x40, 4, 0x10], "wrong cylinder"),
        (with(3, 1), [0x40, 4, 0], "wrong side in the address field"),
        (with(4, 19), [0x40, 4, 0], "no such sector"),
        (with(4, 0), [0x40, 4, 0], "sectors count from 1"),
        (with(5, 3), [0x40, 4, 0], "no such size"),
        (with(1, 1), [0x49, 1, 0], "no drive B"),
        (with(0, 0x4c), [0, 0, 0x40], "not deleted"),
    ] {
        bench.program_dma(0x46, 512);
        assert_eq!(bench.command(&command)[..3], status, "{why}");
    }
    // The channel is set to the other direction.
    bench.program_dma(0x4a, 512);
    assert_eq!(bench.command(&read)[..3], [0x40, 0x10, 0]);
    bench.write(DIGITAL_INPUT, 2);
    bench.program_dma(0x46, 512);
    assert_eq!(bench.command(&read)[..3], [0x40, 1, 0], "wrong data rate");

    bench.write(DIGITAL_INPUT, 0);
    bench
        .floppy
        .insert(Some(Diskette::new(Box::new(image.clone()), true).unwrap()));
    bench.program_dma(0x4a, 512);
    let result = bench.command(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    assert_eq!(result[..3], [0x40, 2, 0]);
    assert_eq!(bench.command(&[4, 0]), [0x78], "protected, at track 0");
    assert_eq!(image.number_at(0), 0);
}

#[test]
fn a_new_diskette_shows_until_the_heads_move() {
    let (mut bench, image) = Bench::of_1440();
    assert_eq!(bench.read(DIGITAL_INPUT), 0x80);
    bench.command(&[0x0f, 0, 1]);
    assert_eq!(bench.read(DIGITAL_INPUT), 0);
    bench.floppy.insert(None);
    bench.command(&[0x0f, 0, 0]);
    assert_eq!(bench.read(DIGITAL_INPUT), 0x80, "nothing in it");
    bench
        .floppy
        .insert(Some(Diskette::new(Box::new(image), false).unwrap()));
    bench.command(&[0x0f, 0, 1]);
    assert_eq!(bench.read(DIGITAL_INPUT), 0);
}

#[test]
fn tracks_are_formatted() {
    let (mut bench, image) = Bench::of_1440();
    for sector in 1..=18u8 {
        let at = (BUFFER + 4 * usize::from(sector - 1)) as u64;
        bench.ram.write(at, &[0, 1, sector, 2]).unwrap();
    }
    bench.program_dma(0x4a, 72);
    let result = bench.command(&[0x4d, 4, 2, 18, 0x54, 0xf6]);
    assert_eq!(result[..3], [4, 0, 0]);
    assert_eq!(image.number_at(17), 17);
    assert!((18..36).all(|lba| image.number_at(lba) == 0xf6f6));
    assert_eq!(image.number_at(36), 36);
}

#[test]
fn the_controller_is_an_82077aa() {
    let (mut bench, _) = Bench::of_1440();
    assert_eq!(bench.command(&[0x10]), [0x90]);
    assert_eq!(bench.command(&[0x1f]), [0x80], "no such command");
    bench.command(&[0x13, 0, 0x57, 9]);
    assert_eq!(bench.command(&[0x94]), [0x10]);
    bench.write(STATUS, 0x80);
    assert_eq!(bench.command(&[0x0e])[6..], [0, 0x80, 0x57, 9], "locked");
    assert_eq!(bench.command(&[0x14]), [0]);
    bench.command(&[7, 1]);
    assert_eq!(bench.command(&[8]), [0x71, 0], "drive B has no track 0");
    let ids: Vec<u8> = (0..19).map(|_| bench.command(&[0x4a, 0])[5]).collect();
    assert_eq!((ids[0], ids[17], ids[18]), (1, 18, 1));
}

#[test]
fn every_diskette_of_a_pc_is_known_by_its_size() {
    for kib in [160, 180, 320, 360, 640, 720, 1200, 1440, 1680, 1722, 2880] {
        let diskette = Diskette::new(Box::new(Image::numbered(kib * 2)), false);
        assert!(diskette.is_ok(), "{kib} KiB");
    }
    let error = Diskette::new(Box::new(Image::numbered(2881)), false)
        .err()
        .unwrap();
    assert!(error.reason.contains("2881"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn no_sequence_of_bytes_breaks_it(accesses in proptest::collection::vec((0u16..8, proptest::num::u8::ANY), 0..400)) {
        let (mut bench, _) = Bench::of_1440();
        bench.program_dma(0x56, 512);
        for (offset, value) in accesses {
            if offset & 1 == 0 {
                bench.read(0x3f0 + (value as u16 & 7));
            } else {
                bench.write(if value & 3 == 0 { DIGITAL_OUTPUT } else { FIFO }, value ^ offset as u8);
            }
        }
    }
}
