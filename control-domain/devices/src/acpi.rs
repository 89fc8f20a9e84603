//! The ACPI tables, as files that firmware places.
//!
//! Taken from the `acpi_tables` crate: the AML encoder, table headers, FADT and FACS. Its MADT has
//! no interrupt source overrides and its RSDP no RSDT, so these two are laid out here.
//! Source: ACPI 6.4 §5.2; Windows ACPI Emulated Devices Table (WAET) 1.0.

mod dsdt;
pub mod generation_1;
pub mod generation_2;
mod generation_id;
mod resources;
mod tpm;

use crate::acpi_pm::GPE_OFFSET;
use crate::interrupts::SCI_IRQ;
use crate::ioapic;
use crate::table_loader::{TableLoader, Zone};
use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::sdt::Sdt;
use std::collections::BTreeMap;

const TABLES: &str = "etc/acpi/tables";
const RSDP: &str = "etc/acpi/rsdp";
const LOADER: &str = "etc/table-loader";

const OEM: [u8; 6] = *b"ENTNTE";
const OEM_TABLE: [u8; 8] = *b"ENTENTE1";
const OEM_REVISION: u32 = 1;

/// Guest-physical address of the local APICs.
const LOCAL_APIC: u32 = 0xfee0_0000;
/// Offset of the checksum in a table's header.
const HEADER_CHECKSUM: usize = 9;
/// CMOS register that holds the century.
const CENTURY_REGISTER: u8 = 0x32;

/// What the tables say about the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Number of processors; their local APICs are numbered from 0.
    pub processor_count: u32,
    /// First address behind low memory, where the PCI window begins.
    pub low_memory_end: u64,
    /// First address behind all memory, at least 4 GiB.
    pub high_memory_end: u64,
    /// The generation identifier, as its bytes lie in a Windows GUID structure.
    pub generation_id: [u8; 16],
    /// Whether it has a TPM.
    pub tpm: bool,
    /// Whether the operating system may hibernate: sleep state S4.
    pub hibernation: bool,
}

/// Tables that differ between machines.
struct Differing {
    fadt: FADTBuilder,
    dsdt: Sdt,
    madt: Sdt,
    /// What only some have.
    further: Vec<Sdt>,
}

/// All tables, and the script that connects them.
fn files(differing: Differing, generation_id: [u8; 16]) -> BTreeMap<String, Vec<u8>> {
    let mut loader = TableLoader::default();
    // The FACS wants 64 bytes; it is first, so the file does.
    loader.allocate(TABLES, 64, Zone::High);
    loader.allocate(RSDP, 16, Zone::BiosSegment);
    loader.allocate(generation_id::FILE, generation_id::ALIGNMENT, Zone::High);

    let mut tables = Tables { bytes: Vec::new() };
    let facs = tables.append(&FACS::new());
    let dsdt = tables.append_table(&differing.dsdt);
    let mut fadt = differing.fadt;
    fadt.firmware_ctrl = facs.into();
    fadt.dsdt = dsdt.into();
    fadt.x_dsdt = u64::from(dsdt).into();
    let fadt = tables.append(&fadt.finalize());
    for (field, size) in [(36, 4), (40, 4), (140, 8)] {
        loader.add_pointer(TABLES, fadt + field, size, TABLES);
    }
    tables.checksum(&mut loader, fadt);
    let madt = tables.append_table(&differing.madt);
    let waet = tables.append_table(&waet());
    let ssdt = tables.append_table(&generation_id::ssdt());
    let pointer = ssdt + generation_id::POINTER;
    loader.add_pointer(TABLES, pointer, 4, generation_id::FILE);
    tables.checksum(&mut loader, ssdt);

    let mut listed = vec![fadt, madt, waet, ssdt];
    listed.extend(
        differing
            .further
            .iter()
            .map(|table| tables.append_table(table)),
    );
    let rsdt = tables.append_root(&mut loader, *b"RSDT", &listed, 4);
    let xsdt = tables.append_root(&mut loader, *b"XSDT", &listed, 8);

    loader.add_pointer(RSDP, 16, 4, TABLES);
    loader.add_pointer(RSDP, 24, 8, TABLES);
    loader.add_checksum(RSDP, 8, 0, 20);
    loader.add_checksum(RSDP, 32, 0, 36);

    BTreeMap::from([
        (TABLES.to_string(), tables.bytes),
        (RSDP.to_string(), rsdp(rsdt, xsdt)),
        (LOADER.to_string(), loader.into_bytes()),
        (
            generation_id::FILE.to_string(),
            generation_id::file(generation_id),
        ),
    ])
}

struct Tables {
    bytes: Vec<u8>,
}

