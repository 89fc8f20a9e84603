//! A small decoder: the length of an instruction that exited, and the meaning of one that touched
//! the local APIC's page.
//!
//! Some processors do not say how long the exiting instruction was. What it is, the exit has said
//! already; so this decoder only has to find its end. It never decides what an instruction does,
//! except for the few that software uses on the APIC page; the vmm emulates all others.

mod apic_access;
mod encoding;

pub use apic_access::{
    ApicAccess, Arithmetic, Operand, Operation, Outcome, STATUS_FLAGS, decode_apic_access,
};

use crate::hal::CodeMode;
use encoding::Cursor;

/// No instruction is longer, in bytes.
pub const MAX_LENGTH: usize = 15;

/// Instructions that can exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the manuals' mnemonics")]
pub enum Instruction {
    Cpuid,
    Rdmsr,
    Wrmsr,
    Vmmcall,
    Vmcall,
    Hlt,
    Xsetbv,
    Invd,
    /// WBINVD and WBNOINVD.
    Wbinvd,
    Pause,
    Rdtsc,
    Rdtscp,
    Rdpmc,
    Monitor,
    Mwait,
    Invlpg,
    Invlpga,
    Vmrun,
    Vmload,
    Vmsave,
    Stgi,
    Clgi,
    Skinit,
}

impl Instruction {
    /// The opcode behind the prefixes.
    #[inline]
    const fn opcode(self) -> &'static [u8] {
        match self {
            Self::Cpuid => &[0x0f, 0xa2],
            Self::Rdmsr => &[0x0f, 0x32],
            Self::Wrmsr => &[0x0f, 0x30],
            Self::Vmmcall => &[0x0f, 0x01, 0xd9],
            Self::Vmcall => &[0x0f, 0x01, 0xc1],
            Self::Hlt => &[0xf4],
            Self::Xsetbv => &[0x0f, 0x01, 0xd1],
            Self::Invd => &[0x0f, 0x08],
            Self::Wbinvd => &[0x0f, 0x09],
            Self::Pause => &[0x90],
            Self::Rdtsc => &[0x0f, 0x31],
            Self::Rdtscp => &[0x0f, 0x01, 0xf9],
            Self::Rdpmc => &[0x0f, 0x33],
            Self::Monitor => &[0x0f, 0x01, 0xc8],
            Self::Mwait => &[0x0f, 0x01, 0xc9],
            Self::Invlpg => &[0x0f, 0x01],
            Self::Invlpga => &[0x0f, 0x01, 0xdf],
            Self::Vmrun => &[0x0f, 0x01, 0xd8],
            Self::Vmload => &[0x0f, 0x01, 0xda],
            Self::Vmsave => &[0x0f, 0x01, 0xdb],
            Self::Stgi => &[0x0f, 0x01, 0xdc],
            Self::Clgi => &[0x0f, 0x01, 0xdd],
            Self::Skinit => &[0x0f, 0x01, 0xde],
        }
    }

    /// The whole instruction, where it needs neither a prefix nor an operand.
    #[inline]
    pub(crate) const fn without_prefixes(self) -> Option<&'static [u8]> {
        match self {
            Self::Pause | Self::Invlpg => None,
            _ => Some(self.opcode()),
        }
    }
}

/// The length in bytes of the instruction at the start of `bytes`, prefixes included. `None`: the
/// bytes are not `expected`, end too early, or carry a LOCK prefix, which makes it #UD. Up to 15
/// bytes are looked at.
#[inline]
pub fn instruction_length(bytes: &[u8], mode: CodeMode, expected: Instruction) -> Option<u8> {
    if let Some(opcode) = expected.without_prefixes()
        && bytes.starts_with(opcode)
    {
        return Some(opcode.len() as u8);
    }
    prefixed_length(bytes, mode, expected)
}

fn prefixed_length(bytes: &[u8], mode: CodeMode, expected: Instruction) -> Option<u8> {
    let mut cursor = Cursor::new(bytes);
    let prefixes = cursor.prefixes(mode)?;
    if prefixes.lock {
        return None;
    }
    for &byte in expected.opcode() {
        if cursor.byte()? != byte {
            return None;
        }
    }
    match expected {
        // Without REP it is NOP, or with REX.B an exchange.
        Instruction::Pause if !prefixes.rep => return None,
        Instruction::Invlpg => {
            let modrm = cursor.modrm(mode, &prefixes)?;
            if modrm.register & 7 != 7 || !modrm.is_memory {
                return None;
            }
        }
        _ => {}
    }
    Some(cursor.position())
}

#[cfg(test)]
mod tests;
