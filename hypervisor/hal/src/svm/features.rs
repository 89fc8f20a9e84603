//! What the CPU must have, and what it may have.

use super::run_bounds::PauseLoop;
use crate::cpu::{self, EFER_SVME, msr};

/// What this CPU's SVM can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Number of address space identifiers.
    pub tags: u32,
    /// The VMCB tells where the next instruction is.
    pub next_rip: bool,
    /// For guests.
    pub pause_loop: Option<PauseLoop>,
    /// CPUID 8000_0001 EDX bit 26.
    pub gigabyte_pages: bool,
}

impl core::fmt::Display for Features {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let next_rip = if self.next_rip { ", next RIP" } else { "" };
        let gigabyte_pages = if self.gigabyte_pages {
            ", 1 GiB pages"
        } else {
            ""
        };
        write!(f, "SVM with {} tags{next_rip}{gigabyte_pages}", self.tags)
    }
}

/// Why this CPU can't run the hypervisor, and what a person can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// CPUID 8000_0001 ECX bit 2.
    Svm,
    /// VM_CR.SVMDIS is set and locked.
    DisabledByFirmware,
    /// CPUID 8000_000A EDX bit 0.
    NestedPaging,
    /// CPUID 1 ECX bit 26.
    Xsave,
}

impl core::fmt::Display for Missing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Svm => "this CPU has no AMD virtualization (SVM): Entente can't run on it",
            Self::DisabledByFirmware => {
                "AMD virtualization is switched off: enable \"SVM Mode\" or \"AMD-V\" in the firmware setup, CPU settings"
            }
            Self::NestedPaging => "this CPU has no nested paging (NPT): Entente can't run on it",
            Self::Xsave => "this CPU has no XSAVE: Entente can't run on it",
        })
    }
}

const VM_CR_SVMDIS: u64 = 1 << 4;
const VM_CR_LOCK: u64 = 1 << 3;

/// Checks this CPU (APM vol. 2 §15.4).
pub fn check() -> Result<Features, Missing> {
    let extended = cpu::cpuid(0x8000_0001, 0);
    if cpu::cpuid(0x8000_0000, 0)[0] < 0x8000_000a || extended[2] & 1 << 2 == 0 {
        return Err(Missing::Svm);
    }
    if cpu::cpuid(1, 0)[2] & 1 << 26 == 0 {
        return Err(Missing::Xsave);
    }
    let [_, tags, _, features] = cpu::cpuid(0x8000_000a, 0);
    if features & 1 == 0 {
        return Err(Missing::NestedPaging);
    }
    // SAFETY: VM_CR exists on every CPU with SVM.
    let vm_cr = unsafe { cpu::rdmsr(msr::VM_CR) };
    if vm_cr & VM_CR_SVMDIS != 0 && vm_cr & VM_CR_LOCK != 0 {
        return Err(Missing::DisabledByFirmware);
    }
    Ok(Features {
        tags,
        next_rip: features & 1 << 3 != 0,
        pause_loop: PauseLoop::new(features),
        gigabyte_pages: extended[3] & 1 << 26 != 0,
    })
}

/// Switches SVM on on this CPU.
///
/// # Safety
/// [`check`] succeeded here; `host_save_area` is a page that is used for nothing else.
pub unsafe fn enable(host_save_area: u64) {
    // SAFETY: the registers exist with SVM, and VM_CR is not locked if it disables (`check`); the page
    // is the CPU's from now on.
    unsafe {
        let vm_cr = cpu::rdmsr(msr::VM_CR);
        if vm_cr & VM_CR_SVMDIS != 0 {
            cpu::wrmsr(msr::VM_CR, vm_cr & !VM_CR_SVMDIS);
        }
        cpu::wrmsr(msr::EFER, cpu::rdmsr(msr::EFER) | EFER_SVME);
        cpu::wrmsr(msr::VM_HSAVE_PA, host_save_area);
        // From here on interrupts wait until something of ours runs; see the module's top.
        core::arch::asm!("clgi", "sti", options(nomem, nostack));
    }
}
