//! Model-specific registers of guests.
//!
//! Three kinds: direct (the guest touches the CPU's own, which the world switch exchanges), emulated
//! (here, in the local APIC or in the Hyper-V registers), and all others, which raise #GP.

use super::mtrr::Mtrrs;
use crate::effect::Effect;
use crate::fault::GeneralProtection;
use hypervisor_abi::Vendor;

/// Registers that guests have directly: exchanged with the guest's segment state (APM vol. 2
/// §15.5.2), or loaded and stored with the guest on Intel.
pub const fn guest_direct_msrs(_vendor: Vendor) -> &'static [u32] {
    &[
        0x174,       // SYSENTER_CS
        0x175,       // SYSENTER_ESP
        0x176,       // SYSENTER_EIP
        0xc000_0081, // STAR
        0xc000_0082, // LSTAR
        0xc000_0083, // CSTAR
        0xc000_0084, // SFMASK
        0xc000_0100, // FS.base
        0xc000_0101, // GS.base
        0xc000_0102, // KERNEL_GS_BASE
        0xc000_0103, // TSC_AUX: exchanged by the world switch
    ]
}

const PLATFORM_ID: u32 = 0x17;
const EBL_CR_POWERON: u32 = 0x2a;
const FEATURE_CONTROL: u32 = 0x3a;
const PRED_CMD: u32 = 0x49;
const UCODE_TRIGGER: u32 = 0x79;
const UCODE_REVISION: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUGCTL: u32 = 0x1d9;
const PAT: u32 = 0x277;
const EFER: u32 = 0xc000_0080;
const SYSCFG: u32 = 0xc001_0010;
const HWCR: u32 = 0xc001_0015;
const NB_CFG: u32 = 0xc001_001f;
const PATCH_LOADER: u32 = 0xc001_0020;
const INT_PENDING: u32 = 0xc001_0055;
const MMIO_CONFIG_BASE: u32 = 0xc001_0058;
const DE_CFG: u32 = 0xc001_1029;

/// PAT after reset (SDM vol. 3 table 12-12).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// MISC_ENABLE: fast strings; branch trace and event sampling not there.
const MISC_ENABLE_RESET: u64 = 1 | 1 << 11 | 1 << 12;
/// MISC_ENABLE bits that software may change without effect: limit CPUID, no-execute disable.
const MISC_ENABLE_WRITABLE: u64 = 1 | 1 << 22;
/// HWCR: the TSC counts at the frequency of P-state 0.
const HWCR_RESET: u64 = 1 << 24;
/// HWCR bits that operating systems set for errata that a guest does not have.
const HWCR_WRITABLE: u64 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 18 | 1 << 24;
/// DE_CFG: LFENCE serializes. The control domain's kernel sets it on every CPU that has it.
const DE_CFG_VALUE: u64 = 1 << 1;
/// FEATURE_CONTROL: locked with everything off.
const FEATURE_CONTROL_VALUE: u64 = 1;
/// A revision above all that operating systems ask for; updates are the control domain's affair.
const INTEL_UCODE: u64 = 0xffff_ffff << 32;
/// The same for AMD.
const AMD_UCODE: u64 = 0xffff_ffff;
/// EFER: SCE, LME, LMA, NXE.
const EFER_KNOWN: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;

/// The simple emulated registers of one processor.
#[derive(Clone, Debug)]
pub struct GuestMsrs {
    vendor: Vendor,
    physical_bits: u32,
    pat: u64,
    misc_enable: u64,
    hwcr: u64,
    mtrrs: Mtrrs,
}

impl GuestMsrs {
    /// After power-on; `physical_bits` is the width of guest-physical addresses.
    pub fn new(vendor: Vendor, physical_bits: u32) -> Self {
        Self {
            vendor,
            physical_bits,
            pat: PAT_RESET,
            misc_enable: MISC_ENABLE_RESET,
            hwcr: HWCR_RESET,
            mtrrs: Mtrrs::default(),
        }
    }

    /// Width of guest-physical addresses.
    pub fn physical_bits(&self) -> u32 {
        self.physical_bits
    }
}

