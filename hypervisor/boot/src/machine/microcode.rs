//! The processor update of the section `.ucode`, loaded on each CPU before the hypervisor looks at
//! its features (APM vol. 2 has no word on it; BKDG and Linux `cpu/microcode`: MSR C001_0020; SDM
//! vol. 3 §11.11.6 and §11.11.7).

use super::BootError;
use super::serial::log;
use super::{cpu, firmware};
use core::arch::x86_64::__cpuid;
use hypervisor_boot::microcode::{self, Update};
use hypervisor_hal::handoff::Range;
use uefi::boot::MemoryType;

const MSR_REVISION: u32 = 0x8b;
const MSR_INTEL_PLATFORM: u32 = 0x17;
const MSR_INTEL_UPDATE: u32 = 0x79;
const MSR_AMD_UPDATE: u32 = 0xc001_0020;

const FOUR_GIB: u64 = 4 << 30;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Amd,
    Intel,
}

fn vendor() -> Option<Vendor> {
    let answer = __cpuid(0);
    let mut name = [0; 12];
    for (to, from) in name
        .chunks_exact_mut(4)
        .zip([answer.ebx, answer.edx, answer.ecx])
    {
        to.copy_from_slice(&from.to_le_bytes());
    }
    match &name {
        b"AuthenticAMD" => Some(Vendor::Amd),
        b"GenuineIntel" => Some(Vendor::Intel),
        _ => None,
    }
}

/// The revision that this CPU runs now.
fn revision(vendor: Vendor) -> u32 {
    match vendor {
        // SAFETY: every 64-bit AMD processor has the register.
        Vendor::Amd => unsafe { cpu::read_msr(MSR_REVISION) as u32 },
        Vendor::Intel => {
            // SAFETY: every 64-bit Intel processor has the register; CPUID fills it in.
            unsafe { cpu::write_msr(MSR_REVISION, 0) };
            let _ = __cpuid(1);
            // SAFETY: as above.
            unsafe { (cpu::read_msr(MSR_REVISION) >> 32) as u32 }
        }
    }
}

/// An update that fits this machine's processors, in memory of its own.
#[derive(Clone, Copy)]
pub struct Microcode {
    vendor: Vendor,
    revision: u32,
    address: u64,
}

/// Finds the update for the processor in the section's archive, if there is one that is newer than
/// what runs.
pub fn find(archive: &[u8]) -> Result<Option<Microcode>, BootError> {
    let Some(vendor) = vendor() else {
        return Ok(None);
    };
    let signature = __cpuid(1).eax;
    let update = match vendor {
        Vendor::Amd => microcode::archive_member(archive, microcode::AMD_MEMBER)
            .and_then(|container| microcode::amd(container, signature)),
        Vendor::Intel => {
            // SAFETY: every 64-bit Intel processor has the register.
            let platform = (unsafe { cpu::read_msr(MSR_INTEL_PLATFORM) } >> 50) as u32 & 7;
            microcode::archive_member(archive, microcode::INTEL_MEMBER)
                .and_then(|file| microcode::intel(file, signature, platform))
        }
    };
    let Some(Update {
        revision: new,
        data,
    }) = update.filter(|u| u.revision > revision(vendor))
    else {
        return Ok(None);
    };
    // Page-aligned, as the place in the archive is not aligned at all.
    let Range { start, .. } =
        firmware::allocate(MemoryType::LOADER_DATA, data.len() as u64, FOUR_GIB)?;
    // SAFETY: just allocated, at least as long as the data.
    unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), start as *mut u8, data.len()) };
    Ok(Some(Microcode {
        vendor,
        revision: new,
        address: start,
    }))
}

impl Microcode {
    /// Loads the update on this CPU, unless its core has it already.
    pub fn load(&self, index: usize) {
        let before = revision(self.vendor);
        if before >= self.revision {
            return;
        }
        match self.vendor {
            // SAFETY: the register exists on every 64-bit AMD processor and takes the address of a
            // patch for this very processor; the processor checks the patch itself.
            Vendor::Amd => unsafe { cpu::write_msr(MSR_AMD_UPDATE, self.address) },
            // SAFETY: as for AMD; the address is that of the data behind the header.
            Vendor::Intel => unsafe {
                cpu::write_msr(
                    MSR_INTEL_UPDATE,
                    self.address + microcode::INTEL_HEADER_SIZE as u64,
                );
            },
        }
        let after = revision(self.vendor);
        if after == self.revision {
            log!("CPU {index}: microcode {before:#x} updated to {after:#x}");
        } else {
            log!(
                "CPU {index}: microcode stays at {before:#x}, it did not take {:#x}",
                self.revision
            );
        }
    }
}
