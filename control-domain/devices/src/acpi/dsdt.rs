//! The namespace of a Generation 1 machine: the PCI root with its interrupt routing, what is on the ISA bus,
//! VMBus, the processors, sleep states. The last three are other machines' too.

use super::generation_1::{PCI_IRQS, PM_BASE, SMBUS_BASE};
use super::resources::{IsaDma, IsaInterrupt, ports};
use super::{LOCAL_APIC, Machine, OEM, OEM_REVISION, OEM_TABLE};
use crate::acpi_pm;
use crate::ioapic;
use crate::smbus;
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, Memory32Fixed, Name, Package,
    PackageBuilder, Path, ResourceTemplate, Scope, ZERO,
};
use acpi_tables::sdt::Sdt;

/// Last address of the window for devices: the I/O APIC follows.
pub const WINDOW_END: u32 = ioapic::BASE as u32 - 1;

/// The table.
pub fn dsdt(machine: Machine) -> Sdt {
    let mut inside = Vec::new();
    pci_root(machine, &mut inside);
    board(&mut inside);
    table(machine, inside)
}

/// A table with sleep states, `devices` and the processors.
pub fn table(machine: Machine, mut devices: Vec<u8>) -> Sdt {
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, OEM_REVISION);
    let mut aml = Vec::new();
    sleep_state("\\_S5_", acpi_pm::SLEEP_TYPE_OFF, &mut aml);
    if machine.hibernation {
        sleep_state("\\_S4_", acpi_pm::SLEEP_TYPE_HIBERNATE, &mut aml);
    }
    for id in 0..machine.processor_count {
        processor(id, &mut devices);
    }
    aml.extend(Scope::raw(Path::new("\\_SB_"), devices));
    dsdt.append_slice(&aml);
    dsdt
}

/// ACPI 6.4 §7.4.2: what to write to PM1a and PM1b, and two reserved values.
fn sleep_state(name: &str, kind: u8, aml: &mut Vec<u8>) {
    Name::new(
        Path::new(name),
        &Package::new(vec![&kind, &kind, &ZERO, &ZERO]),
    )
    .to_aml_bytes(aml);
}

/// As in the MADT, by unique number.
fn processor(id: u32, aml: &mut Vec<u8>) {
    let name = format!("C{id:03}");
    Device::new(
        Path::new(&name),
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0007"),
            &Name::new(Path::new("_UID"), &id),
        ],
    )
    .to_aml_bytes(aml);
}

/// Firmware puts memory windows above the first of these addresses that is behind the memory.
pub fn window_start(machine: Machine) -> u32 {
    if machine.low_memory_end <= 0x8000_0000 {
        0x8000_0000
    } else {
        0xc000_0000
    }
}

fn pci_root(machine: Machine, aml: &mut Vec<u8>) {
    let window = window_start(machine);
    let buses = AddressSpace::new_bus_number(0u16, 0);
    let configuration = ports(0xcf8, 8);
    let low_ports = AddressSpace::new_io(0u16, 0xcf7, None);
    let high_ports = AddressSpace::new_io(0xd00u16, 0xffff, None);
    let video = AddressSpace::new_memory(
        AddressSpaceCacheable::Cacheable,
        true,
        0xa_0000u32,
        0xb_ffff,
        None,
    );
    let memory = AddressSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        window,
        WINDOW_END,
        None,
    );
    let resources = ResourceTemplate::new(vec![
        &buses,
        &configuration,
        &low_ports,
        &high_ports,
        &video,
        &memory,
    ]);

    let routing = interrupt_routing();
    let isa = isa_bus();
    Device::new(
        Path::new("PCI0"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0A03")),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(Path::new("_CRS"), &resources),
            &Name::new(Path::new("_PRT"), &routing),
            &Raw(isa),
        ],
    )
    .to_aml_bytes(aml);
}

/// Pin A of slot s is on line s - 1, and so on around; firmware has routed the lines for good.
fn interrupt_routing() -> PackageBuilder {
    let mut routing = PackageBuilder::new();
    for slot in 1..32u32 {
        for pin in 0..4u8 {
            let line = (slot as usize - 1 + usize::from(pin)) % 4;
            let address = slot << 16 | 0xffff;
            routing.add_element(&Package::new(vec![&address, &pin, &ZERO, &PCI_IRQS[line]]));
        }
    }
    routing
}

