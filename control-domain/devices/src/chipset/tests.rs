use super::*;
use crate::test_memory::Ram;

struct Bench {
    chipset: Chipset,
    ram: Ram,
    now_ns: u64,
}

impl Bench {
    fn config() -> Config {
        Config {
            processor_count: 2,
            memory_bytes: 1 << 30,
            bios_bytes: 256 << 10,
            utc_seconds: 951_827_696,
            guid: [7; 16],
            generation_id: [8; 16],
            vga_bios: vec![0x55, 0xaa],
            video_memory: Box::new(vec![0; 16 << 20]),
            serial: [None, None],
            bios_log: None,
            drives: [None, None, None, None],
            diskette: None,
            network_cards: Vec::new(),
            network_boot: None,
            boot_order: Vec::new(),
            identity_flip: false,
            hibernation: false,
        }
    }

    fn new() -> Self {
        Bench {
            chipset: Chipset::new(Self::config()),
            ram: Ram::new(2 << 20),
            now_ns: 0,
        }
    }

    fn read(&mut self, port: u16, size: u8) -> u32 {
        self.chipset.port_read(port, size, self.now_ns, &self.ram)
    }

    fn write(&mut self, port: u16, size: u8, value: u32) {
        self.chipset
            .port_write(port, size, value, self.now_ns, &self.ram);
    }

    fn configure(&mut self, function: u8, register: u8, size: u8, value: u32) {
        self.write(
            0xcf8,
            4,
            0x8000_0000 | u32::from(function) << 8 | u32::from(register & 0xfc),
        );
        self.write(0xcfc + u16::from(register & 3), size, value);
    }

    fn fw_cfg_file(&mut self, name: &str) -> Vec<u8> {
        self.write(0x510, 2, 0x19);
        let mut bytes =
            |count: usize| -> Vec<u8> { (0..count).map(|_| self.read(0x511, 1) as u8).collect() };
        let count = u32::from_be_bytes(bytes(4).try_into().expect("four"));
        for _ in 0..count {
            let entry = bytes(64);
            if entry[8..].starts_with(name.as_bytes()) && entry[8 + name.len()] == 0 {
                let length = u32::from_be_bytes(entry[..4].try_into().expect("four"));
                let select = u16::from_be_bytes(entry[4..6].try_into().expect("two"));
                self.write(0x510, 2, select.into());
                return (0..length).map(|_| self.read(0x511, 1) as u8).collect();
            }
        }
        panic!("no file {name}");
    }
}

#[test]
fn unclaimed_ports_and_addresses_float() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(0x1234, 4), u32::MAX);
    assert_eq!(
        bench.read(0xffff, 2),
        0x00ff,
        "the port number wraps, to the DMA controller's first"
    );
    bench.write(0xffff, 4, 0);
    assert_eq!(
        bench.read(0x1f7, 1),
        0xff,
        "not decoded before firmware says so"
    );
    let mut data = [0; 8];
    bench.chipset.mmio_read(0xfd00_0000, &mut data, 0);
    assert_eq!(data, [0xff; 8]);
    bench.chipset.mmio_write(0xfd00_0000, &data, 0, &bench.ram);
}

#[test]
fn firmware_finds_its_files() {
    let mut bench = Bench::new();
    assert_eq!(bench.fw_cfg_file("pci1234,1111.rom"), [0x55, 0xaa]);
    assert_eq!(
        bench.fw_cfg_file("etc/e820")[8..16],
        (1u64 << 30).to_le_bytes()
    );
    for name in [
        "etc/acpi/tables",
        "etc/acpi/rsdp",
        "etc/table-loader",
        "etc/smbios/smbios-tables",
    ] {
        assert!(!bench.fw_cfg_file(name).is_empty());
    }
    bench.write(0x70, 1, 0x5f);
    assert_eq!(bench.read(0x71, 1), 1);
}

