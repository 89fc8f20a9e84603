//! CPUID and model-specific registers of the control domain.
//!
//! It owns the machine, so it has everything but what would let it see, use or disturb the layer
//! below, and what needs state that nobody switches for it. The hypervisor bit is not shown: it is
//! a physical machine to it, with physical quirks to handle.

use super::bits;
use hypervisor_abi::Vendor;

const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

// Leaf 1 ECX: 64-bit and qualified debug store, VMX, SMX, hypervisor.
const LEAF_1_ECX: u32 = bits(&[2, 4, 5, 6, 31]);
// Leaf 1 EDX: debug store. The CPU writes its records at a linear address, also while a guest runs.
const LEAF_1_EDX: u32 = bits(&[21]);
// Leaf 7.0 EBX: SGX, PT.
const LEAF_7_EBX: u32 = bits(&[2, 25]);
// Leaf 7.0 ECX: WAITPKG, CET shadow stacks, key locker, ENQCMD, SGX_LC, PKS.
const LEAF_7_ECX: u32 = bits(&[5, 7, 23, 29, 30, 31]);
// Leaf 7.0 EDX: user interrupts, PCONFIG, CET indirect branch tracking.
const LEAF_7_EDX: u32 = bits(&[5, 18, 20]);
// Leaf 7.1 EAX: FRED, HRESET.
const LEAF_7_1_EAX: u32 = bits(&[17, 22]);
// Leaf 7.1 EDX: supervisor shadow stacks.
const LEAF_7_1_EDX: u32 = bits(&[18]);
// Leaf 80000001h ECX: SVM, SKINIT.
const LEAF_8000_0001_ECX: u32 = bits(&[2, 12]);
// Leaf 80000008h EBX: INVLPGB.
const LEAF_8000_0008_EBX: u32 = bits(&[3]);

const NONE: [u32; 4] = [0; 4];
const ALL: [u32; 4] = [u32::MAX; 4];

/// The table: which bits of EAX, EBX, ECX, EDX are hidden.
fn hidden(leaf: u32, subleaf: u32) -> [u32; 4] {
    match (leaf, subleaf) {
        (1, _) => [0, 0, LEAF_1_ECX, LEAF_1_EDX],
        (7, 0) => [0, LEAF_7_EBX, LEAF_7_ECX, LEAF_7_EDX],
        (7, 1) => [LEAF_7_1_EAX, 0, 0, LEAF_7_1_EDX],
        // SGX; processor trace; key locker; PCONFIG.
        (0x12 | 0x14 | 0x19 | 0x1b, _) => ALL,
        // Another hypervisor's leaves, where we run on one.
        (0x4000_0000..=0x4fff_ffff, _) => ALL,
        (0x8000_0001, _) => [0, 0, LEAF_8000_0001_ECX, 0],
        (0x8000_0008, _) => [0, LEAF_8000_0008_EBX, 0, 0],
        // SVM; memory encryption of guests.
        (0x8000_000a | 0x8000_001f, _) => ALL,
        _ => NONE,
    }
}

/// EAX, EBX, ECX, EDX for the control domain. `cr4` is its own; `host` is the physical CPUID on the
/// CPU where it asks.
pub fn control_domain_cpuid(
    leaf: u32,
    subleaf: u32,
    cr4: u64,
    host: impl Fn(u32, u32) -> [u32; 4],
) -> [u32; 4] {
    let hide = hidden(leaf, subleaf);
    let physical = host(leaf, subleaf);
    let mut result: [u32; 4] = core::array::from_fn(|i| physical[i] & !hide[i]);
    // The physical CPU mirrors the hypervisor's CR4 here.
    match (leaf, subleaf) {
        (1, _) => mirror(&mut result[2], 27, 26, cr4 & CR4_OSXSAVE != 0),
        (7, 0) => mirror(&mut result[2], 4, 3, cr4 & CR4_PKE != 0),
        _ => {}
    }
    result
}

/// Sets `bit` as CR4 says, if the feature is there at all.
fn mirror(word: &mut u32, bit: u32, feature: u32, on: bool) {
    *word &= !(1 << bit);
    if on && *word >> feature & 1 != 0 {
        *word |= 1 << bit;
    }
}

/// What happens when the control domain touches an intercepted register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// #GP.
    Fault,
    /// A read gives this value.
    Value(u64),
    /// A write does nothing.
    Ignore,
    /// The physical register is read or written.
    Physical,
    /// The same without an exit, where reads and writes can be told apart; on a vendor whose table
    /// has it they can.
    Direct,
    /// EFER without the bits of the hypervisor; only defined bits may be written.
    Efer,
    /// Written physically if all bits but those of this mask are as they are now; else #GP.
    PhysicalIfUnchanged {
        /// Bits that may change.
        except: u64,
    },
}

