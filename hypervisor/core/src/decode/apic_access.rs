//! Instructions that software uses on the local APIC's page: 32-bit moves, exchanges and the simple
//! arithmetic, with one operand in memory.

use super::encoding::Cursor;
use crate::hal::CodeMode;

/// The status flags that arithmetic sets: OF, SF, ZF, AF, PF, CF.
pub const STATUS_FLAGS: u64 = 0x8d5;

const CARRY: u64 = 1;
const PARITY: u64 = 1 << 2;
const ADJUST: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;

/// A decoded access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApicAccess {
    /// Length of the instruction in bytes.
    pub length: u8,
    /// What it does.
    pub operation: Operation,
}

/// What an access does with the 32 bits in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// MOV register, memory.
    Load(u8),
    /// MOV memory, operand.
    Store(Operand),
    /// XCHG memory, register.
    Exchange(u8),
    /// Arithmetic whose first operand, and result, is memory.
    ToMemory(Arithmetic, Operand),
    /// Arithmetic whose first operand, and result, is this register; the second is memory.
    ToRegister(Arithmetic, u8),
}

/// The operand that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A general-purpose register by its encoding.
    Register(u8),
    /// A constant.
    Immediate(u32),
}

/// Two-operand arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the manual's mnemonics")]
pub enum Arithmetic {
    Add,
    Or,
    And,
    Sub,
    Xor,
    /// SUB without a result.
    Cmp,
    /// AND without a result.
    Test,
}

impl Arithmetic {
    /// From bits 5:3 of the opcode or of ModRM. ADC and SBB are left to the vmm.
    const fn from_field(field: u8) -> Option<Self> {
        Some(match field & 7 {
            0 => Self::Add,
            1 => Self::Or,
            4 => Self::And,
            5 => Self::Sub,
            6 => Self::Xor,
            7 => Self::Cmp,
            _ => return None,
        })
    }

    const fn has_result(self) -> bool {
        !matches!(self, Self::Cmp | Self::Test)
    }

    /// The result and the status flags (AF is 0 where the manual leaves it undefined).
    pub fn apply(self, a: u32, b: u32) -> (u32, u64) {
        let (result, carry, overflow, adjust) = match self {
            Self::Add => {
                let (sum, carry) = a.overflowing_add(b);
                (sum, carry, (a ^ sum) & (b ^ sum), a ^ b ^ sum)
            }
            Self::Sub | Self::Cmp => {
                let (difference, borrow) = a.overflowing_sub(b);
                (
                    difference,
                    borrow,
                    (a ^ b) & (a ^ difference),
                    a ^ b ^ difference,
                )
            }
            Self::Or => (a | b, false, 0, 0),
            Self::Xor => (a ^ b, false, 0, 0),
            Self::And | Self::Test => (a & b, false, 0, 0),
        };
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        let flags = flag(carry, CARRY)
            | flag((result as u8).count_ones() & 1 == 0, PARITY)
            | flag(adjust & 0x10 != 0, ADJUST)
            | flag(result == 0, ZERO)
            | flag(result >> 31 != 0, SIGN)
            | flag(overflow >> 31 != 0, OVERFLOW);
        (result, flags)
    }
}

/// What is left to do after an access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Write this to the APIC register.
    pub store: Option<u32>,
    /// Set this general-purpose register, all 64 bits.
    pub register: Option<(u8, u64)>,
    /// Replace [`STATUS_FLAGS`] of RFLAGS by these.
    pub flags: Option<u64>,
}

impl ApicAccess {
    /// Does the access write memory? (CMP and TEST do not.)
    pub fn writes(&self) -> bool {
        match self.operation {
            Operation::Load(_) | Operation::ToRegister(..) => false,
            Operation::Store(_) | Operation::Exchange(_) => true,
            Operation::ToMemory(arithmetic, _) => arithmetic.has_result(),
        }
    }

