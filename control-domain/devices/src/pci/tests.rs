use super::*;

fn read(pci: &mut Pci, function: u8, register: u8, size: u8) -> u32 {
    pci.write(
        0xcf8,
        4,
        0x8000_0000 | u32::from(function) << 8 | u32::from(register & 0xfc),
    );
    let port = 0xcfc + u16::from(register & 3);
    let mask = if size == 4 {
        u32::MAX
    } else {
        (1 << (8 * size)) - 1
    };
    pci.read(port, size) & mask
}

fn write(pci: &mut Pci, function: u8, register: u8, size: u8, value: u32) -> Effects {
    pci.write(
        0xcf8,
        4,
        0x8000_0000 | u32::from(function) << 8 | u32::from(register & 0xfc),
    );
    pci.write(0xcfc + u16::from(register & 3), size, value)
}

#[test]
fn a_scan_finds_the_functions() {
    let mut pci = Pci::new(16 << 20, false, 1);
    let mut found = Vec::new();
    for function in 0..=255 {
        let id = read(&mut pci, function, 0, 4);
        if id != u32::MAX {
            found.push((function, id, read(&mut pci, function, 0x0a, 2)));
        }
    }
    assert_eq!(
        found,
        [
            (HOST_BRIDGE, 0x1237_8086, 0x0600),
            (ISA_BRIDGE, 0x7110_8086, 0x0601),
            (IDE, 0x7111_8086, 0x0101),
            (POWER_MANAGEMENT, 0x7113_8086, 0x0680),
            (VGA, 0x1111_1234, 0x0300),
            (NETWORK, 0x0009_1011, 0x0200),
        ]
    );
    assert_eq!(
        read(&mut pci, ISA_BRIDGE, 0x0e, 1),
        0x80,
        "several functions"
    );
    assert_eq!(read(&mut pci, HOST_BRIDGE, 0x2c, 4), 0x1100_1af4);
}

#[test]
fn disabled_or_other_bus_answers_nothing() {
    let mut pci = Pci::new(16 << 20, false, 1);
    pci.write(0xcf8, 4, 0x0000_0000);
    assert_eq!(pci.read(0xcfc, 4), u32::MAX);
    pci.write(0xcf8, 4, 0x8001_0000);
    assert_eq!(pci.read(0xcfc, 4), u32::MAX);
    pci.write(0xcf8, 1, 0x12);
    assert_eq!(pci.read(0xcf8, 4), 0x8001_0000, "only whole writes count");
}

#[test]
fn video_memory_window_is_sized_and_placed() {
    let mut pci = Pci::new(16 << 20, false, 1);
    write(&mut pci, VGA, 0x10, 4, u32::MAX);
    assert_eq!(read(&mut pci, VGA, 0x10, 4), 0xff00_0008);
    assert!(
        !write(&mut pci, VGA, 0x10, 4, 0xfd00_0000).layout,
        "not decoded yet"
    );
    assert_eq!(pci.vga.window(), None);
    assert!(write(&mut pci, VGA, 4, 2, 2).layout);
    assert_eq!(pci.vga.window(), Some(0xfd00_0000));
}

#[test]
fn ide_and_power_management_ports_follow_their_registers() {
    let mut pci = Pci::new(16 << 20, false, 1);
    assert_eq!(pci.ide.bus_master_base(), None);
    write(&mut pci, IDE, 0x20, 4, u32::MAX);
    assert_eq!(read(&mut pci, IDE, 0x20, 4), 0xffff_fff1);
    write(&mut pci, IDE, 4, 2, 5);
    assert_eq!(
        pci.ide.bus_master_base(),
        None,
        "there are no ports beyond FFFFh"
    );
    write(&mut pci, IDE, 0x20, 4, 0xc000);
    assert!(write(&mut pci, IDE, 4, 2, 5).ports);
    assert_eq!(pci.ide.bus_master_base(), Some(0xc000));
    assert_eq!(pci.ide.decodes(), [false, false]);
    write(&mut pci, IDE, 0x40, 2, 0x8000);
    assert_eq!(pci.ide.decodes(), [true, false]);

    write(&mut pci, POWER_MANAGEMENT, 0x40, 4, 0x601);
    assert_eq!(read(&mut pci, POWER_MANAGEMENT, 0x40, 4), 0x601);
    assert_eq!(pci.power_management.base(), None);
    assert!(write(&mut pci, POWER_MANAGEMENT, 0x80, 1, 1).ports);
    assert_eq!(pci.power_management.base(), Some(0x600));
    assert_ne!(
        read(&mut pci, POWER_MANAGEMENT, 0x58, 4) & 1 << 25,
        0,
        "no SMM to set up"
    );
}

#[test]
fn interrupt_routing() {
    let mut pci = Pci::new(16 << 20, false, 1);
    assert_eq!(pci.isa_bridge.route(0), None);
    assert!(write(&mut pci, ISA_BRIDGE, 0x60, 1, 10).routing);
    assert!(write(&mut pci, ISA_BRIDGE, 0x61, 1, 0x0d).routing);
    assert_eq!(pci.isa_bridge.route(0), Some(10));
    assert_eq!(pci.isa_bridge.route(1), None, "IRQ 13 is reserved");
}

#[test]
fn read_only_registers_stay() {
    let mut pci = Pci::new(16 << 20, false, 1);
    for function in [HOST_BRIDGE, ISA_BRIDGE, IDE, POWER_MANAGEMENT, VGA] {
        let before = [0x00, 0x08, 0x2c].map(|register| read(&mut pci, function, register, 4));
        for register in (0..=0xfc).step_by(4) {
            write(&mut pci, function, register, 4, 0xa5a5_a5a5);
        }
        let after = [0x00, 0x08, 0x2c].map(|register| read(&mut pci, function, register, 4));
        assert_eq!(before, after, "{function:#x}");
    }
}