/// A register that the control domain does not have directly.
#[derive(Clone, Copy, Debug)]
pub struct InterceptedMsr {
    /// Its number; with `last`, the first of a range.
    pub first: u32,
    /// The last of the range.
    pub last: u32,
    /// What RDMSR does.
    pub read: Answer,
    /// What WRMSR does.
    pub write: Answer,
}

const fn one(msr: u32, read: Answer, write: Answer) -> InterceptedMsr {
    InterceptedMsr {
        first: msr,
        last: msr,
        read,
        write,
    }
}

/// VM_CR: locked, extension disabled: as on a CPU whose firmware has it off.
const VM_CR_OFF: u64 = 1 << 3 | 1 << 4;
/// FEATURE_CONTROL: locked, everything off.
const FEATURE_CONTROL_OFF: u64 = 1;
/// IA32_APIC_BASE: mode bits. The address stays, the bootstrap flag is the CPU's.
const APIC_BASE_MODE: u64 = 3 << 10;

const COMMON: [InterceptedMsr; 1] = [one(
    0x1b,
    Answer::Physical,
    Answer::PhysicalIfUnchanged {
        except: APIC_BASE_MODE,
    },
)];

const SVM: [InterceptedMsr; 6] = [
    COMMON[0],
    one(0xc000_0080, Answer::Efer, Answer::Efer),
    // PATCH_LOADER: microcode is loaded before the control domain starts.
    one(0xc001_0020, Answer::Fault, Answer::Ignore),
    // VM_CR
    one(0xc001_0114, Answer::Value(VM_CR_OFF), Answer::Fault),
    // IGNNE and SMM control stay the CPU's; VM_HSAVE_PA and SVM_KEY are ours.
    InterceptedMsr {
        first: 0xc001_0117,
        last: 0xc001_0118,
        read: Answer::Fault,
        write: Answer::Fault,
    },
    // SEV: GHCB, status, and the registers between.
    InterceptedMsr {
        first: 0xc001_0130,
        last: 0xc001_0137,
        read: Answer::Fault,
        write: Answer::Fault,
    },
];

/// Memory type registers: the nested tables copy them at start, so they stay as they are. The kernel
/// writes them back as it found them, with types switched off meanwhile: neither may fault.
const fn memory_types(first: u32, last: u32) -> InterceptedMsr {
    InterceptedMsr {
        first,
        last,
        read: Answer::Direct,
        write: Answer::Ignore,
    }
}

const VMX: [InterceptedMsr; 10] = [
    COMMON[0],
    // FEATURE_CONTROL
    one(0x3a, Answer::Value(FEATURE_CONTROL_OFF), Answer::Fault),
    // Microcode trigger; SMM monitor.
    one(0x79, Answer::Fault, Answer::Ignore),
    one(0x9b, Answer::Fault, Answer::Fault),
    memory_types(0x200, 0x21f),
    memory_types(0x250, 0x250),
    memory_types(0x258, 0x259),
    memory_types(0x268, 0x26f),
    memory_types(0x2ff, 0x2ff),
    // VMX capabilities.
    InterceptedMsr {
        first: 0x480,
        last: 0x493,
        read: Answer::Fault,
        write: Answer::Fault,
    },
];

/// The table of a vendor. On Intel, EFER is exchanged by the VMCS and needs no row.
pub const fn intercepted_msrs(vendor: Vendor) -> &'static [InterceptedMsr] {
    match vendor {
        Vendor::Svm => &SVM,
        Vendor::Vmx => &VMX,
    }
}

