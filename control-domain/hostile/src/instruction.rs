//! The call instruction with whatever in its registers: what `hypercall` never lets out.

use core::arch::asm;
use hypervisor_abi::{CALL_SIGNATURE, Call, Handle, Status};

/// What was in the registers of the interface afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `RAX`.
    pub status: u64,
    /// `RDX`, `R8`.
    pub outputs: [u64; 2],
}

impl Answer {
    /// The status, if it is one of the interface.
    pub fn named(self) -> Option<Status> {
        Status::from_number(self.status)
    }
}

/// Whether this CPU calls by `VMCALL` (Intel) instead of `VMMCALL`.
pub fn is_intel() -> bool {
    core::arch::x86_64::__cpuid(0).ebx == u32::from_le_bytes(*b"Genu")
}

/// A call of the interface.
pub fn call(call: Call, handle: Handle, arguments: [u64; 4]) -> Answer {
    raw(CALL_SIGNATURE | call as u64, handle, arguments)
}

/// A call with anything in `RAX`. Only on a CPU that has answered a probe.
pub fn raw(rax: u64, handle: Handle, arguments: [u64; 4]) -> Answer {
    let [a0, a1, a2, a3] = arguments;
    let (mut status, mut rdx, mut r8) = (rax, a0, a1);
    macro_rules! execute {
        ($instruction:literal) => {
            asm!($instruction, inout("rax") status, in("rdi") handle.0, in("rsi") handle.1,
                inout("rdx") rdx, inout("r8") r8, in("r9") a2, in("r10") a3, options(nostack))
        };
    }
    // SAFETY: the instruction changes RAX, RDX and R8, and memory only of a machine that the
    // caller has made over a `Mapping`, which hands out no references.
    unsafe {
        if is_intel() {
            execute!("vmcall");
        } else {
            execute!("vmmcall");
        }
    }
    Answer {
        status,
        outputs: [rdx, r8],
    }
}
