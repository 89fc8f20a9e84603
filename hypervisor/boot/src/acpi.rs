//! The ACPI tables that the control domain is given: copies of RSDP, XSDT and MADT, in which the
//! MADT names our wake-up mailbox (ACPI 6.4 §5.2.5, §5.2.8, §5.2.12, §5.2.12.19). All other tables
//! are the firmware's, referenced where they lie.

use crate::bytes;

/// Size in bytes of an RSDP of revision 2 or later.
pub const RSDP_SIZE: usize = 36;

/// Size in bytes of the header of every table.
pub const HEADER_SIZE: usize = 36;

/// Size in bytes of the Multiprocessor Wakeup structure that is added to the MADT.
pub const WAKEUP_SIZE: usize = 16;

/// Where the interrupt controller structures of a MADT begin.
const MADT_ENTRIES: usize = 44;

const LOCAL_APIC: u8 = 0;
const LOCAL_X2APIC: u8 = 9;
const MULTIPROCESSOR_WAKEUP: u8 = 0x10;

/// Flag of a processor structure: usable now.
const ENABLED: u32 = 1;

/// Why the tables can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// The RSDP has no XSDT: the firmware speaks ACPI 1.0 only.
    NoXsdt,
    /// A table is cut off, has a wrong checksum or does not have the signature it should have.
    Malformed {
        /// The table's signature as expected.
        table: [u8; 4],
    },
    /// There is no MADT, so the other CPUs can't be found.
    NoMadt,
    /// The memory for a copy is too small.
    OutOfSpace,
}

impl core::fmt::Display for AcpiError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoXsdt => {
                f.write_str("ACPI: no XSDT; a firmware with ACPI 2.0 or later is needed")
            }
            Self::Malformed { table } => {
                write!(
                    f,
                    "ACPI: table {} is malformed; update the firmware",
                    table.escape_ascii()
                )
            }
            Self::NoMadt => {
                f.write_str("ACPI: no MADT; enable the local APICs in the firmware's setup")
            }
            Self::OutOfSpace => {
                f.write_str("ACPI: the copies of the tables do not fit; report this firmware")
            }
        }
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &b| sum.wrapping_add(b))
}

/// Sets the byte at `offset` so that all of `bytes` adds up to 0.
fn fix_checksum(bytes: &mut [u8], offset: usize) -> Option<()> {
    *bytes.get_mut(offset)? = 0;
    let rest = sum(bytes);
    *bytes.get_mut(offset)? = rest.wrapping_neg();
    Some(())
}

/// The address of the XSDT in a checked RSDP of [`RSDP_SIZE`] bytes.
pub fn xsdt_address(rsdp: &[u8]) -> Result<u64, AcpiError> {
    let malformed = AcpiError::Malformed { table: *b"RSD " };
    let rsdp = rsdp.get(..RSDP_SIZE).ok_or(malformed)?;
    if rsdp.get(..8) != Some(b"RSD PTR ") || sum(rsdp.get(..20).ok_or(malformed)?) != 0 {
        return Err(malformed);
    }
    if rsdp.get(15).is_none_or(|&revision| revision < 2) {
        return Err(AcpiError::NoXsdt);
    }
    if sum(rsdp) != 0 {
        return Err(malformed);
    }
    bytes::u64(rsdp, 24)
        .filter(|&address| address != 0)
        .ok_or(AcpiError::NoXsdt)
}

/// The length that the header of a table states, if the header is complete and has `signature`.
pub fn table_length(header: &[u8], signature: [u8; 4]) -> Result<usize, AcpiError> {
    let malformed = AcpiError::Malformed { table: signature };
    if bytes::array(header, 0) != Some(signature) {
        return Err(malformed);
    }
    let length = bytes::u32(header, 4).ok_or(malformed)? as usize;
    if length < HEADER_SIZE {
        Err(malformed)
    } else {
        Ok(length)
    }
}

/// Checks a whole table.
pub fn check_table(table: &[u8], signature: [u8; 4]) -> Result<(), AcpiError> {
    if table_length(table, signature)? != table.len() || sum(table) != 0 {
        return Err(AcpiError::Malformed { table: signature });
    }
    Ok(())
}

