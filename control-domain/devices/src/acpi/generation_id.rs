//! The generation identifier: 16 bytes in memory which are others whenever the machine goes on from another
//! point of its life than its guest remembers - a copy, a checkpoint that is applied. Guests then make
//! new random seeds, domain controllers new invocation identifiers.
//!
//! Source: Microsoft, "Virtual Machine Generation ID" (2012).

use super::{OEM, OEM_REVISION, OEM_TABLE};
use acpi_tables::Aml;
use acpi_tables::aml::{Device, Method, Name, PackageBuilder, Path, Return, Scope, ZERO};
use acpi_tables::sdt::Sdt;

/// The file that firmware places for it.
pub const FILE: &str = "etc/vmgenid_guid";
/// The file is a page of its own: nothing else may lie near what the host changes.
pub const ALIGNMENT: u32 = 4096;
/// Where in the table the file's address is to be added: in the first word of the first object, behind the
/// header and the object's operator, name, package operator, length, count and prefix.
pub const POINTER: u32 = 36 + 1 + 4 + 1 + 1 + 1 + 1;
/// Firmware that takes pointers for pointers to tables finds no header in front of the identifier.
const OFFSET: u32 = 40;

/// The file. `id` is the identifier as its bytes lie in a Windows GUID structure.
pub fn file(id: [u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; OFFSET as usize];
    bytes.extend(id);
    bytes.resize(ALIGNMENT as usize, 0);
    bytes
}

/// The table with its device.
pub fn ssdt() -> Sdt {
    let mut aml = Vec::new();
    Name::new(Path::new("VGIA"), &Address).to_aml_bytes(&mut aml);
    let place = Path::new("VGIA");
    Scope::new(
        Path::new("\\_SB_"),
        vec![&Device::new(
            Path::new("VGEN"),
            vec![
                &Name::new(Path::new("_HID"), &"Hyper_V_Gen_Counter_V1"),
                &Name::new(Path::new("_CID"), &"VM_Gen_Counter"),
                &Name::new(Path::new("_DDN"), &"VM_Gen_Counter"),
                &Name::new(Path::new("_STA"), &0x0fu8),
                &Method::new(Path::new("ADDR"), 0, false, vec![&Return::new(&place)]),
            ],
        )],
    )
    .to_aml_bytes(&mut aml);
    let mut ssdt = Sdt::new(*b"SSDT", 36, 2, OEM, OEM_TABLE, OEM_REVISION);
    ssdt.append_slice(&aml);
    ssdt
}

/// Low and high half of the address. The low one has the long form, whatever its value: firmware adds to it.
struct Address;

impl Aml for Address {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        const DWORD: u8 = 0x0c;
        let mut package = PackageBuilder::new();
        let mut low = vec![DWORD];
        low.extend(OFFSET.to_le_bytes());
        package.add_element(&super::dsdt::Raw(low));
        package.add_element(&ZERO);
        package.to_aml_bytes(sink);
    }
}