/// RDMSR of a simple emulated register. `efer` is the guest's, from the world switch.
pub fn guest_rdmsr(msrs: &GuestMsrs, msr: u32, efer: u64) -> Result<u64, GeneralProtection> {
    let intel = matches!(msrs.vendor, Vendor::Vmx);
    Ok(match msr {
        EFER => efer,
        PAT => msrs.pat,
        UCODE_REVISION if intel => INTEL_UCODE,
        UCODE_REVISION => AMD_UCODE,
        // No banks: machine checks are the control domain's.
        MCG_CAP | MCG_STATUS => 0,
        DEBUGCTL => 0,
        // Last branch and exception records: nothing was recorded.
        0x1db..=0x1de => 0,
        MISC_ENABLE if intel => msrs.misc_enable,
        FEATURE_CONTROL if intel => FEATURE_CONTROL_VALUE,
        PLATFORM_ID | EBL_CR_POWERON | PLATFORM_INFO if intel => 0,
        HWCR if !intel => msrs.hwcr,
        DE_CFG if !intel => DE_CFG_VALUE,
        _ if !intel && reads_zero_on_amd(msr) => 0,
        _ => return msrs.mtrrs.read(msr).ok_or(GeneralProtection),
    })
}

/// WRMSR of a simple emulated register.
pub fn guest_wrmsr(
    msrs: &mut GuestMsrs,
    msr: u32,
    value: u64,
) -> Result<Effect, GeneralProtection> {
    let intel = matches!(msrs.vendor, Vendor::Vmx);
    match msr {
        EFER if value & !EFER_KNOWN == 0 => return Ok(Effect::Efer(value)),
        PAT if value
            .to_le_bytes()
            .into_iter()
            .all(|entry| matches!(entry, 0 | 1 | 4..=7)) =>
        {
            msrs.pat = value;
            return Ok(Effect::Pat(value));
        }
        PRED_CMD if value == 1 => return Ok(Effect::PredictionBarrier),
        PRED_CMD if value == 0 => {}
        // Updates are taken and do nothing, as on a processor that has a newer one already.
        UCODE_REVISION | UCODE_TRIGGER if intel => {}
        PATCH_LOADER if !intel => {}
        MCG_STATUS if value == 0 => {}
        // Branch recording and stepping are not there; bits for them are dropped.
        DEBUGCTL if value & !3 == 0 => {}
        MISC_ENABLE if intel => {
            msrs.misc_enable =
                msrs.misc_enable & !MISC_ENABLE_WRITABLE | value & MISC_ENABLE_WRITABLE;
        }
        HWCR if !intel && value & !HWCR_WRITABLE == 0 => msrs.hwcr = value,
        DE_CFG if !intel => {}
        _ if !intel && reads_zero_on_amd(msr) => {}
        _ => {
            msrs.mtrrs
                .write(msr, value, msrs.physical_bits)
                .unwrap_or(Err(GeneralProtection))?;
        }
    }
    Ok(Effect::None)
}

