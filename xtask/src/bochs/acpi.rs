//! The ACPI tables of the PC that Bochs emulates (ACPI 6.5): what a kernel needs to find its CPUs,
//! its I/O APIC and its PCI bus, and to turn it off. RSDP and XSDT are made by who installs them.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Name, Package, Path,
    ResourceTemplate, Scope, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::sdt::Sdt;
use anyhow::{Result, ensure};

const OEM: [u8; 6] = *b"ENTENT";
const OEM_TABLE: [u8; 8] = *b"BOCHSTST";
const HEADER_SIZE: u32 = 36;

const LOCAL_APIC_ADDRESS: u32 = 0xfee0_0000;
const IO_APIC_ADDRESS: u32 = 0xfec0_0000;

/// Registers of the PIIX4's power management (82371AB data sheet §7.2) where the firmware puts
/// them.
const POWER_MANAGEMENT: u32 = 0xb000;
/// Where PCI devices' memory may be: between RAM and the I/O APIC.
const PCI_MEMORY: (u32, u32) = (0xc000_0000, 0xfebf_ffff);
/// The interrupt of power management, level-triggered and active high on this PC.
const POWER_INTERRUPT: u8 = 9;
const ACTIVE_HIGH_LEVEL: u16 = 0xd;

/// Name of each table's file and its bytes.
pub fn tables(processors: u32) -> Result<[(&'static str, Vec<u8>); 3]> {
    Ok([
        ("dsdt.aml", differentiated()),
        ("facp.aml", fixed()),
        ("madt.aml", interrupt_controllers(processors)?),
    ])
}

/// The MADT (§5.2.12).
fn interrupt_controllers(processors: u32) -> Result<Vec<u8>> {
    ensure!(
        (1..=8).contains(&processors),
        "a PC in Bochs has 1 to 8 CPUs, not {processors}"
    );
    let mut table = Sdt::new(*b"APIC", HEADER_SIZE + 8, 4, OEM, OEM_TABLE, 1);
    table.write_u32(36, LOCAL_APIC_ADDRESS);
    // There are 8259s too.
    table.write_u32(40, 1);
    let ids = 0..processors as u8;
    for id in ids.clone() {
        ProcessorLocalApic::new(id, id, EnabledStatus::Enabled).to_aml_bytes(&mut table);
    }
    IoApic::new(ids.end, IO_APIC_ADDRESS, 0).to_aml_bytes(&mut table);
    for (source, input, flags) in [
        (0, 2, 0),
        (POWER_INTERRUPT, POWER_INTERRUPT, ACTIVE_HIGH_LEVEL),
    ] {
        table.append_slice(&interrupt_override(source, input, flags));
    }
    Ok(table.as_slice().to_vec())
}

/// An Interrupt Source Override (§5.2.12.5): where an interrupt of the ISA bus arrives.
fn interrupt_override(source: u8, input: u8, flags: u16) -> [u8; 10] {
    let [low, high] = flags.to_le_bytes();
    [2, 10, 0, source, input, 0, 0, 0, low, high]
}

/// The FADT (§5.2.9).
fn fixed() -> Vec<u8> {
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, 1).flag(Flags::Wbinvd);
    table.sci_int = u16::from(POWER_INTERRUPT).into();
    table.smi_cmd = 0xb2.into();
    table.acpi_enable = 0xf1;
    table.acpi_disable = 0xf0;
    table.pm1a_evt_blk = POWER_MANAGEMENT.into();
    table.pm1_evt_len = 4;
    table.pm1a_cnt_blk = (POWER_MANAGEMENT + 4).into();
    table.pm1_cnt_len = 2;
    table.pm_tmr_blk = (POWER_MANAGEMENT + 8).into();
    table.pm_tmr_len = 4;
    // Beyond these, C2 and C3 are not there.
    table.p_lvl2_lat = 0xfff.into();
    table.p_lvl3_lat = 0xfff.into();
    // Devices on the ISA bus, an i8042.
    table.iapc_boot_arch = 3.into();
    let mut bytes = Vec::new();
    table.finalize().to_aml_bytes(&mut bytes);
    bytes
}

/// The DSDT: the PCI bus, and that a sleep type of 0 is S5 on a PIIX4.
fn differentiated() -> Vec<u8> {
    let off = Package::new(vec![&ZERO, &ZERO, &ZERO, &ZERO]);
    let configuration = IO::new(0xcf8, 0xcf8, 1, 8);
    let buses = AddressSpace::new_bus_number(0u16, 0xff);
    let ports = [(0, 0xcf7), (0xd00, 0xffff)].map(|(first, last)| {
        // The length of the whole range would not fit into its field.
        AddressSpace::<u16>::new_io(first, last, None)
    });
    let memory = [(0xa_0000, 0xb_ffff), PCI_MEMORY].map(|(first, last)| {
        AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None)
    });
    let resources = ResourceTemplate::new(vec![
        &buses,
        &configuration,
        &ports[0],
        &ports[1],
        &memory[0],
        &memory[1],
    ]);
    let id = EISAName::new("PNP0A03");
    let (id, resources) = (
        Name::new(Path::new("_HID"), &id),
        Name::new(Path::new("_CRS"), &resources),
    );
    let bus = Device::new(Path::new("PCI0"), vec![&id, &resources]);

    let mut table = Sdt::new(*b"DSDT", HEADER_SIZE, 2, OEM, OEM_TABLE, 1);
    Name::new(Path::new("\\_S5_"), &off).to_aml_bytes(&mut table);
    Scope::new(Path::new("\\_SB_"), vec![&bus]).to_aml_bytes(&mut table);
    table.as_slice().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_whole(table: &[u8], signature: &[u8; 4]) {
        assert_eq!(&table[..4], signature);
        let length = u32::from_le_bytes(table[4..8].try_into().unwrap());
        assert_eq!(length as usize, table.len());
        let sum = table.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        assert_eq!(sum, 0, "checksum of {}", signature.escape_ascii());
    }

    #[test]
    fn every_table_is_whole() {
        let [(_, dsdt), (_, fadt), (_, madt)] = tables(2).unwrap();
        assert_whole(&dsdt, b"DSDT");
        assert_whole(&fadt, b"FACP");
        assert_whole(&madt, b"APIC");
    }

    #[test]
    fn each_processor_is_named_once_and_the_io_apic_has_an_id_of_its_own() {
        let madt = interrupt_controllers(3).unwrap();
        let entries = &madt[44..];
        let ids: Vec<u8> = entries[..24].chunks(8).map(|entry| entry[3]).collect();
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(entries[24..28], [1, 12, 3, 0]);
        assert_eq!(entries[28..32], IO_APIC_ADDRESS.to_le_bytes());
        assert_eq!(entries[36..46], [2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        assert_eq!(entries[46..], [2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0]);
        assert!(interrupt_controllers(0).is_err());
        assert!(interrupt_controllers(9).is_err());
    }

    #[test]
    fn power_is_turned_off_by_the_piix4() {
        let fadt = fixed();
        // PM1a_CNT_BLK, and its length.
        assert_eq!(fadt[64..68], 0xb004_u32.to_le_bytes());
        assert_eq!(fadt[89], 2);
        let dsdt = differentiated();
        let off = b"\x08\\_S5_\x12\x06\x04\0\0\0\0";
        assert!(dsdt.windows(off.len()).any(|window| window == off));
    }
}
