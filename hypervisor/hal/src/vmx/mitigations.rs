//! What a CPU must forget before a guest runs on it, or the guest could read it by timing.
//!
//! The first-level data cache is flushed when a guest is attached, after the control domain or another
//! guest had the CPU (L1 terminal fault); in between only the hypervisor ran, which keeps no
//! secrets of one guest while another runs. Buffers are cleared at every entry (MDS and its kin).
//! What runs at the same time on the CPU's other thread is the control domain's to choose.

use crate::cpu::{self, msr};

/// CPUID 7 EDX.
mod leaf_7 {
    pub const MD_CLEAR: u32 = 1 << 10;
    pub const FLUSH_L1D: u32 = 1 << 28;
    pub const ARCH_CAPABILITIES: u32 = 1 << 29;
}

/// CPUID 7 EBX: transactional memory.
const RTM: u32 = 1 << 11;

/// IA32_ARCH_CAPABILITIES (SDM vol. 4 table 2-2): what a CPU is safe from, or needs not.
mod capability {
    pub const RDCL_NO: u64 = 1 << 0;
    pub const SKIP_L1D_FLUSH: u64 = 1 << 3;
    pub const MDS_NO: u64 = 1 << 5;
    pub const TAA_NO: u64 = 1 << 8;
    pub const RFDS_NO: u64 = 1 << 27;
    pub const RFDS_CLEAR: u64 = 1 << 28;
}

/// What an entry to a guest does besides entering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mitigations {
    /// IA32_FLUSH_CMD.
    pub flush_l1d: bool,
    /// VERW.
    pub clear_buffers: bool,
}

impl Mitigations {
    /// What this CPU needs, of what its microcode can do.
    pub fn of_this_cpu() -> Self {
        if cpu::cpuid(0, 0)[0] < 7 {
            return Self::default();
        }
        let [_, ebx, _, edx] = cpu::cpuid(7, 0);
        let capabilities = if edx & leaf_7::ARCH_CAPABILITIES == 0 {
            0
        } else {
            // SAFETY: the register exists if CPUID says so.
            unsafe { cpu::rdmsr(msr::ARCH_CAPABILITIES) }
        };
        Self::needed(ebx, edx, capabilities)
    }

    /// From CPUID 7 and IA32_ARCH_CAPABILITIES, 0 where there is none: the CPU is then older than
    /// what is known of it, and safe from nothing.
    fn needed(ebx: u32, edx: u32, capabilities: u64) -> Self {
        let is = |bit| capabilities & bit != 0;
        let reads_l1d = !is(capability::RDCL_NO) && !is(capability::SKIP_L1D_FLUSH);
        let samples = !is(capability::MDS_NO) || ebx & RTM != 0 && !is(capability::TAA_NO);
        let samples_registers = is(capability::RFDS_CLEAR) && !is(capability::RFDS_NO);
        Self {
            flush_l1d: reads_l1d && edx & leaf_7::FLUSH_L1D != 0,
            clear_buffers: samples && edx & leaf_7::MD_CLEAR != 0 || samples_registers,
        }
    }

    /// Flushes the first-level data cache, where that is needed.
    pub fn flush_l1d(self) {
        if self.flush_l1d {
            // SAFETY: the register exists; cached data is written back, not lost.
            unsafe { cpu::wrmsr(msr::FLUSH_CMD, 1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = leaf_7::MD_CLEAR | leaf_7::FLUSH_L1D | leaf_7::ARCH_CAPABILITIES;

    fn needed(edx: u32, capabilities: u64) -> [bool; 2] {
        let m = Mitigations::needed(0, edx, capabilities);
        [m.flush_l1d, m.clear_buffers]
    }

    #[test]
    fn what_a_cpu_is_not_said_to_be_safe_from_is_done() {
        assert_eq!(needed(ALL, 0), [true, true]);
        assert_eq!(needed(ALL & !leaf_7::ARCH_CAPABILITIES, 0), [true, true]);
        assert_eq!(needed(ALL, capability::RDCL_NO), [false, true]);
        assert_eq!(needed(ALL, capability::SKIP_L1D_FLUSH), [false, true]);
        assert_eq!(needed(ALL, capability::MDS_NO), [true, false]);
    }

    #[test]
    fn what_the_microcode_can_not_do_is_left_undone() {
        assert_eq!(needed(0, 0), [false, false]);
        assert_eq!(needed(leaf_7::FLUSH_L1D, 0), [true, false]);
        assert_eq!(needed(leaf_7::MD_CLEAR, 0), [false, true]);
    }

    #[test]
    fn transactions_and_register_files_leak_by_themselves() {
        let safe = capability::RDCL_NO | capability::MDS_NO;
        assert!(!Mitigations::needed(0, ALL, safe).clear_buffers);
        assert!(Mitigations::needed(RTM, ALL, safe).clear_buffers);
        assert!(!Mitigations::needed(RTM, ALL, safe | capability::TAA_NO).clear_buffers);
        let atom = safe | capability::RFDS_CLEAR;
        assert!(Mitigations::needed(0, ALL, atom).clear_buffers);
        assert!(!Mitigations::needed(0, ALL, atom | capability::RFDS_NO).clear_buffers);
    }
}
