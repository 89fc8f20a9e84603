//! How the drive and its disc are. Source: MMC-6 §6.6, §6.21, §6.9.

use super::{DvdUnit, Event};
use crate::action::{self, Action};
use crate::cdb::Cdb;
use crate::sense::Sense;

/// The only class of events that there are: media.
const MEDIA_CLASS: u8 = 4;
const NO_EVENT_AVAILABLE: u8 = 0x80;

/// GET EVENT STATUS NOTIFICATION, when asked and not when something happens.
pub fn event(unit: &mut DvdUnit, cdb: &Cdb) -> Result<Action, Sense> {
    if !cdb.bit(1, 0) {
        return Err(Sense::invalid_bit(1, 0));
    }
    let supported = 1 << MEDIA_CLASS;
    let bytes = if cdb.u8(4) & supported == 0 {
        vec![0, 2, NO_EVENT_AVAILABLE, supported]
    } else {
        let code = match unit.event {
            Event::None => 0,
            Event::Arrived => 2,
            Event::Removed => 3,
        };
        let present = u8::from(unit.medium.is_some()) << 1 | u8::from(unit.tray_open);
        // It is told once the guest has room for it.
        if cdb.u16(7) > 4 {
            unit.event = Event::None;
        }
        vec![0, 6, MEDIA_CLASS, supported, code, present, 0, 0]
    };
    action::data(bytes, cdb.u16(7).into())
}

/// READ DISC INFORMATION: one complete session with one track.
pub fn disc_information(cdb: &Cdb) -> Result<Action, Sense> {
    if cdb.u8(1) & 7 != 0 {
        return Err(Sense::invalid_bit(1, 2));
    }
    let mut bytes = vec![0; 34];
    // What follows, complete, and one of everything; use is not restricted.
    bytes[..8].copy_from_slice(&[0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
    // Where lead-in and lead-out of the last session start is not known.
    bytes[16..24].fill(0xff);
    action::data(bytes, cdb.u16(7).into())
}

/// MECHANISM STATUS: no changer, and whether the tray is out.
pub fn mechanism(unit: &DvdUnit, cdb: &Cdb) -> Result<Action, Sense> {
    let bytes = vec![0, u8::from(unit.tray_open) << 4, 0, 0, 0, 0, 0, 0];
    action::data(bytes, cdb.u16(8).into())
}
