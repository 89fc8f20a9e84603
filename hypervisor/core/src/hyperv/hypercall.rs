//! Hypercalls of a guest (TLFS, Hypercall Interface): the page that makes them, how they arrive and
//! what answers them.

use crate::hal::CodeMode;
use hypervisor_abi::Vendor;

/// HV_STATUS values (TLFS, HV_STATUS).
pub mod status {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const SUCCESS: u64 = 0;
    pub const INVALID_HYPERCALL_CODE: u64 = 2;
    pub const INVALID_HYPERCALL_INPUT: u64 = 3;
    pub const INVALID_ALIGNMENT: u64 = 4;
}

/// HvPostMessage.
pub const POST_MESSAGE: u16 = 0x5c;
/// HvSignalEvent.
pub const SIGNAL_EVENT: u16 = 0x5d;

const FAST: u64 = 1 << 16;
/// Variable header size, nested, and the reserved bits: 0 in all calls that exist here.
const MUST_BE_ZERO: u64 = 0xf000_f000_fffe_0000;
/// Repetition count and start: 0 in calls that do not repeat.
const REPETITION: u64 = 0x0fff_0fff_0000_0000;

/// A hypercall as the guest made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hypercall {
    /// The input value.
    pub input: u64,
    /// Address of the input parameters, or the parameters of a fast call.
    pub first: u64,
    /// Address of the output parameters, or more parameters of a fast call.
    pub second: u64,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HypercallAnswer {
    /// Done: put this result value into RAX, or EDX:EAX outside 64-bit mode.
    Done(u64),
    /// The vmm answers: input value, first and second parameter.
    ToVmm([u64; 3]),
    /// #UD.
    InvalidOpcode,
}

impl Hypercall {
    /// From the registers (0 RAX to 15 R15): RCX, RDX, R8 in 64-bit mode, else EDX:EAX, EBX:ECX,
    /// EDI:ESI.
    pub fn from_registers(gpr: impl Fn(usize) -> u64, mode: CodeMode) -> Self {
        if mode == CodeMode::Bits64 {
            return Self {
                input: gpr(1),
                first: gpr(2),
                second: gpr(8),
            };
        }
        let pair = |high, low| gpr(high) << 32 | gpr(low) & 0xffff_ffff;
        Self {
            input: pair(2, 0),
            first: pair(3, 1),
            second: pair(7, 6),
        }
    }

    /// The call code.
    pub const fn code(&self) -> u16 {
        self.input as u16
    }

    /// Are the parameters in registers?
    pub const fn is_fast(&self) -> bool {
        self.input & FAST != 0
    }

    /// Answers the call, or finds it fit for the vmm.
    pub fn answer(&self) -> HypercallAnswer {
        let parameter_bytes = match self.code() {
            POST_MESSAGE if self.is_fast() => {
                return HypercallAnswer::Done(status::INVALID_HYPERCALL_INPUT);
            }
            POST_MESSAGE => 256,
            SIGNAL_EVENT => 8,
            _ => return HypercallAnswer::Done(status::INVALID_HYPERCALL_CODE),
        };
        if self.input & (MUST_BE_ZERO | REPETITION) != 0 {
            return HypercallAnswer::Done(status::INVALID_HYPERCALL_INPUT);
        }
        let misplaced = self.first & 7 != 0 || (self.first & 0xfff) + parameter_bytes > 0x1000;
        if !self.is_fast() && misplaced {
            return HypercallAnswer::Done(status::INVALID_ALIGNMENT);
        }
        HypercallAnswer::ToVmm([self.input, self.first, self.second])
    }
}

/// The bytes of the hypercall page; what follows them is INT3. They are the same in 32-bit and
/// 64-bit code and never change while the machine lives: guests measure them.
pub const fn page(vendor: Vendor) -> [u8; 8] {
    let last = match vendor {
        Vendor::Svm => 0xd9,
        Vendor::Vmx => 0xc1,
    };
    // ENDBR64 (a no-operation in 32-bit code); VMMCALL or VMCALL; RET
    [0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x01, last, 0xc3]
}

/// Byte of the hypercall page behind its code: INT3.
pub const PAGE_FILL: u8 = 0xcc;

/// Word `index`, 0 to 511, of the hypercall page.
pub const fn page_word(vendor: Vendor, index: usize) -> u64 {
    if index == 0 {
        u64::from_le_bytes(page(vendor))
    } else {
        u64::from_le_bytes([PAGE_FILL; 8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    fn call(input: u64, first: u64) -> HypercallAnswer {
        Hypercall {
            input,
            first,
            second: 0,
        }
        .answer()
    }

    #[test]
    fn the_page_is_the_same_code_in_both_modes() {
        for (vendor, mnemonic) in [
            (Vendor::Svm, Mnemonic::Vmmcall),
            (Vendor::Vmx, Mnemonic::Vmcall),
        ] {
            for bits in [32, 64] {
                let bytes = page(vendor);
                let found: Vec<_> = Decoder::new(bits, &bytes, DecoderOptions::NONE)
                    .iter()
                    .map(|i| i.mnemonic())
                    .collect();
                assert_eq!(found, [Mnemonic::Endbr64, mnemonic, Mnemonic::Ret]);
            }
        }
        assert_eq!(page_word(Vendor::Svm, 511), 0xcccc_cccc_cccc_cccc);
    }

    #[test]
    fn unknown_codes_are_refused() {
        for code in [0, 1, 2, 8, 0x46, 0x5b, 0x5e, 0x8001, 0xffff] {
            assert_eq!(
                call(code, 0),
                HypercallAnswer::Done(status::INVALID_HYPERCALL_CODE),
                "{code:#x}"
            );
        }
    }

    #[test]
    fn vmbus_calls_go_to_the_vmm() {
        for (input, first, second) in [
            (0x5c, 0x1f00, 3),
            (0x1005d, 0x5_0000_0007, 0),
            (0x5d, 0x1ff8, 0),
        ] {
            let call = Hypercall {
                input,
                first,
                second,
            };
            assert_eq!(
                call.answer(),
                HypercallAnswer::ToVmm([input, first, second])
            );
        }
    }

    #[test]
    fn malformed_inputs_are_refused() {
        let invalid = HypercallAnswer::Done(status::INVALID_HYPERCALL_INPUT);
        assert_eq!(call(0x1005c, 0), invalid, "PostMessage is never fast");
        for bit in [17, 26, 27, 31, 32, 43, 44, 48, 59, 60, 63] {
            assert_eq!(call(0x5c | 1 << bit, 0), invalid, "bit {bit}");
        }
        let unaligned = HypercallAnswer::Done(status::INVALID_ALIGNMENT);
        assert_eq!(call(0x5c, 4), unaligned);
        assert_eq!(call(0x5c, 0xf08), unaligned, "crosses a page");
        assert_eq!(call(0x5d, 0xffc), unaligned);
    }

    #[test]
    fn registers_by_mode() {
        let gpr = |index: usize| 0xaaaa_aaaa_0000_0000 | index as u64;
        let call = Hypercall::from_registers(gpr, CodeMode::Bits64);
        assert_eq!(
            (call.input, call.first, call.second),
            (gpr(1), gpr(2), gpr(8))
        );
        let call = Hypercall::from_registers(gpr, CodeMode::Bits32);
        assert_eq!(
            (call.input, call.first, call.second),
            (2 << 32, 3 << 32 | 1, 7 << 32 | 6)
        );
    }
}
