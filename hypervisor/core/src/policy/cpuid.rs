//! CPUID of guests (SDM vol. 2, APM vol. 3 appendix E).
//!
//! [`passed`] is the table: a bit in it shows what the physical CPU says. [`guest_cpuid`] puts on
//! top what is emulated here and what depends on the guest's own state.

use super::{bits, xstate};
use hypervisor_abi::Vendor;

/// Where a processor stands among its machine's. Each is a core of its own in one package.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// Its APIC id.
    pub apic_id: u32,
    /// Processors of the machine.
    pub processor_count: u32,
}

impl Topology {
    /// Bits of the APIC id that number processors in the package.
    fn id_bits(&self) -> u32 {
        self.processor_count
            .max(1)
            .next_power_of_two()
            .trailing_zeros()
    }
}

/// State of the guest's processor that CPUID mirrors.
#[derive(Clone, Copy, Debug)]
pub struct Mirrored {
    /// CR4.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// The local APIC is enabled in IA32_APIC_BASE.
    pub apic_enabled: bool,
}

const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

/// Last basic leaf that guests see. Leaves 15h and 16h (frequencies) lie behind it on purpose: the
/// APIC timer's frequency is the machine's, not the crystal's; the Hyper-V registers tell it.
const LAST_BASIC: u32 = 0xd;
/// Last extended leaf that guests see.
const LAST_EXTENDED: u32 = 0x8000_0021;

// Leaf 1 ECX: SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, PCID, SSE4.1, SSE4.2, MOVBE, POPCNT, AES,
// XSAVE, AVX, F16C, RDRAND.
const LEAF_1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
// Leaf 1 EDX: FPU, VME, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT,
// PSE-36, CLFLUSH, MMX, FXSR, SSE, SSE2, SS.
const LEAF_1_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26, 27,
]);
// Leaf 7.0 EBX: FSGSBASE, BMI1, AVX2, FDP_EXCPTN_ONLY, SMEP, BMI2, ERMS, FCS/FDS deprecated,
// AVX512F, AVX512DQ, RDSEED, ADX, SMAP, AVX512_IFMA, CLFLUSHOPT, CLWB, AVX512CD, SHA, AVX512BW,
// AVX512VL. Not: TSX, MPX, SGX, PT, resource control.
const LEAF_7_EBX: u32 = bits(&[
    0, 3, 5, 6, 7, 8, 9, 13, 16, 17, 18, 19, 20, 21, 23, 24, 28, 29, 30, 31,
]);
// Leaf 7.0 ECX: AVX512_VBMI, UMIP, PKU, AVX512_VBMI2, GFNI, VAES, VPCLMULQDQ, AVX512_VNNI,
// AVX512_BITALG, AVX512_VPOPCNTDQ, CLDEMOTE, MOVDIRI, MOVDIR64B. Not: WAITPKG, CET, LA57,
// key locker, bus lock detection, ENQCMD, PKS.
const LEAF_7_ECX: u32 = bits(&[1, 2, 3, 6, 8, 9, 10, 11, 12, 14, 22, 25, 27, 28]);
// Leaf 7.0 EDX: FSRM, AVX512_VP2INTERSECT, MD_CLEAR, SERIALIZE, AVX512_FP16. Not: SPEC_CTRL and its
// relatives, whose register nobody switches; user interrupts, CET, AMX, PCONFIG.
const LEAF_7_EDX: u32 = bits(&[4, 8, 10, 14, 23]);
// Leaf 7.1 EAX: SHA512, SM3, SM4, AVX-VNNI, AVX512_BF16, fast REP forms, AVX-IFMA.
const LEAF_7_1_EAX: u32 = bits(&[0, 1, 2, 4, 5, 10, 11, 12, 23]);
// Leaf 7.1 EDX: AVX-VNNI-INT8, AVX-NE-CONVERT, AVX-VNNI-INT16, PREFETCHI.
const LEAF_7_1_EDX: u32 = bits(&[4, 5, 10, 14]);
// Leaf D.1 EAX: XSAVEOPT, XSAVEC, XGETBV(1). Not: XSAVES, whose register nobody switches; XFD.
const LEAF_D_1_EAX: u32 = bits(&[0, 1, 2]);
// Leaf 80000001h ECX: LAHF, CmpLegacy, AltMovCr8, ABM, SSE4A, MisAlignSse, 3DNowPrefetch, XOP, FMA4,
// TBM, TopologyExtensions.
const LEAF_8000_0001_ECX: u32 = bits(&[0, 1, 4, 5, 6, 7, 8, 11, 16, 21, 22]);
// Leaf 80000001h EDX: what AMD repeats of leaf 1; SYSCALL, NX, MmxExt, 1 GiB pages, LM, 3DNow.
// RDTSCP. Not: FFXSR.
const LEAF_8000_0001_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23, 24, 26, 27, 29, 30, 31,
]);
// Leaf 80000008h EBX: CLZERO, XSAVE of error pointers, WBNOINVD, IBPB (its register is emulated).
// Not: INVLPGB, RDPRU, SPEC_CTRL and its relatives.
const LEAF_8000_0008_EBX: u32 = bits(&[0, 2, 9, 12]);
// Leaf 80000021h EAX: no nested data breakpoints, LFENCE serializes, null selector clears base,
// fast REP forms.
const LEAF_8000_0021_EAX: u32 = bits(&[0, 2, 6, 10, 11]);

