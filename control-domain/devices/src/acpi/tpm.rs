//! The TPM: its table and its device.
//!
//! Source: TCG ACPI Specification 1.2, §8 (TPM2 table, revision 4), §9 (device).

use super::{OEM, OEM_REVISION, OEM_TABLE};
use crate::tpm;
use acpi_tables::Aml;
use acpi_tables::aml::{Device, Memory32Fixed, Name, Path, ResourceTemplate};
use acpi_tables::sdt::Sdt;

const CLIENT: u16 = 0;
/// Commands start by a register of the command response buffer.
const START_BY_REGISTER: u32 = 7;
/// The start method's parameters: none.
const PARAMETERS: [u8; 12] = [0; 12];

/// The table. It names no log: firmware that measures has its own way to hand it over.
pub fn table() -> Sdt {
    let mut table = Sdt::new(*b"TPM2", 36, 4, OEM, OEM_TABLE, OEM_REVISION);
    table.append(CLIENT);
    table.append(0u16);
    table.append(tpm::CONTROL_AREA);
    table.append(START_BY_REGISTER);
    table.append_slice(&PARAMETERS);
    table
}

/// The device, with the memory of its localities.
pub fn device(aml: &mut Vec<u8>) {
    let memory = Memory32Fixed::new(true, tpm::BASE as u32, tpm::LENGTH as u32);
    Device::new(
        Path::new("TPM_"),
        vec![
            &Name::new(Path::new("_HID"), &"MSFT0101"),
            &Name::new(Path::new("_CID"), &"MSFT0101"),
            &Name::new(Path::new("_STA"), &0x0fu8),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&memory])),
        ],
    )
    .to_aml_bytes(aml);
}
