//! The call instruction itself.

use hypervisor_abi::{CALL_SIGNATURE, Call, Handle, Vendor};

/// What a call left in the output registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `RAX`: a [`hypervisor_abi::Status`].
    pub status: u64,
    /// `RDX`: output 0.
    pub o0: u64,
    /// `R8`: output 1.
    pub o1: u64,
}

/// Something that answers hypercalls: the hypervisor, or a scripted one in tests.
pub trait Calls {
    /// Makes one call with arguments 0 to 3.
    fn call(&self, call: Call, handle: Handle, arguments: [u64; 4]) -> Answer;
}

/// Executes `VMMCALL` or `VMCALL`.
///
/// On a CPU that is not under a hypervisor this raises SIGILL; `probe` is the only caller that
/// may risk that.
pub(crate) fn execute(vendor: Vendor, call: Call, handle: Handle, a: [u64; 4]) -> Answer {
    let mut status = CALL_SIGNATURE | call as u64;
    let (mut o0, mut o1) = (a[0], a[1]);
    match vendor {
        // SAFETY: the instruction traps to the hypervisor, which changes RAX, RDX and R8 only,
        // besides memory of the guest pool. That memory is mapped by `guest-memory` alone, which
        // holds it as atomics and raw addresses, never as references to plain data; the missing
        // `nomem` tells the compiler about the rest. If no hypervisor is there, #UD becomes
        // SIGILL, which ends the process or is caught by `probe`; both are defined.
        Vendor::Svm => unsafe {
            core::arch::asm!("vmmcall", inout("rax") status, in("rdi") handle.0, in("rsi") handle.1,
                inout("rdx") o0, inout("r8") o1, in("r9") a[2], in("r10") a[3], options(nostack));
        },
        // SAFETY: as above.
        Vendor::Vmx => unsafe {
            core::arch::asm!("vmcall", inout("rax") status, in("rdi") handle.0, in("rsi") handle.1,
                inout("rdx") o0, inout("r8") o1, in("r9") a[2], in("r10") a[3], options(nostack));
        },
    }
    Answer { status, o0, o1 }
}