const ALL: u32 = u32::MAX;

/// The table: which bits of EAX, EBX, ECX, EDX show what the physical CPU says.
fn passed(vendor: Vendor, leaf: u32, subleaf: u32) -> [u32; 4] {
    match (leaf, subleaf) {
        // Vendor.
        (0, _) => [0, ALL, ALL, ALL],
        // EBX: brand index and CLFLUSH size.
        (1, _) => [ALL, 0x0000_ffff, LEAF_1_ECX, LEAF_1_EDX],
        // Cache descriptors.
        (2, _) => [ALL; 4],
        // Caches; the sharing fields are the topology's.
        (4, _) => [0x3ff, ALL, ALL, ALL],
        (7, 0) => {
            // INVPCID is legal as it is on AMD; on Intel it takes an execution control.
            let invpcid = if matches!(vendor, Vendor::Svm) {
                bits(&[10])
            } else {
                0
            };
            [0, LEAF_7_EBX | invpcid, LEAF_7_ECX, LEAF_7_EDX]
        }
        (7, 1) => [LEAF_7_1_EAX, 0, 0, LEAF_7_1_EDX],
        (0xd, 1) => [LEAF_D_1_EAX, 0, 0, 0],
        // Components: size, offset, alignment.
        (0xd, 2..) => [ALL, ALL, 2, 0],
        (0x8000_0000, _) => [0, ALL, ALL, ALL],
        (0x8000_0001, _) => [ALL, 0xf000_0000, LEAF_8000_0001_ECX, LEAF_8000_0001_EDX],
        // Brand; first and second level caches and TLBs.
        (0x8000_0002..=0x8000_0006, _) => [ALL; 4],
        // Invariant TSC.
        (0x8000_0007, _) => [0, 0, 0, bits(&[8])],
        // Physical and linear address widths.
        (0x8000_0008, _) => [0xffff, LEAF_8000_0008_EBX, 0, 0],
        // TLBs of 1 GiB pages; performance hints.
        (0x8000_0019 | 0x8000_001a, _) => [ALL; 4],
        (0x8000_001d, _) => [0x3ff, ALL, ALL, ALL],
        (0x8000_0021, _) => [LEAF_8000_0021_EAX, 0, 0, 0],
        _ => [0; 4],
    }
}

/// Does [`guest_cpuid`] answer alike as long as the processor lives, whatever [`Mirrored`] says?
pub const fn is_constant(leaf: u32) -> bool {
    !matches!(leaf, 1 | 7 | 0xd | 0x8000_0001)
}

