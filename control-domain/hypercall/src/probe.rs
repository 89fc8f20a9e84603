//! Whether this CPU is under the hypervisor.

use crate::instruction::execute;
use crate::{Answer, Calls};
use hypervisor_abi::{ABI_VERSION, Call, Handle, Status, Vendor};
use std::sync::Mutex;

/// The hypervisor, as seen from a CPU that answered. Having one proves that calls don't fault.
#[derive(Clone, Copy, Debug)]
pub struct Hypervisor {
    vendor: Vendor,
}

/// What [`Call::Query`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Version of the interface.
    pub version: u32,
    /// Index of the CPU that answered, as the hypervisor counts.
    pub cpu: u32,
    /// CPUs under the hypervisor.
    pub cpus: u32,
}

/// Why there is no hypervisor to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotUnder {
    /// The CPU knows no such instruction here: nothing runs below this kernel.
    NoHypervisor,
    /// Something answered, but not this interface.
    OtherHypervisor(u64),
    /// Another version of the interface.
    OtherVersion(u32),
}

impl core::fmt::Display for NotUnder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoHypervisor => f.write_str(
                "this CPU is not under the hypervisor (the call instruction is unknown to it); boot the Entente image",
            ),
            Self::OtherHypervisor(answer) => {
                write!(f, "another hypervisor answered {answer:#x}; boot the Entente image")
            }
            Self::OtherVersion(version) => {
                write!(f, "the hypervisor speaks interface version {version}, this program {ABI_VERSION}; install both from one image")
            }
        }
    }
}

impl std::error::Error for NotUnder {}

impl Query {
    fn from_answer(answer: Answer) -> Result<Self, NotUnder> {
        if answer.status != Status::Ok as u64 {
            return Err(NotUnder::OtherHypervisor(answer.status));
        }
        let query = Self {
            version: answer.o0 as u32,
            cpu: (answer.o0 >> 32) as u32,
            cpus: answer.o1 as u32,
        };
        if query.version == ABI_VERSION {
            Ok(query)
        } else {
            Err(NotUnder::OtherVersion(query.version))
        }
    }
}

impl Hypervisor {
    /// Asks the CPU that this runs on. Safe to try anywhere: the illegal-instruction signal of a
    /// CPU without hypervisor is caught.
    ///
    /// # Errors
    /// [`NotUnder`] says what is there instead.
    pub fn probe() -> Result<(Self, Query), NotUnder> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
        let vendor = vendor();
        let answer = sigill::caught(|| execute(vendor, Call::Query, Handle(0, 0), [0; 4]));
        if answer.status == sigill::CAUGHT {
            return Err(NotUnder::NoHypervisor);
        }
        Ok((Self { vendor }, Query::from_answer(answer)?))
    }
}

impl Calls for Hypervisor {
    fn call(&self, call: Call, handle: Handle, arguments: [u64; 4]) -> Answer {
        execute(self.vendor, call, handle, arguments)
    }
}

/// Whose call instruction this CPU has, by its vendor string (SVM is AMD's and Hygon's).
fn vendor() -> Vendor {
    let leaf = core::arch::x86_64::__cpuid(0);
    match [leaf.ebx, leaf.edx, leaf.ecx]
        .map(u32::to_le_bytes)
        .as_flattened()
    {
        b"AuthenticAMD" | b"HygonGenuine" => Vendor::Svm,
        _ => Vendor::Vmx,
    }
}

mod sigill {
    use crate::Answer;

    /// `RAX` after an illegal call instruction: no status, and with no call signature in it.
    pub const CAUGHT: u64 = u64::MAX;

    /// Runs `f` while an illegal `VMMCALL` or `VMCALL` is skipped, with [`CAUGHT`] in `RAX`.
    pub fn caught(f: impl FnOnce() -> Answer) -> Answer {
        // SAFETY: an all-zero sigaction is a valid one (SIG_DFL, empty mask); the handler has the
        // signature that SA_SIGINFO asks for, and the old action is put back below. `f` makes no
        // panic, it is one instruction.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            let mut old: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = skip as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGILL, &action, &mut old);
            let answer = f();
            libc::sigaction(libc::SIGILL, &old, core::ptr::null_mut());
            answer
        }
    }

    extern "C" fn skip(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel passes a valid, exclusive ucontext of the interrupted thread. RIP
        // points to the instruction that just faulted, so its three bytes are readable if it is
        // one of ours; the third is read only when the first two match, as the instruction does.
        unsafe {
            let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            let rip = registers[libc::REG_RIP as usize] as *const u8;
            let ours = *rip == 0x0f && *rip.add(1) == 0x01 && matches!(*rip.add(2), 0xd9 | 0xc1);
            if ours {
                registers[libc::REG_RIP as usize] += 3;
                registers[libc::REG_RAX as usize] = CAUGHT as i64;
            } else {
                // Someone else's illegal instruction: let it fault again, with the usual end.
                libc::signal(libc::SIGILL, libc::SIG_DFL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_hypervisor_is_told_so_and_lives() {
        for _ in 0..2 {
            assert!(Hypervisor::probe().is_err());
        }
    }

    #[test]
    fn versions_are_compared() {
        let answer = Answer {
            status: 0,
            o0: 7 | 3 << 32,
            o1: 2,
        };
        assert_eq!(Query::from_answer(answer), Err(NotUnder::OtherVersion(7)));
        let answer = Answer {
            o0: u64::from(ABI_VERSION) | 3 << 32,
            ..answer
        };
        assert_eq!(
            Query::from_answer(answer),
            Ok(Query {
                version: ABI_VERSION,
                cpu: 3,
                cpus: 2
            })
        );
    }
}
