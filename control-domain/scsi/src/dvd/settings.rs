//! Mode pages of a drive. Source: MMC-6 §7, MMC-3 §6.3.11 for page 2A, which Linux still asks.

use super::DvdUnit;
use crate::mode::Modes;

/// Speed in kB/s: 16 × DVD. No one waits for it.
const SPEED: u16 = 22_160;

pub fn modes(unit: &DvdUnit) -> Modes {
    let mut capabilities = vec![0; 22];
    // Reads DVD-ROM, CD-R and CD-RW.
    capabilities[0] = 0x0b;
    // Mode 2 forms 1 and 2, multi-session.
    capabilities[2] = 0x70;
    // A tray that ejects and locks; whether it is locked.
    capabilities[4] = 0x29 | u8::from(unit.locked) << 1;
    capabilities[6..8].copy_from_slice(&SPEED.to_be_bytes());
    capabilities[12..14].copy_from_slice(&SPEED.to_be_bytes());
    let mut timeouts = vec![0; 10];
    // Seconds until the motor stops and until a command has to be through.
    timeouts[7] = 0x3c;
    timeouts[9] = 0xf0;
    Modes {
        medium_type: 0,
        device_specific: 0,
        blocks: None,
        // Error recovery, power, time-outs, capabilities.
        pages: vec![
            (0x01, vec![0; 10]),
            (0x1a, vec![0; 10]),
            (0x1d, timeouts),
            (0x2a, capabilities),
        ],
    }
}
