//! The SMBIOS structures, as files that firmware places.
//!
//! The strings are Hyper-V's, and guests go by them: a Linux guest that reads "Microsoft Corporation" and
//! "Virtual Machine" leaves the disks of its IDE controller alone, because it finds them again behind
//! VMBus (`drivers/ata/ata_piix.c`); so there must be one there for each of them.
//! Source: SMBIOS 2.8 (DSP0134).

use std::collections::BTreeMap;

const TABLES: &str = "etc/smbios/smbios-tables";
const ANCHOR: &str = "etc/smbios/smbios-anchor";

const MANUFACTURER: &str = "Microsoft Corporation";
const PRODUCT: &str = "Virtual Machine";
const UNKNOWN: u8 = 2;
const MEBIBYTE: u64 = 1 << 20;

/// Which machine of Hyper-V's it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// With a BIOS.
    One,
    /// With UEFI.
    Two,
}

impl Generation {
    /// The version of the machine, and of the firmware. "VS2005R2" would be a machine of Virtual Server, whose
    /// guests keep to IDE.
    fn version(self) -> &'static str {
        match self {
            Generation::One => "7.0",
            Generation::Two => "Hyper-V UEFI Release v4.1",
        }
    }
}

/// What the structures say about the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Which machine of Hyper-V's it looks like.
    pub generation: Generation,
    /// Number of processors.
    pub processor_count: u32,
    /// Memory in bytes, below and above 4 GiB.
    pub memory_bytes: [u64; 2],
    /// The machine's GUID, as its bytes lie in a Windows GUID structure.
    pub guid: [u8; 16],
}

#[derive(Default)]
struct Structures {
    bytes: Vec<u8>,
    count: u16,
    largest: usize,
}

