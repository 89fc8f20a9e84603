//! READ CAPACITY. Source: SBC-3 §5.15, §5.16.

use super::DiskConfig;
use crate::action::{self, Action};
use crate::cdb::Cdb;
use crate::sense::Sense;

const READ_CAPACITY_16: u8 = 0x10;
/// Logical blocks may be unmapped (LBPME). What they read then is not said (LBPRZ is clear).
const THIN: u8 = 0x80;

/// The form of 10 bytes: a disk that is too large for it says so by all ones.
pub fn short(config: &DiskConfig, cdb: &Cdb) -> Result<Action, Sense> {
    if cdb.u32(2) != 0 {
        return Err(Sense::invalid_field(2));
    }
    let last = u32::try_from(last_block(config)).unwrap_or(u32::MAX);
    let mut bytes = last.to_be_bytes().to_vec();
    bytes.extend(config.block_size.to_be_bytes());
    action::data(bytes, 8)
}

/// The form of 16 bytes.
pub fn long(config: &DiskConfig, cdb: &Cdb) -> Result<Action, Sense> {
    if cdb.u8(1) & 0x1f != READ_CAPACITY_16 {
        return Err(Sense::invalid_bit(1, 4));
    }
    let mut bytes = last_block(config).to_be_bytes().to_vec();
    bytes.extend(config.block_size.to_be_bytes());
    let ratio = config.physical_block_size / config.block_size.max(1);
    bytes.extend([0, ratio.max(1).ilog2() as u8]);
    bytes.push(if config.thin { THIN } else { 0 });
    bytes.resize(32, 0);
    action::data(bytes, cdb.u32(10) as usize)
}

fn last_block(config: &DiskConfig) -> u64 {
    config.blocks.saturating_sub(1)
}
