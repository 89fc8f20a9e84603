use super::*;
use crate::block::BlockError;
use crate::pci::config_space::COMMAND;
use crate::test_memory::Ram;
use crate::virtio::{DESCRIPTOR_NEXT, DESCRIPTOR_WRITE, PORTS_BASE, QUEUE_SIZE};
use std::sync::{Arc, Mutex};

const QUEUE: u64 = 0x1000;
const AVAILABLE: u64 = QUEUE + 64 * 16;
const USED: u64 = 0x2000;
const HEADER: u64 = 0x4000;
const DATA: u64 = 0x5000;
const STATUS: u64 = 0x4800;

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl BlockBackend for Disk {
    fn size_sectors(&self) -> u64 {
        self.0.lock().expect("a disk").len() as u64 / 512
    }
    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), BlockError> {
        let start = lba as usize * 512;
        data.copy_from_slice(&self.0.lock().expect("a disk")[start..start + data.len()]);
        Ok(())
    }
    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let start = lba as usize * 512;
        self.0.lock().expect("a disk")[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        let reason = "worn out".into();
        Err(BlockError { reason })
    }
}

struct Bench {
    device: VirtioBlock,
    disk: Disk,
    ram: Ram,
    requests: u16,
}

impl Bench {
    fn new() -> Self {
        let disk = Disk(Arc::new(Mutex::new(
            (0..8 * 512).map(|i| (i / 512) as u8).collect(),
        )));
        let mut device = VirtioBlock::new(FirmwareDisk {
            disk: Box::new(disk.clone()),
            sector_bytes: 512,
            read_only: false,
        });
        let ram = Ram::new(1 << 20);
        device.write(8, 4, (QUEUE / 4096) as u32, &ram);
        Bench {
            device,
            disk,
            ram,
            requests: 0,
        }
    }

    /// A request of header, data and status; answers the bytes written and the status.
    fn request(&mut self, kind: u32, sector: u64, length: u32, data_flags: u16) -> (u32, u8) {
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        self.ram.write(HEADER, &header).expect("in RAM");
        self.ram.write(STATUS, &[0x77]).expect("in RAM");
        let descriptors = [
            (HEADER, 16, DESCRIPTOR_NEXT, 1),
            (DATA, length, DESCRIPTOR_NEXT | data_flags, 2),
            (STATUS, 1, DESCRIPTOR_WRITE, 0),
        ];
        for (i, (address, length, flags, next)) in (0..).zip(descriptors) {
            let mut bytes = u64::to_le_bytes(address).to_vec();
            bytes.extend(u32::to_le_bytes(length));
            bytes.extend(u16::to_le_bytes(flags));
            bytes.extend(u16::to_le_bytes(next));
            self.ram.write(QUEUE + i * 16, &bytes).expect("in RAM");
        }
        let slot = u64::from(self.requests % QUEUE_SIZE);
        self.ram
            .write(AVAILABLE + 4 + 2 * slot, &[0, 0])
            .expect("in RAM");
        self.requests += 1;
        let index = self.requests.to_le_bytes();
        self.ram.write(AVAILABLE + 2, &index).expect("in RAM");
        self.device.write(16, 2, 0, &self.ram);
        assert_eq!(self.ram.bytes(USED as usize + 2, 2), index, "ended");
        let entry = self.ram.bytes(USED as usize + 4 + 8 * slot as usize, 8);
        let written = u32::from_le_bytes(entry[4..].try_into().expect("four"));
        (written, self.ram.bytes(STATUS as usize, 1)[0])
    }
}

#[test]
fn sectors_go_both_ways() {
    let mut bench = Bench::new();
    for _ in 0..70 {
        let outcome = bench.request(TYPE_READ, 3, 1024, DESCRIPTOR_WRITE);
        assert_eq!(outcome, (1025, STATUS_OK));
    }
    let read = bench.ram.bytes(DATA as usize, 1024);
    assert_eq!((read[0], read[511], read[512], read[1023]), (3, 3, 4, 4));
    bench.ram.write(DATA, &[9; 512]).expect("in RAM");
    assert_eq!(bench.request(TYPE_WRITE, 7, 512, 0), (1, STATUS_OK));
    assert_eq!(bench.disk.0.lock().expect("a disk")[7 * 512..], [9; 512]);
}

#[test]
fn what_can_not_be_is_refused() {
    let mut bench = Bench::new();
    for (kind, sector, length, flags, status) in [
        (TYPE_READ, 7, 1024, DESCRIPTOR_WRITE, STATUS_FAILED),
        (TYPE_READ, u64::MAX, 512, DESCRIPTOR_WRITE, STATUS_FAILED),
        (TYPE_READ, 0, 100, DESCRIPTOR_WRITE, STATUS_FAILED),
        (TYPE_READ, 0, 512, 0, STATUS_FAILED),
        (TYPE_WRITE, 0, 512, DESCRIPTOR_WRITE, STATUS_FAILED),
        (TYPE_FLUSH, 0, 0, 0, STATUS_FAILED),
        (77, 0, 0, 0, STATUS_UNSUPPORTED),
    ] {
        let (_, seen) = bench.request(kind, sector, length, flags);
        assert_eq!(seen, status, "{kind} {sector:#x} {length}");
    }
}

#[test]
fn a_disc_is_read_alone() {
    let mut bench = Bench::new();
    bench.device.disk.read_only = true;
    assert_ne!(bench.device.read(0, 4) & FEATURE_READ_ONLY, 0);
    assert_eq!(bench.request(TYPE_WRITE, 0, 512, 0), (1, STATUS_FAILED));
    let outcome = bench.request(TYPE_READ, 0, 512, DESCRIPTOR_WRITE);
    assert_eq!(outcome, (513, STATUS_OK));
}

#[test]
fn chains_in_circles_and_queues_outside_memory_end() {
    let mut bench = Bench::new();
    bench.request(TYPE_READ, 0, 512, DESCRIPTOR_WRITE);
    // Each descriptor leads to itself.
    let circle = [0u8, 0x40, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0];
    bench.ram.write(QUEUE, &circle).expect("in RAM");
    bench.ram.write(AVAILABLE + 2, &[2, 0]).expect("in RAM");
    bench.device.write(16, 2, 0, &bench.ram);
    assert_eq!(bench.ram.bytes(USED as usize + 2, 2), [2, 0]);
    bench.device.write(8, 4, u32::MAX, &bench.ram);
    bench.device.write(16, 2, 0, &bench.ram);
    bench.device.write(18, 1, 0, &bench.ram);
    assert_eq!(bench.device.read(8, 4), 0);
}

#[test]
fn the_driver_finds_its_registers() {
    let mut bench = Bench::new();
    assert_eq!(bench.device.registers.offset_of(0xc000), None);
    bench.device.registers.space().write(PORTS_BASE, 4, 0xc040);
    bench.device.registers.space().write(COMMAND, 2, 1);
    assert_eq!(bench.device.registers.offset_of(0xc054), Some(20));
    assert_eq!(bench.device.registers.offset_of(0xc080), None);
    assert_eq!(bench.device.read(20, 4), 8);
    assert_eq!(
        (bench.device.read(12, 2), bench.device.read(40, 4)),
        (64, 512)
    );
    bench.device.write(14, 2, 1, &bench.ram);
    assert_eq!(bench.device.read(12, 2), 0, "there is no second queue");
}
