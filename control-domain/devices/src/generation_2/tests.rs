use super::*;
use crate::block::{BlockBackend, BlockError};
use crate::layout::Target;
use crate::test_memory::Ram;

const ROM_BYTES: u64 = 64 << 10;
const ROM: u64 = (1 << 32) - ROM_BYTES;

struct Variables(Vec<u8>);

impl FlashMemory for Variables {
    fn size(&self) -> u32 {
        self.0.len() as u32
    }
    fn read(&self, offset: u32, data: &mut [u8]) {
        let start = offset as usize;
        data.copy_from_slice(&self.0[start..start + data.len()]);
    }
    fn write(&mut self, offset: u32, data: &[u8]) {
        let start = offset as usize;
        self.0[start..start + data.len()].copy_from_slice(data);
    }
    fn flush(&mut self) -> bool {
        true
    }
}

struct NoSectors;

impl BlockBackend for NoSectors {
    fn size_sectors(&self) -> u64 {
        0
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BlockError> {
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}

struct Bench {
    chipset: Chipset,
    ram: Ram,
}

impl Bench {
    fn new(disks: usize) -> Self {
        let disk = || FirmwareDisk {
            disk: Box::new(NoSectors),
            sector_bytes: 512,
            read_only: false,
        };
        let chipset = Chipset::new(Config {
            processor_count: 2,
            memory_bytes: 5 << 30,
            rom_bytes: ROM_BYTES,
            variables: Box::new(Variables(vec![0xff; 16 << 10])),
            utc_seconds: 951_827_696,
            guid: [7; 16],
            generation_id: [8; 16],
            video_memory: Box::new(vec![0; 16 << 20]),
            serial: [None, None],
            firmware_log: None,
            disks: (0..disks).map(|_| disk()).collect(),
            network: Some(NetworkCard {
                mac: [2, 0, 0, 0, 0, 7],
                plugged: true,
                frames: Box::new(|_: &[u8]| {}),
            }),
            boot_order: Vec::new(),
            tpm: None,
            hibernation: false,
        });
        let ram = Ram::new(1 << 20);
        Bench { chipset, ram }
    }

    fn read(&mut self, port: u16, size: u8) -> u32 {
        self.chipset.port_read(port, size, 0)
    }

    fn write(&mut self, port: u16, size: u8, value: u32) {
        self.chipset.port_write(port, size, value, 0, &self.ram);
    }

    fn configure(&mut self, device: u32, function: u32, register: u32, value: u32) {
        let address = 0x8000_0000 | device << 11 | function << 8 | register;
        self.write(0xcf8, 4, address);
        self.write(0xcfc, 4, value);
    }

    fn identity(&mut self, device: u32, function: u32) -> u32 {
        self.write(0xcf8, 4, 0x8000_0000 | device << 11 | function << 8);
        self.read(0xcfc, 4)
    }
}

#[test]
fn the_firmware_finds_its_bus_and_the_operating_system_none() {
    let mut bench = Bench::new(2);
    let mut found = Vec::new();
    for device in 0..32 {
        for function in 0..8 {
            match bench.identity(device, function) {
                u32::MAX => {}
                identity => found.push((device, function, identity)),
            }
        }
    }
    assert_eq!(
        found,
        [
            (0, 0, 0x1237_8086),
            (1, 0, 0x7110_8086),
            (1, 3, 0x7113_8086),
            (2, 0, 0x1111_1234),
            (3, 0, 0x1001_1af4),
            (4, 0, 0x1001_1af4),
            (5, 0, 0x1000_1af4),
        ]
    );
    bench.write(0x510, 2, 0);
    assert_eq!(bench.read(0x511, 4), u32::from_le_bytes(*b"QEMU"));
    // The firmware's own way to the power management block, and a boot loader's look at the timer.
    bench.configure(1, 3, 0x40, 0xb001);
    bench.configure(1, 3, 0x80, 1);
    assert_eq!(bench.read(0xb004, 2), 1, "ACPI is on");
    bench.read(0x408, 4);
    assert_eq!(bench.identity(0, 0), 0x1237_8086);
    // The operating system's.
    bench.write(0x402, 2, 0x100);
    assert_eq!(bench.identity(0, 0), u32::MAX);
    assert_eq!(bench.read(0xcf8, 4), u32::MAX, "no mechanism 1");
    assert_eq!(bench.read(0xb004, 2), 0xffff);
    assert_eq!(bench.read(0x511, 4), u32::MAX);
}

#[test]
fn memory_of_the_screen_stays_where_the_firmware_put_it() {
    let mut bench = Bench::new(0);
    bench.configure(2, 0, 0x10, 0xc000_0000);
    bench.configure(2, 0, 0x04, 3);
    assert!(bench.chipset.take_outputs().layout_changed);
    let screen = Region {
        start: 0xc000_0000,
        length: 16 << 20,
        target: Target::VideoMemory { offset: 0 },
    };
    assert!(bench.chipset.memory_layout().contains(&screen));
    bench.write(0x400, 2, 0);
    assert!(!bench.chipset.take_outputs().layout_changed);
    let layout = bench.chipset.memory_layout();
    assert!(layout.contains(&screen));
    for pair in layout.windows(2) {
        assert!(pair[0].start + pair[0].length <= pair[1].start, "{pair:?}");
    }
    let last = layout.last().expect("regions");
    assert_eq!((last.start, last.length), (1 << 32, 2 << 30));
}

#[test]
fn the_drivers_mode_is_shown_where_the_driver_wants_it() {
    let mut bench = Bench::new(0);
    bench.write(0x400, 2, 0);
    let low = bench.chipset.memory_size.low;
    for wrong in [0, low - 4096, low + 1, 0xfec0_0000, 1 << 32, u64::MAX] {
        assert!(!bench.chipset.place_screen(wrong), "{wrong:#x}");
    }
    assert!(!bench.chipset.take_outputs().layout_changed);
    assert!(bench.chipset.place_screen(0xd000_0000));
    assert!(bench.chipset.take_outputs().layout_changed);
    let screen = |region: &Region| matches!(region.target, Target::VideoMemory { offset: 0 });
    let layout = bench.chipset.memory_layout();
    let place = layout
        .iter()
        .find(|region| screen(region))
        .expect("a screen");
    assert_eq!((place.start, place.length), (0xd000_0000, 16 << 20));
    assert!(bench.chipset.place_screen(0xd000_0000));
    assert!(!bench.chipset.take_outputs().layout_changed, "it is there");
    let mode = LinearMode {
        offset: 4,
        width: 2,
        height: 3,
        pitch: 12,
        depth: 32,
    };
    bench.chipset.set_screen_mode(Some(mode));
    let picture = bench.chipset.picture().expect("a picture");
    assert_eq!(
        (picture.width, picture.height, picture.rgb.len()),
        (2, 3, 18)
    );
    bench.chipset.set_screen_mode(None);
    assert_eq!(bench.chipset.picture(), None);
}

#[test]
fn the_firmwares_timer_goes_with_the_firmware() {
    let mut bench = Bench::new(0);
    // As the drivers of OVMF for 8259 and 8254: vectors from 68h and 70h, no request masked; ten milliseconds.
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x68),
        (0x21, 4),
        (0x21, 1),
        (0xa0, 0x11),
        (0xa1, 0x70),
        (0xa1, 2),
        (0xa1, 1),
        (0x21, 0xfa),
        (0x43, 0x36),
        (0x40, 0x9b),
        (0x40, 0x2e),
    ] {
        bench.write(port, 1, value);
    }
    let due = bench.chipset.next_deadline_ns().expect("a tick");
    assert!((4_000_000..11_000_000).contains(&due), "{due}");
    bench.chipset.advance(due);
    assert!(bench.chipset.interrupt_pending());
    assert_eq!(bench.chipset.acknowledge_interrupt(), 0x68);
    bench.write(0x20, 1, 0x20);
    let due = bench.chipset.next_deadline_ns().expect("another one");
    bench.chipset.advance(due);
    assert!(bench.chipset.interrupt_pending());
    bench.write(0x400, 2, 0);
    assert!(!bench.chipset.interrupt_pending());
    assert_eq!(bench.read(0x21, 1), 0xff);
    let later = bench.chipset.next_deadline_ns();
    assert!(later.is_none_or(|ns| ns > due + 50_000_000), "{later:?}");
}