impl Structures {
    /// A structure: `fields` follow the four bytes of the header; strings are numbered from 1.
    fn add(&mut self, kind: u8, handle: u16, fields: &[&[u8]], strings: &[&str]) {
        let start = self.bytes.len();
        let length = 4 + fields.iter().map(|field| field.len()).sum::<usize>();
        self.bytes.extend([kind, length as u8]);
        self.bytes.extend(handle.to_le_bytes());
        for field in fields {
            self.bytes.extend(*field);
        }
        for string in strings {
            self.bytes.extend(string.bytes());
            self.bytes.push(0);
        }
        if strings.is_empty() {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        self.count += 1;
        self.largest = self.largest.max(self.bytes.len() - start);
    }
}

/// The structures and their entry point. A BIOS adds the structure about itself; of UEFI firmware guests
/// expect that it is Hyper-V's.
pub fn files(machine: Machine) -> BTreeMap<String, Vec<u8>> {
    let mut structures = Structures::default();
    let version = machine.generation.version();
    if machine.generation == Generation::Two {
        firmware(&mut structures, version);
    }
    // 1: system. Wake-up type: power switch.
    structures.add(
        1,
        0x100,
        &[&[1, 2, 3, 4], &machine.guid, &[6, 0, 0]],
        &[MANUFACTURER, PRODUCT, version, "0"],
    );
    // 3: chassis, a desktop; all states safe.
    structures.add(
        3,
        0x300,
        &[
            &[1, 3, 0, 0, 0, 3, 3, 3, UNKNOWN],
            &0u32.to_le_bytes(),
            &[0, 0, 0, 0, 0],
        ],
        &[MANUFACTURER],
    );
    for number in 0..machine.processor_count.min(255) as u16 {
        processor(&mut structures, number);
    }
    memory(&mut structures, machine.memory_bytes);
    // 32: no boot errors. 127: the end.
    structures.add(32, 0x2000, &[&[0; 7]], &[]);
    structures.add(127, 0x7f00, &[], &[]);

    let anchor = anchor(&structures);
    BTreeMap::from([
        (TABLES.to_string(), structures.bytes),
        (ANCHOR.to_string(), anchor),
    ])
}

/// Type 0: UEFI in a virtual machine.
fn firmware(structures: &mut Structures, version: &str) {
    structures.add(
        0,
        0,
        &[
            // Vendor, version, no segment, date, 64 KiB.
            &[1, 2, 0, 0, 3, 0],
            // Characteristics: none are told.
            &8u64.to_le_bytes(),
            // Table-driven ACPI; UEFI, virtual machine; release 4.1, no embedded controller.
            &[1, 0x18, 4, 1, 0xff, 0xff],
        ],
        &[MANUFACTURER, version, "11/22/2023"],
    );
}

/// Type 4.
fn processor(structures: &mut Structures, number: u16) {
    let name = format!("CPU {number}");
    structures.add(
        4,
        0x400 + number,
        &[
            // Socket, central processor, family "other", manufacturer.
            &[1, 3, 1, 2],
            &[0; 8],
            // Version, voltage, clocks unknown.
            &[0, 0, 0, 0, 0, 0, 0, 0],
            // Populated and enabled, no upgrade.
            &[0x41, 1],
            // No cache structures.
            &[0xff; 6],
            // Serial, asset tag, part number; one core of one thread, 64 bits.
            &[0, 0, 0, 1, 1, 1, 4, 0],
            &1u16.to_le_bytes(),
        ],
        &[&name, MANUFACTURER],
    );
}

/// Types 16, 17 and 19: one array of one module, mapped in one or two pieces.
fn memory(structures: &mut Structures, memory_bytes: [u64; 2]) {
    let total = memory_bytes[0] + memory_bytes[1];
    let kibibytes = total / 1024;
    // Sizes that don't fit say so and repeat themselves in a wider field.
    let narrow = u32::try_from(kibibytes)
        .ok()
        .filter(|size| *size < 0x8000_0000);
    structures.add(
        16,
        0x1000,
        &[
            // On the system board, system memory, no error correction.
            &[3, 3, 3],
            &narrow.unwrap_or(0x8000_0000).to_le_bytes(),
            &0xfffeu16.to_le_bytes(),
            &1u16.to_le_bytes(),
            &if narrow.is_some() { 0 } else { total }.to_le_bytes(),
        ],
        &[],
    );
    let mebibytes = total / MEBIBYTE;
    let size = u16::try_from(mebibytes).ok().filter(|size| *size < 0x7fff);
    structures.add(
        17,
        0x1100,
        &[
            &0x1000u16.to_le_bytes(),
            &0xfffeu16.to_le_bytes(),
            &[0xff; 4],
            &size.unwrap_or(0x7fff).to_le_bytes(),
            // DIMM of RAM.
            &[9, 0, 1, 0, 7],
            &[2, 0],
            &[0; 2],
            &[2, 0, 0, 0, 0],
            &if size.is_some() { 0 } else { mebibytes as u32 }.to_le_bytes(),
            &[0; 2],
            &[0; 6],
        ],
        &["DIMM 0", MANUFACTURER],
    );
    let starts = [0, 1 << 32];
    for (i, (start, length)) in starts.into_iter().zip(memory_bytes).enumerate() {
        if length > 0 {
            let end = start + length - 1;
            structures.add(
                19,
                0x1300 + i as u16,
                &[
                    &u32::MAX.to_le_bytes(),
                    &u32::MAX.to_le_bytes(),
                    &0x1000u16.to_le_bytes(),
                    &[1],
                    &u64::to_le_bytes(start),
                    &u64::to_le_bytes(end),
                ],
                &[],
            );
        }
    }
}

/// The entry point of 2.8. Firmware fills in the address and the checksums.
fn anchor(structures: &Structures) -> Vec<u8> {
    let mut bytes = b"_SM_\0".to_vec();
    bytes.extend([31, 2, 8]);
    bytes.extend((structures.largest as u16).to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(*b"_DMI_\0");
    bytes.extend((structures.bytes.len() as u16).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(structures.count.to_le_bytes());
    bytes.push(0x28);
    let checksum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    bytes[21] = checksum(&bytes[16..31]);
    bytes[4] = checksum(&bytes);
    bytes
}

#[cfg(test)]
#[path = "smbios/tests.rs"]
mod tests;