/// Registers of AMD chipsets and errata that systems touch by processor family, without asking
/// CPUID: they read 0 and drop what is written.
fn reads_zero_on_amd(msr: u32) -> bool {
    matches!(msr, SYSCFG | NB_CFG | INT_PENDING | MMIO_CONFIG_BASE)
        // Performance event selectors and counters that every family has.
        || matches!(msr, 0xc001_0000..=0xc001_0007)
        // Load-store, instruction cache, data cache, bus unit configuration.
        || matches!(msr, 0xc001_1020..=0xc001_1023 | 0xc001_102a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amd() -> GuestMsrs {
        GuestMsrs::new(Vendor::Svm, 40)
    }

    #[test]
    fn reset_values() {
        for (msr, value) in [
            (PAT, PAT_RESET),
            (0xfe, 0x508),
            (0x2ff, 0),
            (MCG_CAP, 0),
            (HWCR, 1 << 24),
            (EFER, 0x500),
        ] {
            assert_eq!(guest_rdmsr(&amd(), msr, 0x500), Ok(value), "{msr:#x}");
        }
        let intel = GuestMsrs::new(Vendor::Vmx, 40);
        for (msr, value) in [
            (MISC_ENABLE, 0x1801),
            (FEATURE_CONTROL, 1),
            (PLATFORM_ID, 0),
        ] {
            assert_eq!(guest_rdmsr(&intel, msr, 0), Ok(value), "{msr:#x}");
            assert_eq!(
                guest_rdmsr(&amd(), msr, 0),
                Err(GeneralProtection),
                "{msr:#x} on AMD"
            );
        }
    }

    #[test]
    fn pat_takes_memory_types_only() {
        let mut msrs = amd();
        assert_eq!(
            guest_wrmsr(&mut msrs, PAT, 0x0007_0406_0007_0501),
            Ok(Effect::Pat(0x0007_0406_0007_0501))
        );
        assert_eq!(guest_rdmsr(&msrs, PAT, 0), Ok(0x0007_0406_0007_0501));
        for bad in [2, 3, 8, 0x0200, 0xff << 56] {
            assert_eq!(guest_wrmsr(&mut msrs, PAT, bad), Err(GeneralProtection));
        }
    }

    #[test]
    fn efer_hides_virtualization() {
        let mut msrs = amd();
        assert_eq!(guest_wrmsr(&mut msrs, EFER, 0xd01), Ok(Effect::Efer(0xd01)));
        for bit in [12, 13, 14, 15, 21, 63] {
            assert_eq!(
                guest_wrmsr(&mut msrs, EFER, 1 << bit),
                Err(GeneralProtection),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn memory_types_are_kept() {
        let mut msrs = amd();
        assert_eq!(guest_wrmsr(&mut msrs, 0x2ff, 0xc06), Ok(Effect::None));
        assert_eq!(guest_rdmsr(&msrs, 0x2ff, 0), Ok(0xc06));
        assert_eq!(guest_wrmsr(&mut msrs, 0x2ff, 0xc07), Err(GeneralProtection));
    }

    #[test]
    fn barrier_and_updates() {
        let mut msrs = amd();
        assert_eq!(
            guest_wrmsr(&mut msrs, PRED_CMD, 1),
            Ok(Effect::PredictionBarrier)
        );
        assert_eq!(guest_wrmsr(&mut msrs, PRED_CMD, 2), Err(GeneralProtection));
        assert_eq!(
            guest_rdmsr(&msrs, PRED_CMD, 0),
            Err(GeneralProtection),
            "write-only"
        );
        assert_eq!(
            guest_wrmsr(&mut msrs, PATCH_LOADER, 0x1000),
            Ok(Effect::None)
        );
    }

    #[test]
    fn what_has_no_row_is_refused() {
        let mut msrs = amd();
        // SPEC_CTRL, virtualization, SEV, perf, CET, XSS, bases that are direct, holes.
        for msr in [
            0x48,
            0x480,
            0xc001_0114,
            0xc001_0117,
            0xc001_0131,
            0xc001_0200,
            0x6a0,
            0xda0,
            0xc000_0100,
            0x400,
            0x10a,
        ] {
            assert_eq!(
                guest_rdmsr(&msrs, msr, 0),
                Err(GeneralProtection),
                "{msr:#x}"
            );
            assert_eq!(
                guest_wrmsr(&mut msrs, msr, 0),
                Err(GeneralProtection),
                "{msr:#x}"
            );
        }
    }

    #[test]
    fn every_register_is_total() {
        for vendor in [Vendor::Svm, Vendor::Vmx] {
            let mut msrs = GuestMsrs::new(vendor, 64);
            let ranges = (0..0x2000)
                .chain(0xc000_0000..0xc000_2000)
                .chain(0xc001_0000..0xc001_2000);
            for msr in ranges {
                for value in [0, 1, u64::MAX, 0x0606_0606_0606_0606] {
                    let _ = guest_wrmsr(&mut msrs, msr, value);
                    let _ = guest_rdmsr(&msrs, msr, 0);
                }
            }
        }
    }
}
