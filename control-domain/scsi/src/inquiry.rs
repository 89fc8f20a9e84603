//! INQUIRY: what a unit says of itself. Source: SPC-4 §6.6 and §7.8.

use crate::action::{self, Action};
use crate::cdb::Cdb;
use crate::identity::Identity;
use crate::sense::Sense;

const VENDOR: &[u8; 8] = b"Msft    ";
const REVISION: &[u8; 4] = b"1.0 ";
/// SPC-3, as Hyper-V says.
const VERSION: u8 = 0x05;
/// A unit that is not there and can't be.
const NOTHING_HERE: u8 = 0x7f;

/// What differs between the kinds of units.
pub(crate) struct Description<'a> {
    /// Peripheral device type.
    pub device_type: u8,
    pub removable: bool,
    pub product: &'a [u8; 16],
    pub identity: Identity,
    /// Pages that only this kind has, ascending, with their contents.
    pub pages: Vec<(u8, Vec<u8>)>,
}

/// Answers INQUIRY for a unit, or for none.
pub(crate) fn inquiry(cdb: &Cdb, unit: Option<&Description<'_>>) -> Result<Action, Sense> {
    cdb.must_be_clear(1, 0xfe)?;
    let (vital_product_data, page) = (cdb.bit(1, 0), cdb.u8(2));
    let bytes = match (vital_product_data, unit) {
        (false, _) if page != 0 => return Err(Sense::invalid_field(2)),
        (false, unit) => standard(unit),
        (true, None) => return Err(Sense::NO_UNIT),
        (true, Some(unit)) => vital(unit, page)?,
    };
    action::data(bytes, cdb.u16(3).into())
}

/// §6.6.2.
fn standard(unit: Option<&Description<'_>>) -> Vec<u8> {
    let (device_type, removable, product) = match unit {
        Some(unit) => (unit.device_type, unit.removable, *unit.product),
        None => (NOTHING_HERE, false, *b"Virtual Disk    "),
    };
    // Response format 2; 31 bytes follow byte 4; commands are queued.
    let mut bytes = vec![
        device_type,
        u8::from(removable) << 7,
        VERSION,
        2,
        31,
        0,
        0,
        2,
    ];
    bytes.extend(VENDOR);
    bytes.extend(product);
    bytes.extend(REVISION);
    bytes
}

fn vital(unit: &Description<'_>, page: u8) -> Result<Vec<u8>, Sense> {
    let contents = match page {
        0x00 => {
            let own = unit.pages.iter().map(|(page, _)| *page);
            [0x00, 0x80, 0x83].into_iter().chain(own).collect()
        }
        0x80 => unit.identity.serial_number().into_bytes(),
        0x83 => identification(unit),
        _ => match unit.pages.iter().find(|(number, _)| *number == page) {
            Some((_, contents)) => contents.clone(),
            None => return Err(Sense::invalid_field(2)),
        },
    };
    let mut bytes = vec![unit.device_type, page];
    bytes.extend((contents.len() as u16).to_be_bytes());
    bytes.extend(contents);
    Ok(bytes)
}

/// Two names of the unit: NAA in binary, and vendor with serial number in ASCII (§7.8.6).
fn identification(unit: &Description<'_>) -> Vec<u8> {
    let mut contents = vec![0x01, 0x03, 0, 16];
    contents.extend(unit.identity.worldwide_name());
    let serial = unit.identity.serial_number();
    contents.extend([0x02, 0x01, 0, (VENDOR.len() + serial.len()) as u8]);
    contents.extend(VENDOR);
    contents.extend(serial.bytes());
    contents
}
