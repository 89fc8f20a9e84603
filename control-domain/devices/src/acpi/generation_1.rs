//! Generation 1: a PIIX4 board with its PCI bus, set up by SeaBIOS.

use super::dsdt;
use super::{Differing, LEVEL_HIGH, Machine, fadt_builder, interrupt_override, madt_with};
use crate::acpi_pm::{ACPI_DISABLE, ACPI_ENABLE};
use crate::interrupts::SCI_IRQ;
use acpi_tables::fadt::FADTBuilder;
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::sdt::Sdt;
use std::collections::BTreeMap;

/// Base of the power management block, as SeaBIOS sets it when it finds a loader script.
pub const PM_BASE: u16 = 0x600;
/// Base of the SMBus ports, likewise.
pub const SMBUS_BASE: u16 = 0x700;
/// PCI interrupts as SeaBIOS routes lines A to D.
pub const PCI_IRQS: [u8; 4] = [10, 10, 11, 11];

/// The tables, and the script that connects them.
pub fn files(machine: Machine) -> BTreeMap<String, Vec<u8>> {
    let differing = Differing {
        fadt: fadt(),
        dsdt: dsdt::dsdt(machine),
        madt: madt(machine),
        further: Vec::new(),
    };
    super::files(differing, machine.generation_id)
}

fn fadt() -> FADTBuilder {
    let mut fadt = fadt_builder(PM_BASE);
    fadt.smi_cmd = 0xb2.into();
    fadt.acpi_enable = ACPI_ENABLE;
    fadt.acpi_disable = ACPI_DISABLE;
    // Devices on the ISA bus, and an 8042.
    fadt.iapc_boot_arch = 3.into();
    fadt.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, 0xcf9);
    fadt.reset_value = 6;
    fadt
}

fn madt(machine: Machine) -> Sdt {
    let mut madt = madt_with(machine.processor_count, 1);
    // IRQ 0 is on pin 2; conforming polarity and trigger.
    interrupt_override(&mut madt, 0, 2, 0);
    // The system control interrupt and the PCI interrupts.
    for irq in [SCI_IRQ, 10, 11] {
        interrupt_override(&mut madt, irq, irq, LEVEL_HIGH);
    }
    madt
}