impl Tables {
    fn append(&mut self, table: &dyn Aml) -> u32 {
        let offset = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(offset, 0);
        table.to_aml_bytes(&mut self.bytes);
        offset as u32
    }

    fn append_table(&mut self, table: &Sdt) -> u32 {
        let offset = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(offset, 0);
        self.bytes.extend(table.as_slice());
        offset as u32
    }

    /// Leaves the checksum of the last table to firmware, which changes the table.
    fn checksum(&mut self, loader: &mut TableLoader, table: u32) {
        let at = table as usize + HEADER_CHECKSUM;
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte = 0;
        }
        let length = self.bytes.len() as u32 - table;
        loader.add_checksum(TABLES, table + HEADER_CHECKSUM as u32, table, length);
    }

    /// A table of pointers of `size` bytes to the tables `listed`.
    fn append_root(
        &mut self,
        loader: &mut TableLoader,
        signature: [u8; 4],
        listed: &[u32],
        size: u8,
    ) -> u32 {
        let mut root = Sdt::new(signature, 36, 1, OEM, OEM_TABLE, OEM_REVISION);
        for table in listed {
            root.append_slice(&u64::from(*table).to_le_bytes()[..size.into()]);
        }
        let offset = self.append_table(&root);
        for i in 0..listed.len() as u32 {
            loader.add_pointer(TABLES, offset + 36 + i * u32::from(size), size, TABLES);
        }
        self.checksum(loader, offset);
        offset
    }
}

/// With offsets where firmware adds addresses, and without checksums.
fn rsdp(rsdt: u32, xsdt: u32) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0".to_vec();
    bytes.extend(OEM);
    bytes.push(2);
    bytes.extend(rsdt.to_le_bytes());
    bytes.extend(36u32.to_le_bytes());
    bytes.extend(u64::from(xsdt).to_le_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// What all machines have: power management ports from `pm_base` on, no sleep button, no clock that wakes.
fn fadt_builder(pm_base: u16) -> FADTBuilder {
    let pm_base = u32::from(pm_base);
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .preferred_pm_profile(PmProfile::Desktop)
        .gpe_info(pm_base + u32::from(GPE_OFFSET), 0, 4, 0, 0)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // There is a power button (the flag means "not a fixed one"), no sleep button, and the
        // clock can't wake the machine.
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup);
    fadt.sci_int = u16::from(SCI_IRQ).into();
    fadt.pm1a_evt_blk = pm_base.into();
    fadt.pm1_evt_len = 4;
    fadt.pm1a_cnt_blk = (pm_base + 4).into();
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_blk = (pm_base + 8).into();
    fadt.pm_tmr_len = 4;
    // Values beyond the limits say that C2 and C3 are not there.
    fadt.p_lvl2_lat = 0xfff.into();
    fadt.p_lvl3_lat = 0xfff.into();
    fadt.century = CENTURY_REGISTER;
    fadt
}

/// Processors and the I/O APIC. `flags` bit 0: there is a pair of 8259s too.
fn madt_with(processor_count: u32, flags: u32) -> Sdt {
    let mut madt = Sdt::new(*b"APIC", 36, 4, OEM, OEM_TABLE, OEM_REVISION);
    madt.append_slice(&LOCAL_APIC.to_le_bytes());
    madt.append_slice(&flags.to_le_bytes());
    for id in 0..processor_count.min(255) as u8 {
        madt.append_slice(&[0, 8, id, id, 1, 0, 0, 0]);
    }
    madt.append_slice(&[1, 12, 0, 0]);
    madt.append_slice(&(ioapic::BASE as u32).to_le_bytes());
    madt.append_slice(&0u32.to_le_bytes());
    // LINT1 of all processors is NMI.
    madt.append_slice(&[4, 6, 0xff, 0, 0, 1]);
    madt
}

/// Flags of an interrupt that is level-triggered and active high.
const LEVEL_HIGH: u8 = 0x0d;

fn interrupt_override(madt: &mut Sdt, irq: u8, pin: u8, flags: u8) {
    madt.append_slice(&[2, 10, 0, irq, pin, 0, 0, 0, flags, 0]);
}

/// Tells Windows that the clock and the power management timer need no double reads; it refuses to
/// run on a PIIX4 that does not say so.
fn waet() -> Sdt {
    const RTC_GOOD: u32 = 1;
    const PM_TIMER_GOOD: u32 = 2;
    let mut waet = Sdt::new(*b"WAET", 36, 1, OEM, OEM_TABLE, OEM_REVISION);
    waet.append_slice(&(RTC_GOOD | PM_TIMER_GOOD).to_le_bytes());
    waet
}

#[cfg(test)]
#[path = "acpi/tests.rs"]
mod tests;