#[test]
fn the_firmwares_keyboard_goes_with_the_firmware() {
    let mut bench = Bench::new(0);
    bench.chipset.key(0x1e, false, true);
    assert_eq!(bench.read(0x64, 1) & 1, 1);
    assert_eq!(bench.read(0x60, 1), 0x1e);
    bench.chipset.key(0x1e, false, false);
    bench.write(0x400, 2, 0);
    assert_eq!(bench.read(0x64, 1), 0xff);
    bench.chipset.key(0x1e, false, true);
    assert_eq!(bench.read(0x60, 1), 0xff);
}

#[test]
fn variables_are_mapped_while_their_array_is_readable() {
    let mut bench = Bench::new(0);
    let rom = |bench: &Bench| {
        let layout = bench.chipset.memory_layout();
        let rom = layout.iter().find_map(|region| match region.target {
            Target::Rom { offset } => Some((region.start - ROM, offset)),
            _ => None,
        });
        rom.expect("a ROM")
    };
    assert_eq!(rom(&bench), (0, 0));
    bench.chipset.mmio_write(ROM + 5, &[0x40], 0);
    assert_eq!(rom(&bench), (16 << 10, 16 << 10));
    assert!(bench.chipset.take_outputs().layout_changed);
    bench.chipset.mmio_write(ROM + 5, &[0x21], 0);
    assert!(!bench.chipset.has_outputs());
    let mut bytes = [0; 2];
    bench.chipset.mmio_read(ROM + 5, &mut bytes, 0);
    assert_eq!(bytes, [0x80; 2], "the status");
    bench.chipset.mmio_write(ROM + 5, &[0xff], 0);
    assert_eq!(rom(&bench), (0, 0));
    bench.chipset.mmio_read(ROM + 5, &mut bytes, 0);
    assert_eq!(bytes, [0x21, 0xff]);
    // The code behind them is no flash.
    bench.chipset.mmio_write(ROM + (16 << 10), &[0x40], 0);
    assert_eq!(rom(&bench), (0, 0));
}

