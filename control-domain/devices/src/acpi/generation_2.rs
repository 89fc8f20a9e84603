//! Generation 2, in the shape of Hyper-V's: no PCI root; VMBus below a module device that has the windows
//! for its devices' memory; the clock, the serial ports.

use super::dsdt::{self, Raw, clock, serial_ports, vmbus, window_start};
use super::{Differing, LEVEL_HIGH, Machine, fadt_builder, interrupt_override, madt_with, tpm};
use crate::generation_2::{PM_BASE, RESET_PORT, RESET_VALUE};
use crate::interrupts::SCI_IRQ;
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, Name, Path, ResourceTemplate, ZERO,
};
use acpi_tables::fadt::FADTBuilder;
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::sdt::Sdt;
use std::collections::BTreeMap;

/// There is no VGA.
const NO_VGA: u16 = 1 << 2;
/// Size of the window above all memory.
const HIGH_WINDOW_BYTES: u64 = 512 << 20;

/// The tables, and the script that connects them.
pub fn files(machine: Machine) -> BTreeMap<String, Vec<u8>> {
    let mut madt = madt_with(machine.processor_count, 0);
    interrupt_override(&mut madt, SCI_IRQ, SCI_IRQ, LEVEL_HIGH);
    let differing = Differing {
        fadt: fadt(),
        dsdt: namespace(machine),
        madt,
        further: machine.tpm.then(tpm::table).into_iter().collect(),
    };
    super::files(differing, machine.generation_id)
}

/// Without a port to ask for ACPI: it is always on.
fn fadt() -> FADTBuilder {
    let mut fadt = fadt_builder(PM_BASE);
    fadt.iapc_boot_arch = NO_VGA.into();
    fadt.reset_reg = GAS::new(
        Space::SystemIo,
        8,
        0,
        AccessSize::ByteAccess,
        RESET_PORT.into(),
    );
    fadt.reset_value = RESET_VALUE;
    fadt
}

fn namespace(machine: Machine) -> Sdt {
    let mut devices = Vec::new();
    module(machine, &mut devices);
    clock(&mut devices);
    serial_ports(&mut devices);
    if machine.tpm {
        tpm::device(&mut devices);
    }
    dsdt::table(machine, devices)
}

/// Windows wants a module device that hands memory out; Linux looks for it in VMBus's ancestors.
fn module(machine: Machine, aml: &mut Vec<u8>) {
    let low = AddressSpace::new_memory(
        AddressSpaceCacheable::Cacheable,
        true,
        window_start(machine),
        dsdt::WINDOW_END,
        None,
    );
    let start = machine.high_memory_end.next_multiple_of(HIGH_WINDOW_BYTES);
    let high = AddressSpace::new_memory(
        AddressSpaceCacheable::Cacheable,
        true,
        start,
        start + HIGH_WINDOW_BYTES - 1,
        None,
    );
    let mut bus = Vec::new();
    vmbus(&mut bus);
    Device::new(
        Path::new("VMOD"),
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0004"),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&low, &high])),
            &Raw(bus),
        ],
    )
    .to_aml_bytes(aml);
}