/// The row for `msr`; `None`: the control domain has the register directly.
pub fn control_domain_msr(vendor: Vendor, msr: u32) -> Option<&'static InterceptedMsr> {
    intercepted_msrs(vendor)
        .iter()
        .find(|row| (row.first..=row.last).contains(&msr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything(_: u32, _: u32) -> [u32; 4] {
        ALL
    }

    #[test]
    fn the_layer_below_is_not_shown() {
        let [.., ecx, edx] = control_domain_cpuid(1, 0, 0, everything);
        assert_eq!(ecx & (1 << 5 | 1 << 6 | 1 << 31), 0, "VMX, SMX, hypervisor");
        assert_eq!(
            (ecx & (1 << 2 | 1 << 4), edx & 1 << 21),
            (0, 0),
            "debug store"
        );
        let [.., ecx, _] = control_domain_cpuid(0x8000_0001, 0, 0, everything);
        assert_eq!(ecx & (1 << 2 | 1 << 12), 0, "SVM, SKINIT");
        for leaf in [
            0x12,
            0x14,
            0x19,
            0x4000_0000,
            0x4000_0100,
            0x8000_000a,
            0x8000_001f,
        ] {
            assert_eq!(
                control_domain_cpuid(leaf, 0, 0, everything),
                [0; 4],
                "{leaf:#x}"
            );
        }
        let [_, ebx, ecx, edx] = control_domain_cpuid(7, 0, 0, everything);
        for (word, bit, name) in [
            (ebx, 2, "SGX"),
            (ebx, 25, "PT"),
            (ecx, 5, "WAITPKG"),
            (ecx, 7, "CET_SS"),
            (ecx, 29, "ENQCMD"),
            (ecx, 31, "PKS"),
            (edx, 18, "PCONFIG"),
            (edx, 20, "CET_IBT"),
        ] {
            assert_eq!(word >> bit & 1, 0, "{name}");
        }
        assert_eq!(
            control_domain_cpuid(0x8000_0008, 0, 0, everything)[1] >> 3 & 1,
            0,
            "INVLPGB"
        );
        assert_eq!(
            control_domain_cpuid(7, 1, 0, everything)[0] >> 17 & 1,
            0,
            "FRED"
        );
    }

    #[test]
    fn all_else_is_the_cpus() {
        for leaf in [
            0,
            2,
            4,
            5,
            6,
            0xb,
            0xd,
            0x15,
            0x1f,
            0x8000_0002,
            0x8000_0007,
            0x8000_001e,
        ] {
            assert_eq!(
                control_domain_cpuid(leaf, 0, 0, everything),
                ALL,
                "{leaf:#x}"
            );
        }
        assert_eq!(
            control_domain_cpuid(1, 0, CR4_OSXSAVE, everything)[2],
            !(1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 31)
        );
    }

    #[test]
    fn its_own_cr4_is_mirrored() {
        assert_eq!(control_domain_cpuid(1, 0, 0, everything)[2] >> 27 & 1, 0);
        assert_eq!(control_domain_cpuid(7, 0, 0, everything)[2] >> 4 & 1, 0);
        assert_eq!(
            control_domain_cpuid(7, 0, CR4_PKE, everything)[2] >> 4 & 1,
            1
        );
        let without = |_, _| [0; 4];
        assert_eq!(control_domain_cpuid(1, 0, CR4_OSXSAVE, without)[2], 0);
    }

    #[test]
    fn registers_of_the_extensions_are_ours() {
        let row = |vendor, msr| control_domain_msr(vendor, msr).map(|row| (row.read, row.write));
        assert_eq!(
            row(Vendor::Svm, 0xc000_0080),
            Some((Answer::Efer, Answer::Efer))
        );
        assert_eq!(
            row(Vendor::Svm, 0xc001_0114),
            Some((Answer::Value(0x18), Answer::Fault))
        );
        for msr in [0xc001_0117, 0xc001_0118, 0xc001_0130, 0xc001_0131] {
            assert_eq!(
                row(Vendor::Svm, msr),
                Some((Answer::Fault, Answer::Fault)),
                "{msr:#x}"
            );
        }
        assert_eq!(
            row(Vendor::Vmx, 0x3a),
            Some((Answer::Value(1), Answer::Fault))
        );
        assert_eq!(
            row(Vendor::Vmx, 0x48a),
            Some((Answer::Fault, Answer::Fault))
        );
        for msr in [0x200, 0x20f, 0x250, 0x26f, 0x2ff] {
            assert_eq!(
                row(Vendor::Vmx, msr),
                Some((Answer::Direct, Answer::Ignore)),
                "{msr:#x}"
            );
        }
        for (vendor, msr) in [
            (Vendor::Svm, 0x10),
            (Vendor::Svm, 0x48),
            (Vendor::Svm, 0x3a),
            (Vendor::Vmx, 0xc001_0114),
        ] {
            assert_eq!(row(vendor, msr), None, "{msr:#x} is direct");
        }
    }

    #[test]
    fn rows_do_not_overlap() {
        for vendor in [Vendor::Svm, Vendor::Vmx] {
            for pair in intercepted_msrs(vendor).windows(2) {
                assert!(pair[0].first <= pair[0].last && pair[0].last < pair[1].first);
            }
        }
    }
}