#[test]
fn the_machine_is_reset_and_turned_off() {
    for (port, value) in [(RESET_PORT, 1), (0xcf9, 6)] {
        let mut bench = Bench::new(0);
        bench.write(port, 1, 0);
        assert!(!bench.chipset.has_outputs());
        bench.write(port, 1, value);
        assert!(bench.chipset.take_outputs().reset);
    }
    let mut bench = Bench::new(0);
    bench.write(0x404, 2, 1 << 13 | 1);
    assert!(bench.chipset.take_outputs().power_off);
    assert!(!bench.chipset.press_power_button());
    bench.write(0x402, 2, 0x100);
    assert!(bench.chipset.press_power_button());
}

#[test]
fn disks_are_booted_in_their_order() {
    let disk = |read_only| FirmwareDisk {
        disk: Box::new(NoSectors),
        sector_bytes: 512,
        read_only,
    };
    let disks = [disk(false), disk(true), disk(false)];
    let order = |first: &[BootDevice]| {
        let bytes = firmware_devices::boot_order(&disks, first);
        let text = String::from_utf8(bytes).expect("text");
        let paths = text.trim_end_matches('\0').lines();
        let places = paths.map(|path| path.trim_start_matches("/pci@i0cf8/"));
        places.map(str::to_owned).collect::<Vec<_>>()
    };
    let [a, dvd, b] = [3, 4, 5].map(|slot| format!("scsi@{slot}/disk@0,0"));
    let network = "ethernet@6/ethernet-phy@0".to_owned();
    assert_eq!(order(&[]), [a.clone(), b.clone(), dvd.clone()]);
    assert_eq!(
        order(&[BootDevice::Network, BootDevice::Dvd]),
        [network, dvd, a, b]
    );
    let two = firmware_devices::boot_order(&disks[..2], &[]);
    assert_eq!(
        two,
        b"/pci@i0cf8/scsi@3/disk@0,0\n/pci@i0cf8/scsi@4/disk@0,0\0"
    );
    assert!(firmware_devices::boot_order(&[], &[]).is_empty());
}

#[test]
fn the_firmwares_network_card_goes_with_the_firmware() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.identity(4, 0), 0x1000_1af4);
    bench.configure(4, 0, 0x10, 0xc041);
    bench.configure(4, 0, 0x04, 1);
    assert_eq!(bench.read(0xc040 + 20, 1), 2, "its address");
    bench.write(0xc040 + 18, 1, 4);
    let offer = |bench: &mut Bench| bench.chipset.receive_frame(&[0; 60], &bench.ram);
    assert_eq!(offer(&mut bench), Reception::NoRoom);
    bench.read(0x404, 2);
    assert_eq!(offer(&mut bench), Reception::Unwanted);
    assert_eq!(bench.read(0xc040 + 20, 1), 0xff);
}

/// Ports that something answers at, or near.
const PORTS: [std::ops::RangeInclusive<u16>; 11] = [
    0x20..=0x61,
    0xa0..=0xa1,
    0x70..=0x73,
    0x1ce..=0x1d0,
    0x3b0..=0x3ff,
    0x400..=0x43f,
    0x510..=0x51b,
    0xcf8..=0xcff,
    0xb000..=0xb03f,
    0xc000..=0xc07f,
    0x402..=0x402,
];

proptest::proptest! {
    #[test]
    fn nothing_that_a_guest_does_panics(
        accesses in proptest::collection::vec((0..PORTS.len() + 2, 0u16.., 0u32.., 0u8..6), 1..300)
    ) {
        let mut bench = Bench::new(2);
        bench.configure(3, 0, 0x10, 0xc001);
        bench.configure(3, 0, 0x04, 1);
        bench.configure(5, 0, 0x10, 0xc041);
        bench.configure(5, 0, 0x04, 1);
        for (place, offset, value, kind) in accesses {
            let size = 1 << (kind % 3);
            let gpa = ROM.wrapping_add(u64::from(offset));
            let data = &value.to_le_bytes()[..size.into()];
            match (PORTS.get(place), kind < 3) {
                (Some(ports), read) => {
                    let port = ports.start() + offset % (ports.end() - ports.start() + 1);
                    match read {
                        true => {
                        let value = u64::from(bench.read(port, size));
                        assert_eq!(value >> (8 * size), 0);
                    }
                        false => bench.write(port, size, value),
                    }
                }
                (None, true) => bench.chipset.mmio_read(gpa, &mut [0; 4][..size.into()], 0),
                (None, false) => bench.chipset.mmio_write(gpa, data, 0),
            }
            bench.chipset.receive_frame(&[5; 60], &bench.ram);
            bench.chipset.take_outputs();
            bench.chipset.memory_layout();
        }
    }
}