/// The addresses of the tables that an XSDT refers to.
pub fn xsdt_entries(xsdt: &[u8]) -> impl Iterator<Item = u64> {
    xsdt.get(HEADER_SIZE..)
        .unwrap_or(&[])
        .chunks_exact(8)
        .filter_map(|entry| bytes::u64(entry, 0))
}

/// The interrupt controller structures of a MADT.
fn madt_entries(madt: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = madt.get(MADT_ENTRIES..).unwrap_or(&[]);
    core::iter::from_fn(move || {
        let length = usize::from(*rest.get(1)?);
        let (entry, behind) = rest.split_at_checked(length.max(2))?;
        rest = behind;
        Some(entry)
    })
}

/// The local APIC ids of the enabled processors, in the order of the MADT.
pub fn madt_apic_ids(madt: &[u8]) -> impl Iterator<Item = u32> {
    madt_entries(madt).filter_map(|entry| match *entry.first()? {
        LOCAL_APIC if bytes::u32(entry, 4)? & ENABLED != 0 => entry.get(3).map(|&id| id.into()),
        LOCAL_X2APIC if bytes::u32(entry, 8)? & ENABLED != 0 => bytes::u32(entry, 4),
        _ => None,
    })
}

/// Writes to `out` a copy of `madt` with the mailbox at `mailbox`, in place of any other. Returns
/// its length; `madt.len() + WAKEUP_SIZE` always suffices.
pub fn madt_with_mailbox(madt: &[u8], mailbox: u64, out: &mut [u8]) -> Result<usize, AcpiError> {
    let write = |out: &mut [u8]| {
        let mut length = MADT_ENTRIES;
        bytes::put(out, 0, madt.get(..MADT_ENTRIES)?)?;
        for entry in madt_entries(madt).filter(|e| e.first() != Some(&MULTIPROCESSOR_WAKEUP)) {
            bytes::put(out, length, entry)?;
            length += entry.len();
        }
        let mut wakeup = [0; WAKEUP_SIZE];
        wakeup[0] = MULTIPROCESSOR_WAKEUP;
        wakeup[1] = WAKEUP_SIZE as u8;
        wakeup[8..].copy_from_slice(&mailbox.to_le_bytes());
        bytes::put(out, length, &wakeup)?;
        length += WAKEUP_SIZE;
        bytes::put(out, 4, &u32::try_from(length).ok()?.to_le_bytes())?;
        fix_checksum(out.get_mut(..length)?, 9)?;
        Some(length)
    };
    write(out).ok_or(AcpiError::OutOfSpace)
}

/// Writes to `out` a copy of `xsdt` that refers to `to` wherever it referred to `from`. Returns its
/// length, which is that of `xsdt`.
pub fn xsdt_with_entry(
    xsdt: &[u8],
    from: u64,
    to: u64,
    out: &mut [u8],
) -> Result<usize, AcpiError> {
    let copy = out.get_mut(..xsdt.len()).ok_or(AcpiError::OutOfSpace)?;
    copy.copy_from_slice(xsdt);
    for entry in copy
        .get_mut(HEADER_SIZE..)
        .unwrap_or(&mut [])
        .chunks_exact_mut(8)
    {
        if bytes::u64(entry, 0) == Some(from) {
            entry.copy_from_slice(&to.to_le_bytes());
        }
    }
    fix_checksum(copy, 9).ok_or(AcpiError::OutOfSpace)?;
    Ok(xsdt.len())
}

