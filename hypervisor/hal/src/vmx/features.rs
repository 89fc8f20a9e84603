//! What the CPU must have, and what it may have (SDM vol. 3 appendix A).

use super::controls::{Capabilities, Capability, Controls, Refused, primary, secondary};
use super::switch;
use crate::cpu;

/// Model-specific registers (SDM vol. 4 table 2-2).
mod msr {
    pub const FEATURE_CONTROL: u32 = 0x3a;
    pub const BASIC: u32 = 0x480;
    pub const PIN: u32 = 0x481;
    pub const PRIMARY: u32 = 0x482;
    pub const EXIT: u32 = 0x483;
    pub const ENTRY: u32 = 0x484;
    pub const CR0_FIXED: [u32; 2] = [0x486, 0x487];
    pub const CR4_FIXED: [u32; 2] = [0x488, 0x489];
    pub const SECONDARY: u32 = 0x48b;
    pub const EPT_VPID: u32 = 0x48c;
    /// How far behind the first form the true one of PIN, PRIMARY, EXIT and ENTRY lies.
    pub const TRUE: u32 = 0x48d - PIN;
}

/// IA32_VMX_EPT_VPID_CAP.
mod ept_vpid {
    pub const FOUR_LEVELS: u64 = 1 << 6;
    pub const WRITE_BACK: u64 = 1 << 14;
    pub const PAGES_2_MIB: u64 = 1 << 16;
    pub const PAGES_1_GIB: u64 = 1 << 17;
    pub const INVEPT: u64 = 1 << 20 | 1 << 25 | 1 << 26;
    pub const INVVPID: u64 = 1 << 32 | 1 << 42;
}

const LOCKED: u64 = 1 << 0;
const VMXON_ENABLED: u64 = 1 << 2;
const CR4_VMXE: u64 = 1 << 13;

/// Bits of a control register that VMX operation wants to be 1 and allows to be 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub ones: u64,
    pub allowed: u64,
}

/// What this CPU's VMX can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The first word of every VMCS.
    pub revision: u32,
    /// EPT pages of 1 GiB.
    pub gigabyte_pages: bool,
    pub cr0: Fixed,
    pub cr4: Fixed,
    /// For the control domain.
    pub control_domain: Controls,
    /// For guests.
    pub guest: Controls,
}

impl core::fmt::Display for Features {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let gigabyte_pages = if self.gigabyte_pages {
            ", 1 GiB pages"
        } else {
            ""
        };
        write!(f, "VMX revision {:#x}{gigabyte_pages}", self.revision)
    }
}

/// Why this CPU can't run the hypervisor, and what a person can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// CPUID 1 ECX bit 5.
    Vmx,
    /// IA32_FEATURE_CONTROL is locked with VMXON off.
    DisabledByFirmware,
    /// Secondary control bit 1.
    Ept,
    /// Secondary control bit 7.
    UnrestrictedGuest,
    /// Secondary control bit 5.
    Vpid,
    /// IA32_VMX_BASIC bit 55.
    TrueControls,
    /// Four levels, write-back tables, pages of 2 MiB.
    EptFormat,
    /// INVEPT and INVVPID for one context and for all.
    Invalidation,
    /// A control that has no name of its own here.
    Control(Refused),
    /// CPUID 1 ECX bit 26.
    Xsave,
}

impl core::fmt::Display for Missing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self {
            Self::DisabledByFirmware => {
                return f.write_str(
                    "Intel virtualization (VMX) is switched off: enable \"Intel Virtualization Technology\" or \"VT-x\" in the firmware setup, CPU settings",
                );
            }
            Self::Control(refused) => {
                return write!(
                    f,
                    "this CPU's {} VMX controls can't be set as needed (bits {:#x}): Entente can't run on it",
                    refused.word, refused.bits
                );
            }
            Self::Vmx => {
                return f.write_str(
                    "this CPU has no Intel virtualization (VMX), or the firmware hides it: look for \"VT-x\" in the firmware setup; without it Entente can't run",
                );
            }
            Self::Ept => "extended page tables (EPT)",
            Self::UnrestrictedGuest => "unrestricted guests (real mode under VMX)",
            Self::Vpid => "tagged translations (VPID)",
            Self::TrueControls => "true VMX controls",
            Self::EptFormat => "EPT with four levels, write-back tables and 2 MiB pages",
            Self::Invalidation => "INVEPT and INVVPID of one context and of all",
            Self::Xsave => "XSAVE",
        };
        write!(f, "this CPU has no {what}: Entente can't run on it")
    }
}

