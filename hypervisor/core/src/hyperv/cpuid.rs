//! The leaves that describe the enlightenments (TLFS, Feature and Interface Discovery). Only what is
//! implemented is offered, and only hypercalls that exist are recommended.

use super::partition::Partition;

/// First leaf.
pub const FIRST_LEAF: u32 = 0x4000_0000;
/// Last leaf with content.
pub const LAST_LEAF: u32 = 0x4000_0006;

/// Leaf 3 EAX: which synthetic registers exist.
pub mod privilege {
    #![allow(missing_docs, reason = "the names say it")]
    pub const REFERENCE_COUNTER: u32 = 1 << 1;
    pub const SYNIC: u32 = 1 << 2;
    pub const SYNTHETIC_TIMERS: u32 = 1 << 3;
    /// Also the VP assist page.
    pub const APIC_REGISTERS: u32 = 1 << 4;
    pub const HYPERCALL: u32 = 1 << 5;
    pub const VP_INDEX: u32 = 1 << 6;
    pub const RESET: u32 = 1 << 7;
    pub const REFERENCE_TSC: u32 = 1 << 9;
    pub const FREQUENCIES: u32 = 1 << 11;
}

const POST_MESSAGES: u32 = 1 << 4;
const SIGNAL_EVENTS: u32 = 1 << 5;
const FREQUENCIES_AVAILABLE: u32 = 1 << 8;
const CRASH_REGISTERS: u32 = 1 << 10;
const DIRECT_TIMERS: u32 = 1 << 19;
/// End of interrupt, commands and task priority by MSR; with it guests look at the assist page ([`super::assist`]).
const APIC_BY_MSR: u32 = 1 << 3;
const RELAXED_TIMING: u32 = 1 << 5;
const NO_AUTO_EOI: u32 = 1 << 9;
const MSR_BITMAPS: u32 = 1 << 1;
const NESTED_PAGING: u32 = 1 << 3;

/// Leaf 3 EAX for this machine.
pub fn privileges(partition: &Partition) -> u32 {
    use privilege::*;
    let always = REFERENCE_COUNTER
        | SYNIC
        | SYNTHETIC_TIMERS
        | APIC_REGISTERS
        | HYPERCALL
        | VP_INDEX
        | RESET
        | FREQUENCIES;
    if partition.reference_tsc_offered {
        always | REFERENCE_TSC
    } else {
        always
    }
}

/// EAX, EBX, ECX, EDX of a leaf from 0x40000000 to 0x400000ff; those without content are 0.
pub fn leaf(partition: &Partition, leaf: u32) -> [u32; 4] {
    match leaf {
        // "Microsoft Hv"
        0x4000_0000 => [
            LAST_LEAF,
            u32::from_le_bytes(*b"Micr"),
            u32::from_le_bytes(*b"osof"),
            u32::from_le_bytes(*b"t Hv"),
        ],
        0x4000_0001 => [u32::from_le_bytes(*b"Hv#1"), 0, 0, 0],
        // No version of Windows: guests go by the feature bits.
        0x4000_0002 => [0; 4],
        0x4000_0003 => [
            privileges(partition),
            POST_MESSAGES | SIGNAL_EVENTS,
            0,
            FREQUENCIES_AVAILABLE | CRASH_REGISTERS | DIRECT_TIMERS,
        ],
        // EBX: never report long spin waits.
        0x4000_0004 => [APIC_BY_MSR | RELAXED_TIMING | NO_AUTO_EOI, u32::MAX, 0, 0],
        0x4000_0005 => [
            hypervisor_abi::MAX_PROCESSORS as u32,
            partition.processor_count,
            0,
            0,
        ],
        0x4000_0006 => [MSR_BITMAPS | NESTED_PAGING, 0, 0, 0],
        _ => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_abi::Vendor;

    fn partition(reference_tsc: bool) -> Partition {
        Partition::new(Vendor::Svm, 4, 3_000_000_000, 200_000_000, 0, reference_tsc)
    }

    #[test]
    fn the_vendor_is_what_guests_look_for() {
        let [max, b, c, d] = leaf(&partition(true), 0x4000_0000);
        assert!(max >= 0x4000_0005);
        let name: Vec<u8> = [b, c, d].into_iter().flat_map(u32::to_le_bytes).collect();
        assert_eq!(name, b"Microsoft Hv");
        assert_eq!(leaf(&partition(true), 0x4000_0001)[0], 0x3123_7648);
    }

    #[test]
    fn privileges_hold_what_linux_requires_and_nothing_that_stops_it() {
        let [eax, ebx, _, edx] = leaf(&partition(true), 0x4000_0003);
        assert_eq!(eax & 0b110_0000, 0b110_0000, "hypercall and VP index");
        assert_eq!(eax, 0xafe);
        assert_eq!(
            ebx & (1 << 12 | 1 << 1 | 1 << 20 | 1 << 22),
            0,
            "not root, no partition id, no extended calls"
        );
        assert_eq!(ebx, 0x30);
        assert_eq!(edx, 1 << 8 | 1 << 10 | 1 << 19);
        assert_eq!(
            leaf(&partition(false), 0x4000_0003)[0] & privilege::REFERENCE_TSC,
            0
        );
    }

    #[test]
    fn hints_recommend_no_hypercall() {
        assert_eq!(
            leaf(&partition(true), 0x4000_0004),
            [1 << 3 | 1 << 5 | 1 << 9, u32::MAX, 0, 0]
        );
        assert_eq!(leaf(&partition(true), 0x4000_0082), [0; 4]);
    }
}
