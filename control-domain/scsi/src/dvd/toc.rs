//! READ TOC/PMA/ATIP: one data track. Source: MMC-6 §6.26.

use crate::action::{self, Action};
use crate::cdb::Cdb;
use crate::sense::Sense;

/// A data track that was written at once.
const DATA_TRACK: u8 = 0x14;
const LEAD_OUT: u8 = 0xaa;
/// Blocks before the first, in minutes, seconds and frames: two seconds.
const LEAD_IN_FRAMES: u32 = 150;
const FRAMES_PER_SECOND: u32 = 75;

pub fn read_toc(blocks: u32, cdb: &Cdb) -> Result<Action, Sense> {
    let minutes = cdb.bit(1, 1);
    // Old initiators have the format in the last byte.
    let format = match cdb.u8(2) & 0x0f {
        0 => cdb.u8(9) >> 6,
        format => format,
    };
    let entries: Vec<(u8, u32)> = match (format, cdb.u8(6)) {
        (0, 0 | 1) => vec![(1, 0), (LEAD_OUT, blocks)],
        (0, LEAD_OUT) => vec![(LEAD_OUT, blocks)],
        (0, _) => return Err(Sense::invalid_field(6)),
        // The only session starts with the only track.
        (1, _) => vec![(1, 0)],
        _ => return Err(Sense::invalid_bit(2, 3)),
    };
    let mut bytes = (2 + 8 * entries.len() as u16).to_be_bytes().to_vec();
    bytes.extend([1, 1]);
    for (track, block) in entries {
        bytes.extend([0, DATA_TRACK, track, 0]);
        bytes.extend(match minutes {
            true => minutes_seconds_frames(block),
            false => block.to_be_bytes(),
        });
    }
    action::data(bytes, cdb.u16(7).into())
}

/// §4.1.2; a disc that is larger than this can say has the largest.
fn minutes_seconds_frames(block: u32) -> [u8; 4] {
    let frames = block.saturating_add(LEAD_IN_FRAMES);
    let (seconds, frame) = (frames / FRAMES_PER_SECOND, frames % FRAMES_PER_SECOND);
    match u8::try_from(seconds / 60) {
        Ok(minute) => [0, minute, (seconds % 60) as u8, frame as u8],
        Err(_) => [0, 255, 59, 74],
    }
}
