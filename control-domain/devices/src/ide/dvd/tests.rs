use super::*;
use crate::block::BlockError;
use crate::bus::{Context, GuestMemory};
use crate::ide::{Drive, Ide};
use crate::interrupts::Interrupts;
use crate::test_memory::Ram;

const BLOCKS: u64 = 100;

/// A disc whose bytes tell their block.
struct Numbered;

impl BlockBackend for Numbered {
    fn size_sectors(&self) -> u64 {
        BLOCKS * 4
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), BlockError> {
        if lba / 4 == 66 {
            return Err(BlockError {
                reason: "scratched".into(),
            });
        }
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = (lba / 4) as u8 + (i / 2048) as u8;
        }
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        panic!("a disc is never written")
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// The secondary channel, as Hyper-V has its DVD drive.
struct Bench {
    ide: Ide,
    interrupts: Interrupts,
    ram: Ram,
}

impl Bench {
    fn new() -> Self {
        let drive = Some(Drive::Dvd(Some(Box::new(Numbered))));
        let mut bench = Bench {
            ide: Ide::new([None, None, drive, None]),
            interrupts: Interrupts::default(),
            ram: Ram::new(1 << 20),
        };
        // The news of the reset.
        assert!(bench.packet(&[0], 2048).is_err());
        bench
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Ide, &mut Context<'_>) -> T) -> T {
        let mut context = Context {
            memory: &self.ram,
            interrupts: &mut self.interrupts,
        };
        act(&mut self.ide, &mut context)
    }

    fn read(&mut self, port: u16) -> u8 {
        self.with(|ide, context| ide.read(1, port, 1, context)) as u8
    }

    fn write(&mut self, port: u16, value: u8) {
        self.with(|ide, context| ide.write(1, port, 1, value.into(), context));
    }

    fn irq(&mut self) -> bool {
        self.interrupts.pic.read(0xa0) & 0x80 != 0
    }

    /// Sends a command up to its twelve bytes.
    fn send(&mut self, command: &[u8], features: u8, limit: u16) {
        let [low, high] = limit.to_le_bytes();
        for (port, value) in [
            (0x171, features),
            (0x174, low),
            (0x175, high),
            (0x177, 0xa0),
        ] {
            self.write(port, value);
        }
        assert_eq!((self.read(0x377) & 0x89, self.read(0x172)), (8, 1));
        assert!(!self.irq(), "it asks without an interrupt");
        let mut bytes = [0; 12];
        bytes[..command.len()].copy_from_slice(command);
        for word in bytes.chunks(2) {
            let word = u16::from_le_bytes([word[0], word[1]]);
            self.with(|ide, context| ide.write(1, 0x170, 2, word.into(), context));
        }
    }

    /// Runs a command by programmed I/O. Answers the pieces of its data, or the error register.
    fn packet(&mut self, command: &[u8], limit: u16) -> Result<Vec<Vec<u8>>, u8> {
        self.send(command, 0, limit);
        let mut pieces = Vec::new();
        loop {
            assert!(self.irq());
            let (reason, status) = (self.read(0x172), self.read(0x177));
            match (status & 0x89, reason & 3) {
                (0, 3) => return Ok(pieces),
                (1, 3) => return Err(self.read(0x171)),
                (8, 2) => {
                    let length = u16::from_le_bytes([self.read(0x174), self.read(0x175)]);
                    let words = (0..length / 2).flat_map(|_| {
                        let word = self.with(|ide, context| ide.read(1, 0x170, 2, context));
                        (word as u16).to_le_bytes()
                    });
                    pieces.push(words.collect());
                }
                other => panic!("status and reason {other:x?}"),
            }
        }
    }

