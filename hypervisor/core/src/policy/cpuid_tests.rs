use super::*;

/// A CPU with every bit set that there is, on top of plausible structure.
fn everything(leaf: u32, subleaf: u32) -> [u32; 4] {
    match (leaf, subleaf) {
        (0, _) => [0x20, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
        (4, 0) => [0x1c00_4121, 0x1c0_003f, 0x3f, 0],
        (4, 3) => [0x1c03_c163, 0x2c0_003f, 0x3fff, 4],
        (4, 4..) | (0x8000_001d, 4..) => [0; 4],
        (0x8000_001d, 0) => [0x4121, 0x1c0_003f, 63, 0],
        (0x8000_001d, 3) => [0x3c163, 0x3c0_003f, 0x7fff, 1],
        (7, 0) => [2, u32::MAX, u32::MAX, u32::MAX],
        (0xd, 0) => [0x602e7, 0xdead, 0xdead, 0],
        (0xd, 2) => [256, 576, 0, 0],
        (0xd, 5) => [64, 1088, 0, 0],
        (0xd, 6) => [512, 1152, 0, 0],
        (0xd, 7) => [1024, 1664, 0, 0],
        (0xd, 9) => [8, 2688, 0, 0],
        (0xd, 18) => [8192, 2816, 6, 0],
        (0x8000_0000, _) => [0x8000_0030, 0, 0, 0],
        (0x8000_0008, _) => [0x3934, u32::MAX, u32::MAX, u32::MAX],
        _ => [u32::MAX; 4],
    }
}

const ON: Mirrored = Mirrored {
    cr4: CR4_OSXSAVE | CR4_PKE,
    xcr0: 7,
    apic_enabled: true,
};

fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    with(leaf, subleaf, 3, 6, &ON)
}

fn with(
    leaf: u32,
    subleaf: u32,
    apic_id: u32,
    processor_count: u32,
    mirrored: &Mirrored,
) -> [u32; 4] {
    guest_cpuid(
        Vendor::Svm,
        leaf,
        subleaf,
        &Topology {
            apic_id,
            processor_count,
        },
        mirrored,
        &everything,
    )
}

#[track_caller]
fn hidden(word: u32, list: &[(u32, &str)]) {
    for (bit, name) in list {
        assert_eq!(word >> bit & 1, 0, "{name}");
    }
}

#[test]
fn what_the_world_switch_does_not_keep_apart_is_hidden() {
    let [.., ecx, _] = cpuid(1, 0);
    hidden(
        ecx,
        &[
            (2, "DTES64"),
            (3, "MONITOR"),
            (5, "VMX"),
            (6, "SMX"),
            (7, "EIST"),
            (15, "PDCM"),
            (18, "DCA"),
        ],
    );
    let [_, ebx, ecx, edx] = cpuid(7, 0);
    hidden(
        ebx,
        &[
            (2, "SGX"),
            (4, "HLE"),
            (11, "RTM"),
            (12, "RDT-M"),
            (14, "MPX"),
            (15, "RDT-A"),
            (25, "PT"),
        ],
    );
    hidden(
        ecx,
        &[
            (5, "WAITPKG"),
            (7, "CET_SS"),
            (16, "LA57"),
            (23, "KL"),
            (24, "bus lock"),
            (29, "ENQCMD"),
            (30, "SGX_LC"),
            (31, "PKS"),
        ],
    );
    hidden(
        edx,
        &[
            (5, "UINTR"),
            (18, "PCONFIG"),
            (19, "LBR"),
            (20, "CET_IBT"),
            (22, "AMX"),
            (24, "AMX"),
            (25, "AMX"),
            (26, "SPEC_CTRL"),
            (27, "STIBP"),
            (28, "L1D_FLUSH"),
            (29, "ARCH_CAPABILITIES"),
            (31, "SSBD"),
        ],
    );
    let [eax, ..] = cpuid(7, 1);
    hidden(
        eax,
        &[(17, "FRED"), (18, "LKGS"), (26, "LAM"), (22, "HRESET")],
    );
    let [eax, ..] = cpuid(0xd, 1);
    hidden(eax, &[(3, "XSAVES"), (4, "XFD")]);
    let [.., ecx, edx] = cpuid(0x8000_0001, 0);
    hidden(
        ecx,
        &[
            (2, "SVM"),
            (10, "IBS"),
            (12, "SKINIT"),
            (13, "WDT"),
            (15, "LWP"),
            (23, "PerfCtr"),
            (29, "MONITORX"),
        ],
    );
    hidden(edx, &[(25, "FFXSR")]);
    let [_, ebx, ..] = cpuid(0x8000_0008, 0);
    hidden(
        ebx,
        &[
            (3, "INVLPGB"),
            (4, "RDPRU"),
            (14, "IBRS"),
            (15, "STIBP"),
            (24, "SSBD"),
            (25, "VIRT_SSBD"),
        ],
    );
}

#[test]
fn leaves_without_a_row_are_zero() {
    for leaf in [
        3, 5, 8, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x12, 0x14, 0x15, 0x16, 0x19, 0x1d, 0x1e, 0x1f, 0x20,
        0x23,
    ] {
        for subleaf in 0..3 {
            assert_eq!(cpuid(leaf, subleaf), [0; 4], "leaf {leaf:#x}");
        }
    }
    for leaf in [
        0x8000_0009,
        0x8000_000a,
        0x8000_001b,
        0x8000_001f,
        0x8000_0020,
        0x8000_0022,
        0x8fff_ffff,
        0xc000_0000,
    ] {
        assert_eq!(cpuid(leaf, 0), [0; 4], "leaf {leaf:#x}");
    }
}

