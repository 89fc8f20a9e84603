use super::*;
use crate::block::{BlockBackend, BlockError};
use crate::bus::GuestMemory;
use crate::interrupts::Interrupts;
use crate::test_memory::Ram;
use std::sync::{Arc, Mutex};

const SECTORS: u64 = 24_000;

/// A disk in memory that counts flushes and fails at one sector.
#[derive(Clone)]
struct Medium {
    bytes: Arc<Mutex<Vec<u8>>>,
    flushes: Arc<Mutex<u32>>,
}

const BAD_SECTOR: u64 = 666;

impl Medium {
    fn new() -> Self {
        let bytes = (0..SECTORS as usize * 512)
            .map(|i| (i / 512) as u8 ^ i as u8)
            .collect();
        Medium {
            bytes: Arc::new(Mutex::new(bytes)),
            flushes: Arc::default(),
        }
    }

    fn sectors(&self, lba: u64, count: usize) -> Vec<u8> {
        self.bytes.lock().expect("lock")[lba as usize * 512..][..count * 512].to_vec()
    }
}

impl BlockBackend for Medium {
    fn size_sectors(&self) -> u64 {
        SECTORS
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), BlockError> {
        if (lba..lba + data.len() as u64 / 512).contains(&BAD_SECTOR) {
            return Err(BlockError {
                reason: "bad sector".into(),
            });
        }
        data.copy_from_slice(&self.bytes.lock().expect("lock")[lba as usize * 512..][..data.len()]);
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        self.bytes.lock().expect("lock")[lba as usize * 512..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        *self.flushes.lock().expect("lock") += 1;
        Ok(())
    }
}

struct Bench {
    ide: Ide,
    medium: Medium,
    ram: Ram,
    interrupts: Interrupts,
}

impl Bench {
    fn new() -> Self {
        let medium = Medium::new();
        let disks = [
            Some(Drive::Disk(Box::new(medium.clone()))),
            None,
            None,
            None,
        ];
        let interrupts = Interrupts::default();
        let ram = Ram::new(1 << 20);
        Bench {
            ide: Ide::new(disks),
            medium,
            ram,
            interrupts,
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Ide, &mut Context<'_>) -> T) -> T {
        let mut context = Context {
            memory: &self.ram,
            interrupts: &mut self.interrupts,
        };
        act(&mut self.ide, &mut context)
    }

    fn read(&mut self, port: u16, size: u8) -> u32 {
        let channel = Ide::channel_of(port).expect("an IDE port");
        self.with(|ide, context| ide.read(channel, port, size, context))
    }

    fn write(&mut self, port: u16, size: u8, value: u32) {
        let channel = Ide::channel_of(port).expect("an IDE port");
        self.with(|ide, context| ide.write(channel, port, size, value, context));
    }

    fn status(&mut self) -> u8 {
        self.read(0x1f7, 1) as u8
    }

    fn irq(&mut self) -> bool {
        self.interrupts.pic.read(0xa0) & 0x40 != 0
    }

    /// A command with a 28-bit address.
    fn command(&mut self, command: u8, lba: u32, count: u8) {
        let [a, b, c, d] = lba.to_le_bytes();
        for (port, value) in [
            (0x1f2, count),
            (0x1f3, a),
            (0x1f4, b),
            (0x1f5, c),
            (0x1f6, 0xe0 | d),
            (0x1f7, command),
        ] {
            self.write(port, 1, value.into());
        }
    }

    /// A command with a 48-bit address.
    fn command_ext(&mut self, command: u8, lba: u64, count: u16) {
        let bytes = lba.to_le_bytes();
        let [low, high] = count.to_le_bytes();
        for (count, lba) in [(high, &bytes[3..6]), (low, &bytes[..3])] {
            self.write(0x1f2, 1, count.into());
            for (port, byte) in (0x1f3..).zip(lba) {
                self.write(port, 1, (*byte).into());
            }
        }
        self.write(0x1f6, 1, 0xe0);
        self.write(0x1f7, 1, command.into());
    }

    fn data(&mut self, sectors: usize) -> Vec<u8> {
        (0..sectors * 256)
            .flat_map(|_| (self.read(0x1f0, 2) as u16).to_le_bytes())
            .collect()
    }

    fn master(&mut self, offset: u16, size: u8, value: u32) {
        self.with(|ide, context| ide.write_bus_master(offset, size, value, context));
    }

    fn master_status(&mut self) -> u8 {
        self.ide.read_bus_master(2, 1) as u8
    }

    /// Writes a descriptor table and points the bus master at it.
    fn table(&mut self, pieces: &[(u32, u32)]) {
        for (i, (gpa, length)) in pieces.iter().enumerate() {
            let last = if i + 1 == pieces.len() { 1u32 << 31 } else { 0 };
            let mut descriptor = gpa.to_le_bytes().to_vec();
            descriptor.extend((length & 0xffff | last).to_le_bytes());
            self.ram
                .write(0x1000 + 8 * i as u64, &descriptor)
                .expect("in RAM");
        }
        self.master(4, 4, 0x1000);
        self.master(2, 1, 6);
    }
}

#[test]
fn identify_describes_the_disk() {
    let mut bench = Bench::new();
    bench.command(0xec, 0, 0);
    assert!(bench.irq());
    assert_eq!(bench.status(), 0x58);
    assert!(!bench.irq(), "reading the status ends the interrupt");
    let data = bench.data(1);
    assert_eq!(bench.status(), 0x50);
    let word = |i: usize| u16::from_le_bytes([data[2 * i], data[2 * i + 1]]);
    assert_eq!(u64::from(word(60)) | u64::from(word(61)) << 16, SECTORS);
    assert_eq!(u64::from(word(100)) | u64::from(word(101)) << 16, SECTORS);
    assert_eq!((word(1), word(3), word(6)), (23, 16, 63));
    assert_eq!(&data[54..64], b"iVtrau lDH", "bytes of a word are swapped");
    assert_eq!(
        word(93) & 0xdf61,
        0x4041,
        "firmware need not look for a slave"
    );
    assert_eq!(
        data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
        0
    );
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let mut bench = Bench::new();
    bench.write(0x1f6, 1, 0xb0);
    assert_eq!(bench.status(), 0);
    bench.write(0x1f7, 1, 0xec);
    assert_eq!(bench.status(), 0, "an absent slave takes no command");
    assert_eq!(bench.read(0x177, 1), 0x7f, "an empty cable floats");
    bench.write(0x172, 1, 0x55);
    assert_eq!(bench.read(0x172, 1), 0x7f);
}

#[test]
fn reads_by_programmed_io_interrupt_per_block() {
    let mut bench = Bench::new();
    bench.command(0x20, 5, 3);
    let mut data = Vec::new();
    for _ in 0..3 {
        assert!(bench.irq());
        assert_eq!(bench.status(), 0x58);
        data.extend(bench.data(1));
    }
    assert_eq!(bench.status(), 0x50);
    assert!(!bench.irq());
    assert_eq!(data, bench.medium.sectors(5, 3));

    bench.command(0xc6, 0, 4);
    assert_eq!(bench.status(), 0x50);
    bench.command_ext(0x29, 17_000, 6);
    let mut data = bench.data(4);
    assert!(bench.irq());
    bench.status();
    data.extend(bench.data(2));
    assert_eq!(data, bench.medium.sectors(17_000, 6));
    assert_eq!(bench.status(), 0x50);
}

#[test]
fn writes_by_programmed_io() {
    let mut bench = Bench::new();
    bench.command(0x30, 9, 2);
    assert!(!bench.irq(), "the first block is not announced");
    for sector in 0..2u32 {
        assert_eq!(bench.status(), 0x58);
        for i in 0..128 {
            bench.write(0x1f0, 4, sector << 24 | i);
        }
        assert!(bench.irq());
    }
    assert_eq!(bench.status(), 0x50);
    let written = bench.medium.sectors(9, 2);
    assert_eq!(written[512..520], [0, 0, 0, 1, 1, 0, 0, 1]);
}

#[test]
fn words_in_a_row_are_as_words_one_by_one() {
    let mut bench = Bench::new();
    bench.command(0x20, 5, 3);
    // Over the ends of blocks, with interrupts, and beyond the end of the transfer.
    let mut data = vec![0; 1540];
    for part in data.chunks_mut(700) {
        bench.with(|ide, context| ide.read_data_run(0, 2, part, context));
    }
    assert_eq!(data[..1536], bench.medium.sectors(5, 3));
    assert_eq!(data[1536..], [0xff; 4], "nothing is left to read");
    assert!(bench.irq());
    assert_eq!(bench.status(), 0x50);

    bench.command(0x30, 9, 2);
    let data: Vec<u8> = (0..1024).map(|i| (i / 3) as u8).collect();
    for part in data.chunks(300) {
        bench.with(|ide, context| ide.write_data_run(0, 4, part, context));
    }
    assert_eq!(bench.medium.sectors(9, 2), data);
    assert!(bench.irq());
    assert_eq!(bench.status(), 0x50);
    // What nobody asked for goes nowhere.
    bench.with(|ide, context| ide.write_data_run(0, 2, &[1; 512], context));
    assert_eq!(bench.medium.sectors(9, 2), data);

    // A word across the end of a block, as four bytes at a time may be.
    bench.command(0x20, 5, 2);
    let mut bytes = [0; 512];
    bench.with(|ide, context| ide.read_data_run(0, 2, &mut bytes[..510], context));
    bench.with(|ide, context| ide.read_data_run(0, 4, &mut bytes[..8], context));
    let mut other = Bench::new();
    other.command(0x20, 5, 2);
    for _ in 0..255 {
        other.read(0x1f0, 2);
    }
    let words = [other.read(0x1f0, 4), other.read(0x1f0, 4)];
    assert_eq!(bytes[4..8], words[1].to_le_bytes());
    assert_eq!(bytes[..2], words[0].to_le_bytes()[..2]);
}

#[test]
fn cylinder_head_sector_addresses() {
    let mut bench = Bench::new();
    for (port, value) in [
        (0x1f2, 1),
        (0x1f3, 7),
        (0x1f4, 3),
        (0x1f5, 0),
        (0x1f6, 0xa2),
        (0x1f7, 0x20),
    ] {
        bench.write(port, 1, value);
    }
    assert_eq!(
        bench.data(1),
        bench.medium.sectors((3 * 16 + 2) * 63 + 6, 1)
    );
    bench.write(0x1f3, 1, 0);
    bench.write(0x1f7, 1, 0x20);
    assert_eq!(bench.status(), 0x51, "there is no sector 0");
    assert_eq!(bench.read(0x1f1, 1), 0x10);
}

#[test]
fn bus_master_scatters_a_read() {
    let mut bench = Bench::new();
    bench.table(&[(0x8000, 1024), (0x2_0000, 512), (0x3_0000, 2560)]);
    bench.master(0, 1, 8);
    bench.command(0xc8, 100, 8);
    assert_eq!(bench.status(), 0x58);
    assert!(!bench.irq());
    bench.master(0, 1, 9);
    assert!(bench.irq());
    assert_eq!(bench.master_status(), 4, "interrupt, not active");
    assert_eq!(bench.status(), 0x50);
    let ram = &bench.ram;
    let data = [
        ram.bytes(0x8000, 1024),
        ram.bytes(0x2_0000, 512),
        ram.bytes(0x3_0000, 2560),
    ]
    .concat();
    assert_eq!(data, bench.medium.sectors(100, 8));
}

#[test]
fn bus_master_gathers_a_large_write() {
    let mut bench = Bench::new();
    let pattern: Vec<u8> = (0..300 * 512).map(|i| (i % 251) as u8).collect();
    bench.ram.write(0x4_0000, &pattern).expect("in RAM");
    bench.table(&[
        (0x4_0000, 0x1_0000),
        (0x5_0000, 0x1_0000),
        (0x6_0000, 0x5800),
    ]);
    bench.command_ext(0x35, 18_000, 300);
    bench.master(0, 1, 1);
    assert_eq!(bench.master_status(), 4);
    assert_eq!(bench.status(), 0x50);
    assert_eq!(bench.medium.sectors(18_000, 300), pattern);
}

#[test]
fn bus_master_with_a_short_a_long_and_a_bad_table() {
    let mut bench = Bench::new();
    bench.table(&[(0x8000, 512)]);
    bench.command(0xc8, 0, 2);
    bench.master(0, 1, 9);
    assert_eq!(bench.master_status(), 0, "neither active nor interrupted");
    assert_eq!(bench.status(), 0x58);
    bench.master(0, 1, 0);

    bench.table(&[(0x8000, 1024)]);
    bench.command(0xc8, 0, 1);
    bench.master(0, 1, 9);
    assert_eq!(bench.master_status(), 5, "interrupted and still active");
    bench.master(0, 1, 0);
    assert_eq!(bench.master_status(), 4);

    bench.table(&[(0xfff0_0000, 512)]);
    bench.command(0xc8, 0, 1);
    bench.master(0, 1, 9);
    assert_eq!(bench.master_status() & 3, 2);
    assert_eq!(bench.status() & 1, 1);
}

#[test]
fn errors_name_their_sector() {
    let mut bench = Bench::new();
    bench.command(0x20, BAD_SECTOR as u32, 1);
    assert_eq!(bench.status(), 0x51);
    assert_eq!(bench.read(0x1f1, 1), 0x40);
    assert_eq!(
        bench.read(0x1f3, 1) | bench.read(0x1f4, 1) << 8,
        BAD_SECTOR as u32
    );
    bench.command(0x20, SECTORS as u32 - 1, 2);
    assert_eq!(bench.status(), 0x51);
    assert_eq!(bench.read(0x1f1, 1), 0x10);
    bench.command_ext(0x25, u64::MAX >> 16, 0);
    assert_eq!(bench.status(), 0x51);
    bench.command(0xa1, 0, 0);
    assert_eq!((bench.status(), bench.read(0x1f1, 1)), (0x51, 4));
}

#[test]
fn flush_and_write_cache() {
    let mut bench = Bench::new();
    bench.command(0xe7, 0, 0);
    assert!(bench.irq());
    assert_eq!(bench.status(), 0x50);
    assert_eq!(*bench.medium.flushes.lock().expect("lock"), 1);
    bench.write(0x1f1, 1, 0x82);
    bench.command(0xef, 0, 0);
    assert_eq!(*bench.medium.flushes.lock().expect("lock"), 2);
    bench.table(&[(0x8000, 512)]);
    bench.command(0xca, 0, 1);
    bench.master(0, 1, 1);
    assert_eq!(*bench.medium.flushes.lock().expect("lock"), 3);
}

#[test]
fn transfer_mode_shows_in_identify() {
    let mut bench = Bench::new();
    bench.write(0x1f1, 1, 3);
    bench.command(0xef, 0, 0x41);
    assert_eq!(bench.status(), 0x50);
    bench.command(0xec, 0, 0);
    let data = bench.data(1);
    assert_eq!(data[177], 2, "Ultra DMA 1 selected");
    bench.command(0xef, 0, 0x46);
    assert_eq!(bench.status(), 0x51);
}

#[test]
fn software_reset_and_signature() {
    let mut bench = Bench::new();
    bench.command(0xec, 0, 0);
    bench.write(0x3f6, 1, 0x0c);
    assert_eq!(bench.read(0x3f6, 1), 0x80);
    assert!(!bench.irq());
    bench.write(0x3f6, 1, 0x08);
    assert_eq!(bench.status(), 0x50);
    let registers = [0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5].map(|port| bench.read(port, 1));
    assert_eq!(registers, [1, 1, 1, 0, 0]);
}

#[test]
fn interrupts_can_be_held_back_and_old_values_read() {
    let mut bench = Bench::new();
    bench.write(0x3f6, 1, 0x0a);
    bench.command(0xe7, 0, 0);
    assert!(!bench.irq());
    bench.write(0x3f6, 1, 0x08);
    assert!(bench.irq(), "still pending");
    bench.write(0x1f2, 1, 0x12);
    bench.write(0x1f2, 1, 0x34);
    assert_eq!(bench.read(0x1f2, 1), 0x34);
    bench.write(0x3f6, 1, 0x88);
    assert_eq!(bench.read(0x1f2, 1), 0x12);
}

#[test]
fn any_command_with_any_registers_is_survived() {
    let mut bench = Bench::new();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..20_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let port = [
            0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6, 0x177,
        ][seed as usize % 10];
        match seed >> 60 {
            0..=7 => bench.write(port, 1, (seed >> 20) as u8 as u32),
            8..=10 => bench.master((seed >> 30) as u16 & 15, 1, (seed >> 40) as u8 as u32),
            11 => bench.write(0x1f7, 1, 0xc8),
            _ => {
                bench.read(port, [1, 2, 4][(seed >> 32) as usize % 3]);
            }
        }
    }
}
