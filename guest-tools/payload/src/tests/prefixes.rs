//! Exiting instructions with prefixes: the guest must go on behind them, and not elsewhere.

use crate::report::{Outcome, equal};

/// Executes the bytes with RAX, RCX and RDX as given, then triples a counter. A wrong length skips
/// or splits the instruction that counts.
macro_rules! case {
    ($what:literal, $bytes:literal, $rax:expr, $rcx:expr, $rdx:expr) => {{
        let mut count = 1u64;
        // SAFETY: the bytes are one instruction that reads a leaf, uses a port that nobody has, or
        // reads or writes a register that takes what is given. RBX is saved, as CPUID changes it.
        unsafe {
            core::arch::asm!("mov r10, rbx", concat!(".byte ", $bytes), "lea r11, [r11 + r11 * 2]", "mov rbx, r10",
                inout("r11") count, inout("rax") $rax => _, inout("rcx") $rcx => _, inout("rdx") $rdx => _,
                out("r10") _, options(nostack));
        }
        equal($what, count, 3)?;
    }};
}

/// A port that no board has.
const NOBODY: u64 = 0xe0;
/// KERNEL_GS_BASE, which this program does not use.
const KERNEL_GS_BASE: u64 = 0xc000_0102;

pub fn lengths() -> Outcome {
    case!("CPUID with 66", "0x66, 0x0f, 0xa2", 0u64, 0u64, 0u64);
    case!("CPUID with REX", "0x48, 0x0f, 0xa2", 0u64, 0u64, 0u64);
    case!(
        "CPUID with F3 and segment",
        "0xf3, 0x2e, 0x0f, 0xa2",
        0u64,
        0u64,
        0u64
    );
    case!(
        "CPUID with many prefixes",
        "0x66, 0x66, 0x66, 0x2e, 0x3e, 0x0f, 0xa2",
        0u64,
        0u64,
        0u64
    );
    case!(
        "RDMSR with REX",
        "0x48, 0x0f, 0x32",
        0u64,
        KERNEL_GS_BASE,
        0u64
    );
    case!(
        "RDMSR with 66",
        "0x66, 0x0f, 0x32",
        0u64,
        KERNEL_GS_BASE,
        0u64
    );
    case!(
        "WRMSR with 3E",
        "0x3e, 0x0f, 0x30",
        0u64,
        KERNEL_GS_BASE,
        0u64
    );
    case!("IN AL with REX", "0x48, 0xec", 0u64, 0u64, NOBODY);
    case!("IN AX", "0x66, 0xed", 0u64, 0u64, NOBODY);
    case!("IN AX with two 66", "0x66, 0x66, 0xed", 0u64, 0u64, NOBODY);
    case!(
        "IN with an immediate",
        "0x2e, 0xe4, 0x80",
        0u64,
        0u64,
        NOBODY
    );
    case!("OUT AX", "0x66, 0xef", 0u64, 0u64, NOBODY);
    case!(
        "OUT with an immediate",
        "0x65, 0xe6, 0x80",
        0u64,
        0u64,
        NOBODY
    );
    Ok(())
}