#[test]
fn timer_interrupt_reaches_the_processor() {
    let mut bench = Bench::new();
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 8),
        (0x21, 4),
        (0x21, 1),
        (0x21, 0xfe),
        (0x43, 0x34),
        (0x40, 0),
        (0x40, 0),
    ] {
        bench.write(port, 1, value);
    }
    let due = bench.chipset.next_deadline_ns().expect("the timer runs");
    assert!((54_925_000..54_926_000).contains(&due), "18.2 Hz: {due}");
    bench.chipset.advance(due - 1);
    assert!(!bench.chipset.interrupt_pending());
    bench.chipset.advance(due);
    assert!(bench.chipset.interrupt_pending());
    assert_eq!(bench.chipset.acknowledge_interrupt(), 8);
    assert!(!bench.chipset.interrupt_pending());
}

#[test]
fn messages_of_the_io_apic_come_out_once() {
    let mut bench = Bench::new();
    let select = |bench: &mut Bench, register: u32, value: u32| {
        bench
            .chipset
            .mmio_write(ioapic_at(0), &register.to_le_bytes(), 0, &bench.ram);
        bench
            .chipset
            .mmio_write(ioapic_at(0x10), &value.to_le_bytes(), 0, &bench.ram);
    };
    select(&mut bench, 0x12, 0x0000_0021);
    let mut data = [0; 4];
    bench.chipset.mmio_read(ioapic_at(0x10), &mut data, 0);
    assert_eq!(u32::from_le_bytes(data), 0x21);
    bench.chipset.key(0x1e, false, true);
    let outputs = bench.chipset.take_outputs();
    assert_eq!(outputs.messages.len(), 1);
    assert_eq!(outputs.messages[0].data & 0xff, 0x21);
    assert!(bench.chipset.take_outputs().is_empty());
}

fn ioapic_at(offset: u64) -> u64 {
    crate::ioapic::BASE + offset
}

#[test]
fn shadow_ram_and_writes_through_to_it() {
    let mut bench = Bench::new();
    let rom = |bench: &Bench| {
        bench
            .chipset
            .memory_layout()
            .iter()
            .any(|region| region.start == 0xe_0000)
    };
    assert!(rom(&bench));
    bench.configure(0, 0x59, 1, 0x20);
    assert!(bench.chipset.take_outputs().layout_changed);
    bench.chipset.mmio_write(0xf_1234, &[1, 2], 0, &bench.ram);
    assert_eq!(
        bench.ram.bytes(0xf_1234, 2),
        [1, 2],
        "reads ROM, writes RAM"
    );
    bench.configure(0, 0x59, 1, 0x10);
    bench.chipset.mmio_write(0xf_1234, &[3, 4], 0, &bench.ram);
    assert_eq!(bench.ram.bytes(0xf_1234, 2), [1, 2], "write protected");
    bench.chipset.reset(0, &bench.ram);
    assert!(bench.chipset.take_outputs().layout_changed);
    assert!(rom(&bench));
}

#[test]
fn ports_move_to_where_software_puts_them() {
    let mut bench = Bench::new();
    bench.configure(0x3b, 0x40, 4, 0x601);
    assert_eq!(bench.read(0x608, 4), u32::MAX);
    bench.configure(0x3b, 0x80, 1, 1);
    bench.now_ns = 1_000_000_000;
    assert_eq!(bench.read(0x608, 4), 3_579_545);
    bench.write(0x604, 2, 0x2000);
    assert!(bench.chipset.take_outputs().power_off);
    bench.configure(0x39, 0x20, 4, 0xc000);
    bench.configure(0x39, 4, 2, 5);
    bench.configure(0x39, 0x40, 4, 0x8000_8000);
    assert_eq!(bench.read(0x1f7, 1), 0x7f);
    bench.write(0xc00c, 4, 0x1234_5678);
    assert_eq!(bench.read(0xc00c, 4), 0x1234_5678);
}

#[test]
fn three_ways_to_reset() {
    for (port, value) in [(0xcf9, 6), (0x64, 0xfe), (0x92, 1)] {
        let mut bench = Bench::new();
        bench.write(port, 1, value);
        assert!(bench.chipset.take_outputs().reset, "{port:#x}");
    }
}

