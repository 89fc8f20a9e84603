//! GET CONFIGURATION: features and profiles. Source: MMC-6 §6.5 and §5.

use crate::action::{self, Action};
use crate::cdb::Cdb;
use crate::sense::Sense;

const PROFILE_CD_ROM: u16 = 0x0008;
const PROFILE_DVD_ROM: u16 = 0x0010;

/// A feature: number, version, whether it stays whatever the medium, and its data.
struct Feature {
    number: u16,
    version: u8,
    persistent: bool,
    needs_medium: bool,
    data: Vec<u8>,
}

fn features(has_medium: bool) -> Vec<Feature> {
    let feature = |number, version, persistent, needs_medium, data: &[u8]| Feature {
        number,
        version,
        persistent,
        needs_medium,
        data: data.to_vec(),
    };
    let mut profiles = Vec::new();
    for profile in [PROFILE_DVD_ROM, PROFILE_CD_ROM] {
        profiles.extend(profile.to_be_bytes());
        profiles.extend([u8::from(has_medium && profile == PROFILE_DVD_ROM), 0]);
    }
    vec![
        // Profile list.
        feature(0x0000, 0, true, false, &profiles),
        // Core: SCSI; the INQUIRY format of SPC, device busy events are not there.
        feature(0x0001, 2, true, false, &[0, 0, 0, 1, 1, 0, 0, 0]),
        // Morphing.
        feature(0x0002, 1, true, false, &[0, 0, 0, 0]),
        // Removable medium: a tray, can eject, can be locked.
        feature(0x0003, 0, true, false, &[0x29, 0, 0, 0]),
        // Random readable: 2,048 bytes, one block at a time.
        feature(0x0010, 0, false, true, &[0, 0, 8, 0, 0, 1, 0, 0]),
        // DVD read.
        feature(0x001f, 0, false, true, &[]),
    ]
}

pub fn get(has_medium: bool, cdb: &Cdb) -> Result<Action, Sense> {
    let from = cdb.u16(2);
    let wanted = |feature: &Feature| match cdb.u8(1) & 3 {
        0 => Ok(feature.number >= from),
        1 => Ok(feature.number >= from && (has_medium || !feature.needs_medium)),
        2 => Ok(feature.number == from),
        _ => Err(Sense::invalid_bit(1, 1)),
    };
    let mut body = Vec::new();
    for feature in features(has_medium) {
        if !wanted(&feature)? {
            continue;
        }
        let current = has_medium || !feature.needs_medium;
        body.extend(feature.number.to_be_bytes());
        body.push(feature.version << 2 | u8::from(feature.persistent) << 1 | u8::from(current));
        body.push(feature.data.len() as u8);
        body.extend(feature.data);
    }
    let profile = if has_medium { PROFILE_DVD_ROM } else { 0 };
    // The length counts what follows it.
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(profile.to_be_bytes());
    bytes.extend(body);
    action::data(bytes, cdb.u16(7).into())
}