    /// Computes the access. `memory` reads the APIC register and is called at most once, and not for
    /// plain stores; `gpr` reads a general-purpose register.
    pub fn resolve(&self, memory: impl FnOnce() -> u32, gpr: impl Fn(u8) -> u64) -> Outcome {
        let operand = |operand| match operand {
            Operand::Register(register) => gpr(register) as u32,
            Operand::Immediate(value) => value,
        };
        let mut outcome = Outcome::default();
        match self.operation {
            Operation::Load(register) => outcome.register = Some((register, u64::from(memory()))),
            Operation::Store(source) => outcome.store = Some(operand(source)),
            Operation::Exchange(register) => {
                outcome.store = Some(gpr(register) as u32);
                outcome.register = Some((register, u64::from(memory())));
            }
            Operation::ToMemory(arithmetic, source) => {
                let (result, flags) = arithmetic.apply(memory(), operand(source));
                outcome.store = arithmetic.has_result().then_some(result);
                outcome.flags = Some(flags);
            }
            Operation::ToRegister(arithmetic, register) => {
                let (result, flags) = arithmetic.apply(gpr(register) as u32, memory());
                outcome.register = arithmetic
                    .has_result()
                    .then_some((register, u64::from(result)));
                outcome.flags = Some(flags);
            }
        }
        outcome
    }
}

/// Decodes an access of 32 bits to memory. `None`: the instruction is another one (for the vmm's
/// emulator), illegal, or longer than `bytes`.
pub fn decode_apic_access(bytes: &[u8], mode: CodeMode) -> Option<ApicAccess> {
    let mut cursor = Cursor::new(bytes);
    let prefixes = cursor.prefixes(mode)?;
    if prefixes.operand_bytes(mode) != 4 {
        return None;
    }
    let opcode = cursor.byte()?;
    let operation = match opcode {
        0xa1 | 0xa3 => {
            cursor.number(prefixes.address_bytes(mode))?;
            if opcode == 0xa1 {
                Operation::Load(0)
            } else {
                Operation::Store(Operand::Register(0))
            }
        }
        0x89 | 0x8b | 0x87 | 0x85 | 0xc7 | 0x81 | 0x83 | 0xf7 | 0x00..=0x3f => {
            let short = opcode < 0x40;
            if short && !matches!(opcode & 7, 1 | 3) {
                return None;
            }
            let modrm = cursor.modrm(mode, &prefixes)?;
            if !modrm.is_memory {
                return None;
            }
            let register = modrm.register;
            // The group opcodes have an operation in the register field; REX.R does not count there.
            let group = register & 7;
            match opcode {
                0x89 => Operation::Store(Operand::Register(register)),
                0x8b => Operation::Load(register),
                0x87 => Operation::Exchange(register),
                0x85 => Operation::ToMemory(Arithmetic::Test, Operand::Register(register)),
                0xc7 if group == 0 => {
                    Operation::Store(Operand::Immediate(cursor.number(4)? as u32))
                }
                0xf7 if group == 0 => Operation::ToMemory(
                    Arithmetic::Test,
                    Operand::Immediate(cursor.number(4)? as u32),
                ),
                0x81 => Operation::ToMemory(
                    Arithmetic::from_field(group)?,
                    Operand::Immediate(cursor.number(4)? as u32),
                ),
                0x83 => Operation::ToMemory(
                    Arithmetic::from_field(group)?,
                    Operand::Immediate(cursor.byte()? as i8 as u32),
                ),
                _ if short && opcode & 7 == 1 => Operation::ToMemory(
                    Arithmetic::from_field(opcode >> 3)?,
                    Operand::Register(register),
                ),
                _ if short => Operation::ToRegister(Arithmetic::from_field(opcode >> 3)?, register),
                _ => return None,
            }
        }
        _ => return None,
    };
    let access = ApicAccess {
        length: cursor.position(),
        operation,
    };
    let lockable =
        matches!(operation, Operation::Exchange(_) | Operation::ToMemory(..)) && access.writes();
    if prefixes.lock && !lockable {
        None
    } else {
        Some(access)
    }
}
