//! UNMAP and its parameter list. Source: SBC-3 §5.28.

use super::DiskConfig;
use super::limits::{MOST_UNMAP_BLOCKS, MOST_UNMAP_RANGES};
use super::transfer::{blocks, writable};
use crate::action::{Action, GOOD, Request};
use crate::cdb::Cdb;
use crate::sense::Sense;

const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

pub fn unmap(config: &DiskConfig, cdb: &Cdb, parameters: &[u8]) -> Result<Action, Sense> {
    if !config.thin {
        return Err(Sense::INVALID_OPCODE);
    }
    // Anchored blocks are not supported.
    cdb.must_be_clear(1, 0x01)?;
    writable(config)?;
    let length = usize::from(cdb.u16(7));
    if length == 0 {
        return Ok(GOOD);
    }
    let list = parameters
        .get(..length)
        .ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let header = list.get(..HEADER).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let descriptors_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // A list may be cut, but not inside of a descriptor that it announces as whole.
    let end = (HEADER + descriptors_length).min(list.len());
    let mut ranges = Vec::new();
    let mut total = 0;
    for (i, descriptor) in list[HEADER..end].chunks_exact(DESCRIPTOR).enumerate() {
        let at = HEADER + i * DESCRIPTOR;
        let (first, count) = parse(descriptor);
        let range = blocks(config, first, count.into())?;
        total += u64::from(count);
        if total > MOST_UNMAP_BLOCKS.into() || i >= MOST_UNMAP_RANGES as usize {
            return Err(Sense::invalid_parameter(at));
        }
        if count > 0 {
            ranges.push(range);
        }
    }
    Ok(match ranges.is_empty() {
        true => GOOD,
        false => Action::Medium(Request::Discard(ranges)),
    })
}

fn parse(descriptor: &[u8]) -> (u64, u32) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    (number(&descriptor[..8]), number(&descriptor[8..12]) as u32)
}
