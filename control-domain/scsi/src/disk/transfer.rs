//! READ, WRITE, VERIFY and WRITE SAME. Source: SBC-3 §5.

use super::DiskConfig;
use super::limits::MOST_FILL_BYTES;
use crate::action::{Action, GOOD, Range, Request};
use crate::cdb::Cdb;
use crate::opcode::Opcode;
use crate::sense::Sense;

/// Protection information, which these disks do not have.
const PROTECTION: u8 = 0xe0;
const FUA: u8 = 3;

/// The bytes that a command names, which have to lie on the disk.
pub fn range(config: &DiskConfig, cdb: &Cdb) -> Result<Range, Sense> {
    let (first, count) = cdb.blocks();
    blocks(config, first, count)
}

/// Bytes of some blocks, which have to lie on the disk.
pub fn blocks(config: &DiskConfig, first: u64, count: u64) -> Result<Range, Sense> {
    match first.checked_add(count) {
        Some(end) if end <= config.blocks => {}
        _ => return Err(Sense::OUT_OF_RANGE.about(first)),
    }
    let size = u64::from(config.block_size);
    match (first.checked_mul(size), count.checked_mul(size)) {
        (Some(offset), Some(length)) => Ok(Range { offset, length }),
        _ => Err(Sense::OUT_OF_RANGE.about(first)),
    }
}

fn transfer(config: &DiskConfig, cdb: &Cdb) -> Result<Range, Sense> {
    if !is_short(cdb) {
        cdb.must_be_clear(1, PROTECTION)?;
    }
    let range = range(config, cdb)?;
    match range.length > config.most_transfer.into() {
        true => Err(Sense::invalid_field(cdb.count_field())),
        false => Ok(range),
    }
}

/// The forms of 6 bytes have a part of the address where others have flags.
fn is_short(cdb: &Cdb) -> bool {
    cdb.opcode().0 < 0x20
}

pub fn read(config: &DiskConfig, cdb: &Cdb) -> Result<Action, Sense> {
    let range = transfer(config, cdb)?;
    Ok(unless_empty(range, Request::Read(range)))
}

pub fn write(config: &DiskConfig, cdb: &Cdb) -> Result<Action, Sense> {
    let range = transfer(config, cdb)?;
    writable(config)?;
    let with_verify = cdb.opcode() == Opcode::WRITE_AND_VERIFY_10;
    let durable = with_verify || !is_short(cdb) && cdb.bit(1, FUA);
    Ok(unless_empty(range, Request::Write { range, durable }))
}

/// With BYTCHK 1 the initiator sends what it expects; 3, one block for all, is optional (§5.29).
pub fn verify(config: &DiskConfig, cdb: &Cdb) -> Result<Action, Sense> {
    let compare = match cdb.u8(1) >> 1 & 3 {
        0 => false,
        1 => true,
        _ => return Err(Sense::invalid_bit(1, 2)),
    };
    let range = transfer(config, cdb)?;
    Ok(unless_empty(range, Request::Verify { range, compare }))
}

/// Whether a WRITE SAME means a block of zeros without sending it (NDOB).
pub fn without_data(cdb: &Cdb) -> bool {
    cdb.opcode() == Opcode::WRITE_SAME_16 && cdb.bit(1, 0)
}

/// The UNMAP bit is taken and the block is written all the same: what unmapped blocks read as is not
/// promised, and then only writing is right (§5.43).
pub fn write_same(config: &DiskConfig, cdb: &Cdb, parameters: &[u8]) -> Result<Action, Sense> {
    cdb.must_be_clear(1, PROTECTION | 0x10)?;
    let range = range(config, cdb)?;
    writable(config)?;
    if range.length == 0 || range.length > MOST_FILL_BYTES {
        return Err(Sense::invalid_field(cdb.count_field()));
    }
    let size = config.block_size as usize;
    let block = match without_data(cdb) {
        true => vec![0; size],
        false => match parameters.get(..size) {
            Some(block) => block.to_vec(),
            None => return Err(Sense::PARAMETER_LIST_LENGTH),
        },
    };
    Ok(Action::Medium(Request::Fill { range, block }))
}

pub fn writable(config: &DiskConfig) -> Result<(), Sense> {
    match config.read_only {
        true => Err(Sense::WRITE_PROTECTED),
        false => Ok(()),
    }
}

fn unless_empty(range: Range, request: Request) -> Action {
    match range.length {
        0 => GOOD,
        _ => Action::Medium(request),
    }
}
