//! Prefixes and operand bytes of x86 instructions (SDM vol. 2 ch. 2).

use super::MAX_LENGTH;
use crate::hal::CodeMode;

/// Reads an instruction from its start. Every read is `None` behind the bytes that are there, and
/// behind the longest legal instruction.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// The prefixes in front of an opcode.
#[derive(Clone, Copy, Default)]
pub struct Prefixes {
    /// 66.
    pub operand_size: bool,
    /// 67.
    pub address_size: bool,
    /// F0.
    pub lock: bool,
    /// The last of F2 and F3 was F3.
    pub rep: bool,
    /// REX, 0 if there is none that counts.
    pub rex: u8,
}

impl Prefixes {
    /// Operand size in bytes of instructions that have no 8-bit form and no 64-bit default.
    pub fn operand_bytes(&self, mode: CodeMode) -> u8 {
        if self.rex & 8 != 0 {
            return 8;
        }
        if (mode == CodeMode::Bits16) == self.operand_size {
            4
        } else {
            2
        }
    }

    /// Address size in bytes.
    pub fn address_bytes(&self, mode: CodeMode) -> u8 {
        match (mode, self.address_size) {
            (CodeMode::Bits64, false) => 8,
            (CodeMode::Bits64, true) | (CodeMode::Bits32, false) | (CodeMode::Bits16, true) => 4,
            (CodeMode::Bits32, true) | (CodeMode::Bits16, false) => 2,
        }
    }
}

/// A ModRM byte with its addressing bytes read.
#[derive(Clone, Copy)]
pub struct ModRm {
    /// The register field with REX.R, 0 to 15.
    pub register: u8,
    /// The other operand is in memory.
    pub is_memory: bool,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        let length = bytes.len().min(MAX_LENGTH);
        Self {
            bytes: bytes.get(..length).unwrap_or(bytes),
            position: 0,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u8 {
        self.position as u8
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    /// A little-endian number of `count` bytes, at most 8.
    pub fn number(&mut self, count: u8) -> Option<u64> {
        let mut value = 0;
        for i in 0..u32::from(count) {
            value |= u64::from(self.byte()?) << (8 * (i & 7));
        }
        Some(value)
    }

    /// All prefixes. A REX prefix counts only directly in front of the opcode.
    pub fn prefixes(&mut self, mode: CodeMode) -> Option<Prefixes> {
        let mut prefixes = Prefixes::default();
        loop {
            let byte = *self.bytes.get(self.position)?;
            match byte {
                0x66 => prefixes.operand_size = true,
                0x67 => prefixes.address_size = true,
                0xf0 => prefixes.lock = true,
                0xf2 => prefixes.rep = false,
                0xf3 => prefixes.rep = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
                0x40..=0x4f if mode == CodeMode::Bits64 => {
                    prefixes.rex = byte;
                    self.position += 1;
                    continue;
                }
                _ => return Some(prefixes),
            }
            prefixes.rex = 0;
            self.position += 1;
        }
    }

    /// ModRM, SIB and displacement.
    pub fn modrm(&mut self, mode: CodeMode, prefixes: &Prefixes) -> Option<ModRm> {
        let byte = self.byte()?;
        let (kind, rm) = (byte >> 6, byte & 7);
        let result = ModRm {
            register: byte >> 3 & 7 | (prefixes.rex & 4) << 1,
            is_memory: kind != 3,
        };
        let displacement = if kind == 3 {
            0
        } else if prefixes.address_bytes(mode) == 2 {
            match (kind, rm) {
                (0, 6) | (2, _) => 2,
                (1, _) => 1,
                _ => 0,
            }
        } else {
            let base = if rm == 4 { self.byte()? & 7 } else { rm };
            match (kind, base) {
                (0, 5) | (2, _) => 4,
                (1, _) => 1,
                _ => 0,
            }
        };
        self.number(displacement)?;
        Some(result)
    }
}
