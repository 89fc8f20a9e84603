//! Frames on their way from a network to a card of the chipset.

use super::*;
use crate::legacy_adapter::Wire;
use ::vmbus::Doorbell;
use devices::{Chipset, Config, LOW_MEMORY_LIMIT, NetworkCard};

const PORTS: u32 = 0xc000;
const DESCRIPTOR: u64 = 0x1000;
const BUFFER: u64 = 0x2000;
const OWNED: u32 = 1 << 31;
const BIOS_BYTES: u64 = 0x1_0000;
const VIDEO_BYTES: usize = 2 << 20;

/// Frames that arrived.
struct Queue(Arc<Mutex<VecDeque<Vec<u8>>>>, Doorbell);

impl Wire for Queue {
    fn next(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().pop_front()
    }

    fn doorbell(&self) -> &Doorbell {
        &self.1
    }
}

fn chipset(memory: &BusMemory) -> Chipset {
    let mut chipset = Chipset::new(Config {
        processor_count: 1,
        memory_bytes: 16 << 20,
        bios_bytes: BIOS_BYTES,
        utc_seconds: 0,
        guid: [1; 16],
        generation_id: [2; 16],
        vga_bios: Vec::new(),
        video_memory: Box::new(vec![0; VIDEO_BYTES]),
        serial: [None, None],
        bios_log: None,
        drives: [None, None, None, None],
        diskette: None,
        network_cards: vec![NetworkCard {
            mac: [2, 0, 0, 0, 0, 1],
            plugged: true,
            frames: Box::new(|_: &[u8]| {}),
        }],
        network_boot: None,
        boot_order: Vec::new(),
        identity_flip: false,
        hibernation: false,
    });
    let mut write = |port: u32, value| chipset.port_write(port as u16, 4, value, 0, memory);
    // Device 10: where its ports are; ports and bus mastering on.
    for (register, value) in [(0x10, PORTS), (0x04, 5)] {
        write(0xcf8, 0x8000_5000 | register);
        write(0xcfc, value);
    }
    // The list of receive descriptors; all frames, from now on.
    write(PORTS + 3 * 8, DESCRIPTOR as u32);
    write(PORTS + 6 * 8, 0x42);
    chipset
}

#[test]
fn a_frame_waits_until_the_guest_has_a_buffer() {
    let plan = PoolPlan::new(16 << 20, LOW_MEMORY_LIMIT, BIOS_BYTES, VIDEO_BYTES as u64);
    let mapping = Mapping::anonymous(plan.total).unwrap();
    let ram = GuestMemory::new(mapping, plan.ram().unwrap()).unwrap();
    let memory = BusMemory(Arc::new(ram));
    let board = Box::new(chipset(&memory));
    let mut bench = bench_of(memory.clone(), plan, 1, Some(board));
    let (frames, doorbell) = (Arc::new(Mutex::new(VecDeque::new())), Doorbell::default());
    let queue = Queue(frames.clone(), doorbell.clone());
    bench.machine.legacy_adapters.push(Box::new(queue));
    let words = [0, 1 << 25 | 0x600, BUFFER as u32, 0].map(u32::to_le_bytes);
    memory.0.write(DESCRIPTOR, words.as_flattened()).unwrap();
    let status = || {
        let mut bytes = [0; 4];
        memory.0.read(DESCRIPTOR, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| bench.machine.run());
        frames.lock().unwrap().push_back(vec![7; 60]);
        doorbell.ring();
        let no_buffer = || {
            let read = |board: &mut dyn Board, now_ns, memory: &BusMemory| {
                board.port_read((PORTS + 5 * 8) as u16, 4, now_ns, memory)
            };
            bench.machine.with_board(read) & 0x80 != 0
        };
        wait_until(no_buffer);
        assert_eq!(status(), 0);
        memory.0.write(DESCRIPTOR, &OWNED.to_le_bytes()).unwrap();
        wait_until(|| status() & OWNED == 0);
        bench.machine.stop(Outcome::PoweredOff(0));
    });
    let mut bytes = [0; 60];
    memory.0.read(BUFFER, &mut bytes).unwrap();
    assert_eq!((bytes, status() >> 16 & 0x3fff), ([7; 60], 64));
}

fn wait_until(true_at_last: impl Fn() -> bool) {
    let start = Instant::now();
    while !true_at_last() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}
