//! Mode pages of a disk. Source: SBC-3 §6.4, SPC-4 §7.5.

use super::DiskConfig;
use crate::mode::Modes;

const WRITE_PROTECTED: u8 = 0x80;
/// READ and WRITE know DPO and FUA.
const DPO_FUA: u8 = 0x10;
const WRITE_CACHE: u8 = 0x04;

/// The settings of a disk: there is a write cache, so that the guest flushes.
pub fn modes(config: &DiskConfig) -> Modes {
    let mut caching = vec![0; 18];
    caching[0] = WRITE_CACHE;
    let mut control = vec![0; 10];
    // Commands may be reordered without limits.
    control[1] = 0x10;
    Modes {
        medium_type: 0,
        device_specific: DPO_FUA | if config.read_only { WRITE_PROTECTED } else { 0 },
        blocks: Some((config.blocks, config.block_size)),
        // Error recovery, caching, control, informational exceptions.
        pages: vec![
            (0x01, vec![0; 10]),
            (0x08, caching),
            (0x0a, control),
            (0x1c, vec![0; 10]),
        ],
    }
}