/// Bytes that are AML already.
pub struct Raw(pub Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

pub fn device(aml: &mut Vec<u8>, name: &str, id: &str, unique: u8, resources: Vec<&dyn Aml>) {
    Device::new(
        Path::new(name),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new(id)),
            &Name::new(Path::new("_UID"), &unique),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources)),
        ],
    )
    .to_aml_bytes(aml);
}

/// The PIIX4's ISA bridge and what is behind it.
fn isa_bus() -> Vec<u8> {
    let mut aml = Vec::new();
    device(
        &mut aml,
        "PIC_",
        "PNP0000",
        0,
        vec![
            &ports(0x20, 2),
            &ports(0xa0, 2),
            &ports(0x4d0, 2),
            &IsaInterrupt(2),
        ],
    );
    device(
        &mut aml,
        "TIMR",
        "PNP0100",
        0,
        vec![&ports(0x40, 4), &IsaInterrupt(0)],
    );
    clock(&mut aml);
    device(&mut aml, "SPKR", "PNP0800", 0, vec![&ports(0x61, 1)]);
    device(
        &mut aml,
        "KBD_",
        "PNP0303",
        0,
        vec![&ports(0x60, 1), &ports(0x64, 1), &IsaInterrupt(1)],
    );
    device(&mut aml, "MOU_", "PNP0F13", 0, vec![&IsaInterrupt(12)]);
    serial_ports(&mut aml);
    device(
        &mut aml,
        "DMAC",
        "PNP0200",
        0,
        vec![
            &ports(0, 16),
            &ports(0x81, 15),
            &ports(0xc0, 32),
            &IsaDma(4),
        ],
    );
    device(
        &mut aml,
        "FDC0",
        "PNP0700",
        0,
        vec![
            &ports(0x3f2, 4),
            &ports(0x3f7, 1),
            &IsaInterrupt(6),
            &IsaDma(2),
        ],
    );
    // As on Hyper-V: Linux looks for memory for VMBus's devices in its ancestors, and up to 5.10 trips over the root of
    // the namespace when none has any.
    vmbus(&mut aml);
    let mut bridge = Vec::new();
    Device::new(
        Path::new("ISA_"),
        vec![&Name::new(Path::new("_ADR"), &0x0007_0000u32), &Raw(aml)],
    )
    .to_aml_bytes(&mut bridge);
    bridge
}

/// The real-time clock.
pub fn clock(aml: &mut Vec<u8>) {
    device(
        aml,
        "RTC_",
        "PNP0B00",
        0,
        vec![&ports(0x70, 4), &IsaInterrupt(8)],
    );
}

/// COM1 and COM2.
pub fn serial_ports(aml: &mut Vec<u8>) {
    device(
        aml,
        "COM1",
        "PNP0501",
        1,
        vec![&ports(0x3f8, 8), &IsaInterrupt(4)],
    );
    device(
        aml,
        "COM2",
        "PNP0501",
        2,
        vec![&ports(0x2f8, 8), &IsaInterrupt(3)],
    );
}

/// The bus of synthetic devices. Linux goes by the compatible name, Windows by either; the
/// interrupt is for guests without a SynIC, of which there are none.
pub fn vmbus(aml: &mut Vec<u8>) {
    Device::new(
        Path::new("VMBS"),
        vec![
            &Name::new(Path::new("_HID"), &"MSFT1000"),
            &Name::new(Path::new("_CID"), &"VMBus"),
            &Name::new(Path::new("_DDN"), &"VMBUS"),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(Path::new("_STA"), &0x0fu8),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![&IsaInterrupt(5)]),
            ),
        ],
    )
    .to_aml_bytes(aml);
}

/// Ports and memory that belong to the board and that nothing else may be given.
fn board(aml: &mut Vec<u8>) {
    let io_apic = Memory32Fixed::new(true, ioapic::BASE as u32, ioapic::LENGTH as u32);
    let local_apics = Memory32Fixed::new(true, LOCAL_APIC, 0x1000);
    device(
        aml,
        "MRES",
        "PNP0C02",
        0,
        vec![
            &ports(PM_BASE, acpi_pm::PORTS as u8),
            &ports(SMBUS_BASE, smbus::PORTS as u8),
            &ports(0x92, 1),
            &ports(0xb2, 2),
            &ports(crate::debug_port::PORT, 1),
            &ports(crate::fw_cfg::PORT, 12),
            &io_apic,
            &local_apics,
        ],
    );
}