/// Checks this CPU and changes nothing.
pub fn check() -> Result<Features, Missing> {
    let [_, _, leaf_1, _] = cpu::cpuid(1, 0);
    if leaf_1 & 1 << 5 == 0 {
        return Err(Missing::Vmx);
    }
    // SAFETY: the registers exist with VMX; the last two if the controls say so.
    unsafe {
        let feature_control = cpu::rdmsr(msr::FEATURE_CONTROL);
        if feature_control & LOCKED != 0 && feature_control & VMXON_ENABLED == 0 {
            return Err(Missing::DisabledByFirmware);
        }
        let primary = Capability(cpu::rdmsr(msr::PRIMARY));
        if primary.allowed() & primary::SECONDARY == 0 {
            return Err(Missing::Ept);
        }
        let secondary = Capability(cpu::rdmsr(msr::SECONDARY));
        for (control, missing) in [
            (secondary::EPT, Missing::Ept),
            (secondary::UNRESTRICTED_GUEST, Missing::UnrestrictedGuest),
            (secondary::VPID, Missing::Vpid),
        ] {
            if secondary.allowed() & control == 0 {
                return Err(missing);
            }
        }
        let basic = cpu::rdmsr(msr::BASIC);
        if basic & 1 << 55 == 0 {
            return Err(Missing::TrueControls);
        }
        let ept_vpid = cpu::rdmsr(msr::EPT_VPID);
        check_ept(ept_vpid)?;
        if leaf_1 & 1 << 26 == 0 {
            return Err(Missing::Xsave);
        }
        let capabilities = Capabilities {
            pin: Capability(cpu::rdmsr(msr::PIN + msr::TRUE)),
            primary: Capability(cpu::rdmsr(msr::PRIMARY + msr::TRUE)),
            secondary,
            exit: Capability(cpu::rdmsr(msr::EXIT + msr::TRUE)),
            entry: Capability(cpu::rdmsr(msr::ENTRY + msr::TRUE)),
        };
        let fixed = |[ones, allowed]: [u32; 2]| Fixed {
            ones: cpu::rdmsr(ones),
            allowed: cpu::rdmsr(allowed),
        };
        Ok(Features {
            revision: basic as u32 & 0x7fff_ffff,
            gigabyte_pages: ept_vpid & ept_vpid::PAGES_1_GIB != 0,
            cr0: fixed(msr::CR0_FIXED),
            cr4: fixed(msr::CR4_FIXED),
            control_domain: Controls::control_domain(&capabilities).map_err(Missing::Control)?,
            guest: Controls::guest(&capabilities).map_err(Missing::Control)?,
        })
    }
}

fn check_ept(capabilities: u64) -> Result<(), Missing> {
    let has = |bits| capabilities & bits == bits;
    if !has(ept_vpid::FOUR_LEVELS | ept_vpid::WRITE_BACK | ept_vpid::PAGES_2_MIB) {
        Err(Missing::EptFormat)
    } else if !has(ept_vpid::INVEPT | ept_vpid::INVVPID) {
        Err(Missing::Invalidation)
    } else {
        Ok(())
    }
}

impl Features {
    /// Enters VMX operation on this CPU. IA32_FEATURE_CONTROL is locked, with VMXON enabled, where
    /// the firmware left it open, as the manual wants it (§24.7).
    ///
    /// # Safety
    /// [`check`] succeeded here; `region` is a zeroed page that is used for nothing else.
    pub unsafe fn enable(&self, region: u64) {
        // SAFETY: the register exists and is open if it is written; the page is the CPU's from now
        // on; CR4.VMXE changes nothing but that VMXON exists.
        unsafe {
            let feature_control = cpu::rdmsr(msr::FEATURE_CONTROL);
            if feature_control & LOCKED == 0 {
                cpu::wrmsr(
                    msr::FEATURE_CONTROL,
                    feature_control | LOCKED | VMXON_ENABLED,
                );
            }
            cpu::set_cr4(cpu::cr4() | CR4_VMXE);
            (region as *mut u32).write(self.revision);
            switch::vmxon(region);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_invalidation_are_asked_for_by_name() {
        // As a Haswell of Bochs 3.0 reports it.
        let haswell = 0x0000_0f01_0633_4141;
        assert_eq!(check_ept(haswell), Ok(()));
        for (bit, missing) in [
            (6, Missing::EptFormat),
            (14, Missing::EptFormat),
            (16, Missing::EptFormat),
            (20, Missing::Invalidation),
            (25, Missing::Invalidation),
            (26, Missing::Invalidation),
            (32, Missing::Invalidation),
            (42, Missing::Invalidation),
        ] {
            assert_eq!(check_ept(haswell & !(1 << bit)), Err(missing), "bit {bit}");
        }
    }

    #[test]
    fn a_message_says_what_to_switch_on() {
        let text = std::format!("{}", Missing::DisabledByFirmware);
        assert!(text.contains("VT-x") && text.contains("firmware setup"));
        let text = std::format!("{}", Missing::UnrestrictedGuest);
        assert!(text.contains("unrestricted guests"));
    }
}