/// A copy of `rsdp` that refers to the XSDT at `xsdt` and to no RSDT, so that nobody finds the
/// tables as they were.
pub fn rsdp_with_xsdt(rsdp: &[u8; RSDP_SIZE], xsdt: u64) -> [u8; RSDP_SIZE] {
    let mut copy = *rsdp;
    copy[16..20].fill(0);
    copy[20..24].copy_from_slice(&(RSDP_SIZE as u32).to_le_bytes());
    copy[24..32].copy_from_slice(&xsdt.to_le_bytes());
    copy[8] = sum(&copy[..20]).wrapping_sub(copy[8]).wrapping_neg();
    copy[32] = sum(&copy).wrapping_sub(copy[32]).wrapping_neg();
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut table = std::vec![0; HEADER_SIZE];
        table[..4].copy_from_slice(signature);
        table.extend_from_slice(body);
        let length = table.len() as u32;
        table[4..8].copy_from_slice(&length.to_le_bytes());
        fix_checksum(&mut table, 9).unwrap();
        table
    }

    fn madt() -> Vec<u8> {
        let mut body = std::vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
        body.extend([0, 8, 0, 0, 1, 0, 0, 0]); // APIC id 0
        body.extend([0, 8, 1, 4, 1, 0, 0, 0]); // APIC id 4
        body.extend([0, 8, 2, 5, 2, 0, 0, 0]); // not there yet
        body.extend([1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]); // IOAPIC
        body.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]); // x2APIC id 0x100
        body.extend([0x10, 16, 0, 0, 0, 0, 0, 0, 0xad, 0xde, 0, 0, 0, 0, 0, 0]); // another mailbox
        table(b"APIC", &body)
    }

    fn rsdp() -> [u8; RSDP_SIZE] {
        let mut rsdp = [0; RSDP_SIZE];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        rsdp[15] = 2;
        rsdp[16..20].copy_from_slice(&0x1234u32.to_le_bytes());
        rsdp_with_xsdt(&rsdp, 0x7fe0_0000)
    }

    #[test]
    fn lists_enabled_processors() {
        assert_eq!(madt_apic_ids(&madt()).collect::<Vec<_>>(), [0, 4, 0x100]);
    }

    #[test]
    fn puts_the_mailbox_into_the_madt() {
        let madt = madt();
        check_table(&madt, *b"APIC").unwrap();
        let mut out = std::vec![0; madt.len() + WAKEUP_SIZE];
        let length = madt_with_mailbox(&madt, 0x1_2345_6000, &mut out).unwrap();
        let copy = &out[..length];
        check_table(copy, *b"APIC").unwrap();
        let mailboxes: Vec<_> = madt_entries(copy).filter(|e| e[0] == 0x10).collect();
        assert_eq!(mailboxes.len(), 1);
        assert_eq!(bytes::u64(mailboxes[0], 8), Some(0x1_2345_6000));
        assert_eq!(madt_apic_ids(copy).collect::<Vec<_>>(), [0, 4, 0x100]);
        assert_eq!(
            madt_with_mailbox(&madt, 0, &mut out[..60]),
            Err(AcpiError::OutOfSpace)
        );
    }

    #[test]
    fn redirects_one_table() {
        let mut body = Vec::new();
        for address in [0x1000u64, 0x2000, 0x3000] {
            body.extend(address.to_le_bytes());
        }
        let xsdt = table(b"XSDT", &body);
        let mut out = [0; 100];
        let length = xsdt_with_entry(&xsdt, 0x2000, 0x9000, &mut out).unwrap();
        check_table(&out[..length], *b"XSDT").unwrap();
        assert_eq!(
            xsdt_entries(&out[..length]).collect::<Vec<_>>(),
            [0x1000, 0x9000, 0x3000]
        );
    }

    #[test]
    fn reads_and_rebuilds_the_rsdp() {
        let rsdp = rsdp();
        assert_eq!(xsdt_address(&rsdp), Ok(0x7fe0_0000));
        assert_eq!(bytes::u32(&rsdp, 16), Some(0));
        let mut old = rsdp;
        old[15] = 0;
        fix_checksum(&mut old[..20], 8).unwrap();
        assert_eq!(xsdt_address(&old), Err(AcpiError::NoXsdt));
        let mut bad = rsdp;
        bad[9] ^= 1;
        assert!(matches!(
            xsdt_address(&bad),
            Err(AcpiError::Malformed { .. })
        ));
        assert!(xsdt_address(&rsdp[..35]).is_err());
    }

    #[test]
    fn a_madt_that_runs_over_its_end_is_cut() {
        let madt = madt();
        for length in 0..madt.len() {
            let _ = madt_apic_ids(&madt[..length]).count();
        }
        let mut zero = madt.clone();
        zero[MADT_ENTRIES + 1] = 0;
        let _ = madt_apic_ids(&zero).count();
    }
}