#[test]
fn emulated_features_are_always_there() {
    let bare = |leaf, _| {
        if leaf == 0x8000_0000 {
            [0x8000_0008, 0, 0, 0]
        } else {
            [0; 4]
        }
    };
    let ask = |leaf| {
        let topology = Topology {
            apic_id: 0,
            processor_count: 1,
        };
        guest_cpuid(Vendor::Svm, leaf, 0, &topology, &ON, &bare)
    };
    assert_eq!(
        ask(1)[2],
        1 << 21 | 1 << 24 | 1 << 31,
        "x2APIC, TSC deadline, hypervisor; no XSAVE, no OSXSAVE"
    );
    assert_eq!(ask(7)[1], 1 << 1, "TSC_ADJUST");
    assert_eq!(ask(6)[0], 1 << 2, "ARAT");
    assert_eq!(ask(0xd), [0; 4]);
}

#[test]
fn the_guests_own_state_is_mirrored() {
    assert_ne!(cpuid(1, 0)[2] & 1 << 27, 0);
    assert_ne!(cpuid(7, 0)[2] & 1 << 4, 0);
    let off = Mirrored {
        cr4: 0,
        xcr0: 1,
        apic_enabled: false,
    };
    assert_eq!(with(1, 0, 0, 1, &off)[2] & 1 << 27, 0);
    assert_eq!(with(1, 0, 0, 1, &off)[3] & 1 << 9, 0);
    assert_eq!(with(7, 0, 0, 1, &off)[2] & 1 << 4, 0);
}

#[test]
fn the_topology_is_consistent_in_all_leaves() {
    for count in [1u32, 2, 3, 4, 6, 64] {
        for apic_id in 0..count {
            let cpuid = |leaf, subleaf| with(leaf, subleaf, apic_id, count, &ON);
            let bits = count.next_power_of_two().trailing_zeros();
            assert_eq!(cpuid(1, 0)[1] >> 24, apic_id);
            assert_eq!(cpuid(1, 0)[1] >> 16 & 0xff, 1 << bits);
            assert_eq!(cpuid(1, 0)[3] >> 28 & 1, u32::from(count > 1), "HTT");
            assert_eq!(cpuid(4, 0)[0] >> 26, (1 << bits) - 1);
            assert_eq!(
                cpuid(4, 0)[0] >> 14 & 0xfff,
                0,
                "the first level is a core's own"
            );
            assert_eq!(cpuid(4, 3)[0] >> 14 & 0xfff, (1 << bits) - 1);
            assert_eq!(cpuid(4, 4), [0; 4]);
            assert_eq!(cpuid(0xb, 0), [0, 1, 0x100, apic_id]);
            assert_eq!(cpuid(0xb, 1), [bits, count, 0x201, apic_id]);
            assert_eq!(cpuid(0xb, 2), [0, 0, 2, apic_id]);
            assert_eq!(cpuid(0x8000_0008, 0)[2], bits << 12 | (count - 1));
            assert_eq!(cpuid(0x8000_001d, 3)[0] >> 14 & 0xfff, (1 << bits) - 1);
            assert_eq!(cpuid(0x8000_001e, 0), [apic_id, apic_id, 0, 0]);
        }
    }
}

#[test]
fn extended_state_follows_xcr0() {
    assert_eq!(cpuid(0xd, 0), [0x2e7, 832, 2696, 0]);
    let small = Mirrored { xcr0: 3, ..ON };
    assert_eq!(with(0xd, 0, 0, 1, &small), [0x2e7, 576, 2696, 0]);
    assert_eq!(cpuid(0xd, 1), [7, 832, 0, 0]);
    assert_eq!(cpuid(0xd, 2), [256, 576, 0, 0]);
    for component in [3, 4, 8, 17, 18, 63, 64] {
        assert_eq!(cpuid(0xd, component), [0; 4], "{component}");
    }
}

#[test]
fn names_and_widths_pass() {
    assert_eq!(cpuid(0, 0), [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65]);
    assert_eq!(cpuid(0x8000_0000, 0)[0], 0x8000_0021);
    assert_eq!(cpuid(0x8000_0002, 0), [u32::MAX; 4]);
    assert_eq!(cpuid(0x8000_0007, 0), [0, 0, 0, 1 << 8]);
    assert_eq!(
        cpuid(0x8000_0008, 0)[0],
        0x3034,
        "52 physical bits, 48 linear"
    );
}

#[test]
fn intel_has_no_amd_leaves_and_needs_a_control_for_invpcid() {
    let topology = Topology {
        apic_id: 1,
        processor_count: 2,
    };
    let ask = |leaf| guest_cpuid(Vendor::Vmx, leaf, 0, &topology, &ON, &everything);
    assert_eq!(ask(0x8000_001e), [0; 4]);
    assert_eq!(ask(7)[1] & 1 << 10, 0);
    assert_ne!(cpuid(7, 0)[1] & 1 << 10, 0);
}
