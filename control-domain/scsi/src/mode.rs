//! MODE SENSE: a unit's settings, none of which can be changed. Source: SPC-4 §6.13, §6.14, §7.5.

use crate::action::{self, Action};
use crate::cdb::Cdb;
use crate::opcode::Opcode;
use crate::sense::Sense;

const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;

/// The settings of a unit.
pub(crate) struct Modes {
    pub medium_type: u8,
    pub device_specific: u8,
    /// Number of blocks and their length, for the block descriptor, if this kind of unit has one.
    pub blocks: Option<(u64, u32)>,
    /// Pages, ascending: page code and what follows its length.
    pub pages: Vec<(u8, Vec<u8>)>,
}

impl Modes {
    /// Answers either form of MODE SENSE.
    pub fn sense(&self, cdb: &Cdb) -> Result<Action, Sense> {
        let long = cdb.opcode() == Opcode::MODE_SENSE_10;
        let (control, page, subpage) = (cdb.u8(2) >> 6, cdb.u8(2) & 0x3f, cdb.u8(3));
        let pages = self.pages(page, subpage)?;
        let changeable = match control {
            3 => return Err(Sense::SAVING_NOT_SUPPORTED),
            control => control == 1,
        };
        let long_blocks = long && cdb.bit(1, 4);
        let descriptor = match self.blocks {
            Some((count, length)) if !cdb.bit(1, 3) => descriptor(count, length, long_blocks),
            _ => Vec::new(),
        };
        let mut body = descriptor.clone();
        for (code, contents) in pages {
            body.extend([*code, contents.len() as u8]);
            match changeable {
                true => body.resize(body.len() + contents.len(), 0),
                false => body.extend(contents),
            }
        }
        let mut bytes = Vec::new();
        if long {
            bytes.extend((body.len() as u16 + 6).to_be_bytes());
            bytes.extend([
                self.medium_type,
                self.device_specific,
                long_blocks.into(),
                0,
            ]);
            bytes.extend((descriptor.len() as u16).to_be_bytes());
        } else {
            let length = (body.len() + 3).min(255) as u8;
            bytes.extend([length, self.medium_type, self.device_specific]);
            bytes.push(descriptor.len() as u8);
        }
        bytes.extend(body);
        let allocation_length = if long { cdb.u16(7) } else { cdb.u8(4).into() };
        action::data(bytes, allocation_length.into())
    }

    fn pages(&self, page: u8, subpage: u8) -> Result<&[(u8, Vec<u8>)], Sense> {
        let all = page == ALL_PAGES;
        if subpage != 0 && !(subpage == ALL_SUBPAGES && all) {
            return Err(Sense::invalid_field(3));
        }
        if all {
            return Ok(&self.pages);
        }
        let at = self.pages.iter().position(|(code, _)| *code == page);
        let at = at.ok_or(Sense::invalid_bit(2, 5))?;
        Ok(&self.pages[at..=at])
    }
}

/// SBC-3 §6.4.2: the short form, or the long one that holds 64 bits.
fn descriptor(count: u64, length: u32, long: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if long {
        bytes.extend(count.to_be_bytes());
        bytes.extend([0; 4]);
    } else {
        bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
    }
    // In the short form the length has 24 bits, below a byte that is reserved: the same four bytes.
    bytes.extend(length.to_be_bytes());
    bytes
}