/// EAX, EBX, ECX, EDX for a guest, except the Hyper-V leaves. `host` is the physical CPUID.
pub fn guest_cpuid(
    vendor: Vendor,
    leaf: u32,
    subleaf: u32,
    topology: &Topology,
    mirrored: &Mirrored,
    host: &impl Fn(u32, u32) -> [u32; 4],
) -> [u32; 4] {
    let last = if leaf < 0x8000_0000 {
        LAST_BASIC
    } else {
        LAST_EXTENDED.min(host(0x8000_0000, 0)[0])
    };
    if leaf > last {
        return [0; 4];
    }
    let mask = passed(vendor, leaf, subleaf);
    let physical = if mask == [0; 4] {
        [0; 4]
    } else {
        host(leaf, subleaf)
    };
    let mut result: [u32; 4] = core::array::from_fn(|i| physical[i] & mask[i]);
    let [eax, ebx, ecx, edx] = &mut result;
    let count = topology.processor_count.max(1);
    let many = count > 1;
    match leaf {
        0 => *eax = LAST_BASIC,
        1 => {
            *ebx |= topology.apic_id << 24 | (count.next_power_of_two() & 0xff) << 16;
            // x2APIC, TSC deadline, hypervisor present.
            *ecx |= bits(&[21, 24, 31]);
            *ecx |= mirror(
                mirrored.cr4 & CR4_OSXSAVE != 0 && *ecx & bits(&[26]) != 0,
                27,
            );
            *edx &= !mirror(!mirrored.apic_enabled, 9);
            *edx |= mirror(many, 28);
        }
        4 if physical[0] & 0x1f != 0 => {
            *eax |=
                shared_by(physical[0], count) << 14 | (count.next_power_of_two() - 1).min(63) << 26;
        }
        // The APIC timer never stops.
        6 => *eax = bits(&[2]),
        7 if subleaf == 0 => {
            *eax = physical[0].min(1);
            // TSC_ADJUST is emulated.
            *ebx |= bits(&[1]);
            if xstate::supported(host) & 1 << 9 == 0 {
                *ecx &= !bits(&[3]);
            }
            *ecx |= mirror(mirrored.cr4 & CR4_PKE != 0 && *ecx & bits(&[3]) != 0, 4);
        }
        0xb => return topology_leaf(subleaf, topology),
        0xd => extended_state_leaf(subleaf, mirrored.xcr0, host, &mut result),
        0x8000_0000 => *eax = last,
        0x8000_0001 => {
            if !many {
                *ecx &= !bits(&[1]);
            }
            if !mirrored.apic_enabled && matches!(vendor, Vendor::Svm) {
                *edx &= !bits(&[9]);
            }
        }
        // Five-level paging is not offered, so 48 bits are what addresses have.
        0x8000_0008 => {
            *eax = *eax & 0xff | (*eax >> 8 & 0xff).min(48) << 8;
            *ecx = topology.id_bits() << 12 | (count - 1);
        }
        0x8000_001d if physical[0] & 0x1f != 0 => *eax |= shared_by(physical[0], count) << 14,
        // One thread to a core, one node.
        0x8000_001e if matches!(vendor, Vendor::Svm) => {
            result = [topology.apic_id, topology.apic_id & 0xff, 0, 0]
        }
        _ => {}
    }
    result
}

const fn mirror(on: bool, bit: u32) -> u32 {
    if on { 1 << bit } else { 0 }
}

/// Leaf 4 and 8000001Dh, EAX 25:14: how many APIC ids share a cache, less one. The first two levels
/// are a core's own, the last one is the package's.
fn shared_by(eax: u32, count: u32) -> u32 {
    let level = eax >> 5 & 7;
    if level >= 3 {
        (count.next_power_of_two() - 1).min(0xfff)
    } else {
        0
    }
}

/// Leaf Bh: threads (one to a core), then cores.
fn topology_leaf(subleaf: u32, topology: &Topology) -> [u32; 4] {
    const THREAD: u32 = 1;
    const CORE: u32 = 2;
    match subleaf {
        0 => [0, 1, THREAD << 8, topology.apic_id],
        1 => [
            topology.id_bits(),
            topology.processor_count,
            CORE << 8 | 1,
            topology.apic_id,
        ],
        _ => [0, 0, subleaf & 0xff, topology.apic_id],
    }
}

fn extended_state_leaf(
    subleaf: u32,
    xcr0: u64,
    host: &impl Fn(u32, u32) -> [u32; 4],
    result: &mut [u32; 4],
) {
    let supported = xstate::supported(host);
    match subleaf {
        _ if supported == 0 => *result = [0; 4],
        0 => {
            *result = [
                supported as u32,
                xstate::standard_bytes(xcr0, host),
                xstate::standard_bytes(supported, host),
                (supported >> 32) as u32,
            ];
        }
        1 => {
            result[1] = if result[0] & 2 != 0 {
                xstate::compacted_bytes(xcr0, host)
            } else {
                0
            }
        }
        2..=62 if supported >> subleaf & 1 != 0 => {}
        _ => *result = [0; 4],
    }
}

#[cfg(test)]
#[path = "cpuid_tests.rs"]
mod tests;