    fn sense(&mut self) -> (u8, u8) {
        let pieces = self.packet(&[3, 0, 0, 0, 18], 2048).unwrap();
        (pieces[0][2], pieces[0][12])
    }
}

#[test]
fn a_reset_leaves_the_signature_of_packet_devices() {
    let mut bench = Bench::new();
    bench.write(0x376, 4);
    bench.write(0x376, 0);
    let signature: Vec<u8> = (0x172..=0x175).map(|port| bench.read(port)).collect();
    assert_eq!(signature, [1, 1, 0x14, 0xeb]);
    bench.write(0x177, 0xec);
    assert_eq!(bench.read(0x177) & 1, 1, "no disk");
    assert_eq!((bench.read(0x174), bench.read(0x175)), (0x14, 0xeb));
}

#[test]
fn identify_describes_the_drive() {
    let mut bench = Bench::new();
    bench.write(0x177, 0xa1);
    assert!(bench.irq());
    assert_eq!(bench.read(0x177) & 0x89, 8);
    let words: Vec<u16> = (0..256)
        .map(|_| bench.with(|ide, context| ide.read(1, 0x170, 2, context)) as u16)
        .collect();
    assert_eq!((words[0], words[49], words[82]), (0x85c0, 0x0f00, 0x0210));
    assert_eq!(words[27], u16::from_be_bytes(*b"Vi"));
}

#[test]
fn blocks_are_read_in_pieces_of_the_limit() {
    let mut bench = Bench::new();
    let pieces = bench.packet(&[0x28, 0, 0, 0, 0, 7, 0, 0, 3], 2050).unwrap();
    let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
    assert_eq!(lengths, [2050, 2050, 2044]);
    let data = pieces.concat();
    assert!(data.chunks(2048).map(|block| block[0]).eq([7, 8, 9]));
    // An odd limit is taken as the even one below, and none as the most.
    assert_eq!(bench.packet(&[0x25], 7).unwrap().len(), 2);
    assert_eq!(
        bench.packet(&[0x25], 0).unwrap()[0],
        [0, 0, 0, 99, 0, 0, 8, 0]
    );
}

#[test]
fn blocks_are_read_by_the_bus_master() {
    let mut bench = Bench::new();
    // One descriptor: 4096 bytes to 20000h, the last.
    let mut table = 0x2_0000u32.to_le_bytes().to_vec();
    table.extend((4096u32 | 1 << 31).to_le_bytes());
    bench.ram.write(0x1000, &table).unwrap();
    bench.with(|ide, context| {
        ide.write_bus_master(12, 4, 0x1000, context);
        ide.write_bus_master(8, 1, 8, context);
    });
    bench.send(&[0xa8, 0, 0, 0, 0, 40, 0, 0, 0, 2], 1, 0);
    assert!(!bench.irq());
    bench.with(|ide, context| ide.write_bus_master(8, 1, 9, context));
    assert!(bench.irq());
    assert_eq!((bench.read(0x177) & 0x89, bench.read(0x172)), (0, 3));
    assert_eq!(bench.ide.read_bus_master(10, 1) & 7, 4);
    assert_eq!(bench.ram.bytes(0x2_0000, 1), [40]);
    assert_eq!(bench.ram.bytes(0x2_0fff, 1), [41]);
}

#[test]
fn failures_are_told_by_key_and_then_by_sense() {
    let mut bench = Bench::new();
    let beyond = [0x28, 0, 0, 0, 0, 100, 0, 0, 1];
    assert_eq!(bench.packet(&beyond, 2048), Err(0x54));
    assert_eq!(bench.sense(), (5, 0x21));
    assert_eq!(bench.sense(), (0, 0), "told once");
    assert_eq!(
        bench.packet(&[0x28, 0, 0, 0, 0, 66, 0, 0, 1], 2048),
        Err(0x34)
    );
    assert_eq!(bench.sense(), (3, 0x11));
    assert_eq!(bench.packet(&[0xff], 2048), Err(0x54));
}

#[test]
fn discs_come_and_go() {
    let mut bench = Bench::new();
    // Eject: START STOP UNIT.
    assert!(bench.packet(&[0x1b, 0, 0, 0, 2], 0).is_ok());
    assert_eq!(bench.packet(&[0], 0), Err(0x24));
    assert_eq!(bench.sense(), (2, 0x3a));
    let mut drive = DvdDrive::new(None, format!("{:020}", 3));
    assert!(drive.command(&[0; 12]).is_err());
    assert!(drive.insert(Some(Box::new(Numbered))).is_none());
    let news = drive.command(&[0; 12]).unwrap_err();
    assert_eq!(news.code, (0x28, 0));
    assert!(drive.command(&[0; 12]).is_ok());
}