#[test]
fn time_does_not_run_backwards() {
    let mut bench = Bench::new();
    bench.configure(0x3b, 0x40, 4, 0x601);
    bench.configure(0x3b, 0x80, 1, 1);
    bench.now_ns = 2_000_000_000;
    let late = bench.read(0x608, 4);
    bench.now_ns = 1_000_000_000;
    assert_eq!(bench.read(0x608, 4), late);
}

#[test]
fn any_access_anywhere_is_survived() {
    let mut bench = Bench::new();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for i in 0..200_000u64 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bench.now_ns += seed % 100_000;
        // Every other access goes to a port that somebody claims.
        let ports = [
            0x20, 0x40, 0x60, 0x64, 0x70, 0xb2, 0x1f0, 0x1ce, 0x2f8, 0x3c0, 0x510, 0xcf8,
        ];
        let port = if i & 1 == 0 {
            seed as u16
        } else {
            ports[seed as usize % 12] + (seed >> 8) as u16 % 16
        };
        let size = [1, 2, 4][(seed >> 20) as usize % 3];
        match seed >> 62 {
            0 => {
                bench.read(port, size);
            }
            1 => bench.write(port, size, (seed >> 24) as u32),
            2 => {
                let function = [0, 0x38, 0x39, 0x3b, 0x40][(seed >> 5) as usize % 5];
                bench.configure(function, (seed >> 32) as u8, size, (seed >> 24) as u32);
            }
            _ => {
                let gpa = [0xfec0_0000, 0xa_0000, 0xc_0000][(seed >> 9) as usize % 3]
                    + (seed >> 16 & 0xffff);
                bench
                    .chipset
                    .mmio_write(gpa, &seed.to_le_bytes(), bench.now_ns, &bench.ram);
                bench.chipset.mmio_read(gpa, &mut [0; 8], bench.now_ns);
            }
        }
        if i % 16 == 0 {
            bench.chipset.advance(bench.now_ns);
            bench.chipset.acknowledge_interrupt();
            bench.chipset.end_of_interrupt(seed as u8);
            bench.chipset.take_outputs();
            bench.chipset.memory_layout();
        }
    }
}

#[test]
fn a_network_card_answers_at_ports_and_in_memory_and_interrupts() {
    let mut bench = Bench::new();
    let card = NetworkCard {
        mac: [0, 0x15, 0x5d, 1, 2, 3],
        plugged: true,
        frames: Box::new(|_: &[u8]| {}),
    };
    bench.chipset = Chipset::new(Config {
        network_cards: vec![card],
        ..Bench::config()
    });
    let function = crate::pci::NETWORK;
    bench.configure(function, 0x10, 4, 0xc000);
    bench.configure(function, 0x14, 4, 0xfebf_0000);
    assert_eq!(bench.read(0xc030, 4), u32::MAX, "not decoded yet");
    bench.configure(function, 0x04, 2, 0x0007);
    assert_eq!(bench.read(0xc030, 4), 0x3200_0040);
    let mut register = [0; 4];
    let gpa = 0xfebf_0030;
    bench.chipset.mmio_read(gpa, &mut register, 0);
    assert_eq!(register, 0x3200_0040u32.to_le_bytes());

    // Line B to IRQ 11, whose pin of the I/O APIC is open; the timer's causes are open in the card.
    bench.configure(crate::pci::ISA_BRIDGE, 0x61, 1, 11);
    for (offset, value) in [(0x00, 0x10 + 2 * 11), (0x10, 0x8040u32)] {
        let gpa = crate::ioapic::BASE + offset;
        let bytes = value.to_le_bytes();
        bench.chipset.mmio_write(gpa, &bytes, 0, &bench.ram);
    }
    bench.write(0xc038, 4, 0x8800);
    bench.write(0xc058, 4, 1);
    let due = bench.chipset.next_deadline_ns();
    bench.chipset.advance(due.expect("the card's timer"));
    assert_eq!(bench.chipset.take_outputs().messages.len(), 1);
    bench.write(0xc028, 4, 0x800);
    bench.chipset.end_of_interrupt(0x40);
    assert!(bench.chipset.take_outputs().messages.is_empty());
    let nowhere = bench.chipset.receive_frame(1, &[0; 60], &bench.ram);
    assert_eq!(nowhere, crate::Reception::Unwanted);
}
