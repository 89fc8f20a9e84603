//! A command descriptor block and its fields, which are big-endian.

use crate::opcode::Opcode;
use crate::sense::Sense;

/// Longest command that a unit takes, in bytes.
const MOST_BYTES: usize = 16;

/// A command whose bytes are all there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cdb {
    bytes: [u8; MOST_BYTES],
}

impl Cdb {
    /// Takes a command as it arrived; bytes behind its length are ignored.
    ///
    /// # Errors
    /// If its operation code has no length here, or bytes are missing.
    pub fn new(given: &[u8]) -> Result<Self, Sense> {
        let opcode = Opcode(*given.first().ok_or(Sense::INVALID_OPCODE)?);
        let length = opcode.command_length().ok_or(Sense::INVALID_OPCODE)?;
        let command = given.get(..length).ok_or(Sense::INVALID_FIELD)?;
        let mut bytes = [0; MOST_BYTES];
        bytes[..length].copy_from_slice(command);
        Ok(Self { bytes })
    }

    pub fn opcode(&self) -> Opcode {
        Opcode(self.bytes[0])
    }

    pub fn u8(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    pub fn u24(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, self.bytes[at], self.bytes[at + 1], self.bytes[at + 2]])
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }

    pub fn bit(&self, at: usize, bit: u8) -> bool {
        self.bytes[at] >> bit & 1 != 0
    }

    /// Refuses the command if any bit of `mask` is set in byte `at`, and points there.
    pub fn must_be_clear(&self, at: usize, mask: u8) -> Result<(), Sense> {
        match self.bytes[at] & mask {
            0 => Ok(()),
            set => Err(Sense::invalid_bit(at, (7 - set.leading_zeros()) as u8)),
        }
    }

    /// First logical block and number of blocks, by the command's length (SPC-4 §4.2.5). The forms of 6
    /// bytes mean 256 when they say 0.
    pub fn blocks(&self) -> (u64, u64) {
        match self.opcode().0 >> 5 {
            0 => match self.u8(4) {
                0 => (u64::from(self.u24(1) & 0x1f_ffff), 256),
                count => (u64::from(self.u24(1) & 0x1f_ffff), count.into()),
            },
            4 => (self.u64(2), self.u32(10).into()),
            5 => (self.u32(2).into(), self.u32(6).into()),
            _ => (self.u32(2).into(), self.u16(7).into()),
        }
    }

    /// Where the number of blocks stands, for pointing at it.
    pub fn count_field(&self) -> usize {
        match self.opcode().0 >> 5 {
            0 => 4,
            4 => 10,
            5 => 6,
            _ => 7,
        }
    }
}
