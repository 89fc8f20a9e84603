//! The virtual machine control block (APM vol. 2, appendix B).

use core::mem::offset_of;
use hypervisor_abi::Segment;

/// A segment register in the state save area.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct VmcbSegment {
    pub selector: u16,
    pub attributes: u16,
    pub limit: u32,
    pub base: u64,
}

impl From<Segment> for VmcbSegment {
    fn from(s: Segment) -> Self {
        Self {
            selector: s.selector,
            attributes: s.attributes,
            limit: s.limit,
            base: s.base,
        }
    }
}

impl From<VmcbSegment> for Segment {
    fn from(s: VmcbSegment) -> Self {
        Self {
            selector: s.selector,
            attributes: s.attributes,
            limit: s.limit,
            base: s.base,
        }
    }
}

/// Control area at 0, state save area at 0x400.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Vmcb {
    pub intercept_cr: u32,
    pub intercept_dr: u32,
    pub intercept_exceptions: u32,
    pub intercept_misc1: u32,
    pub intercept_misc2: u32,
    pub intercept_misc3: u32,
    _reserved_18: [u8; 0x24],
    pub pause_threshold: u16,
    pub pause_count: u16,
    pub iopm_base: u64,
    pub msrpm_base: u64,
    pub tsc_offset: u64,
    pub asid: u32,
    pub tlb_control: u32,
    pub virtual_interrupt: u64,
    pub interrupt_shadow: u64,
    pub exit_code: u64,
    pub exit_info1: u64,
    pub exit_info2: u64,
    pub exit_interrupt_info: u64,
    pub nested_control: u64,
    _avic_bar: u64,
    _ghcb: u64,
    pub event_injection: u64,
    pub nested_cr3: u64,
    pub virtualization_extensions: u64,
    pub clean_bits: u64,
    pub next_rip: u64,
    _fetched: [u8; 16],
    _reserved_e0: [u8; 0x400 - 0xe0],
    pub es: VmcbSegment,
    pub cs: VmcbSegment,
    pub ss: VmcbSegment,
    pub ds: VmcbSegment,
    pub fs: VmcbSegment,
    pub gs: VmcbSegment,
    pub gdtr: VmcbSegment,
    pub ldtr: VmcbSegment,
    pub idtr: VmcbSegment,
    pub tr: VmcbSegment,
    _reserved_4a0: [u8; 0x2b],
    pub cpl: u8,
    _reserved_4cc: u32,
    pub efer: u64,
    _reserved_4d8: [u8; 0x70],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    _reserved_580: [u8; 0x58],
    pub rsp: u64,
    pub s_cet: u64,
    pub ssp: u64,
    pub interrupt_ssp_table: u64,
    pub rax: u64,
    pub star: [u64; 4],
    pub kernel_gs_base: u64,
    pub sysenter: [u64; 3],
    pub cr2: u64,
    _reserved_648: [u8; 0x20],
    pub guest_pat: u64,
    pub debug_control: u64,
    _reserved_678: [u8; 0x1000 - 0x678],
}

const _: () = {
    assert!(size_of::<Vmcb>() == 4096);
    assert!(offset_of!(Vmcb, pause_threshold) == 0x3c);
    assert!(offset_of!(Vmcb, iopm_base) == 0x40);
    assert!(offset_of!(Vmcb, asid) == 0x58);
    assert!(offset_of!(Vmcb, virtual_interrupt) == 0x60);
    assert!(offset_of!(Vmcb, exit_code) == 0x70);
    assert!(offset_of!(Vmcb, nested_control) == 0x90);
    assert!(offset_of!(Vmcb, event_injection) == 0xa8);
    assert!(offset_of!(Vmcb, nested_cr3) == 0xb0);
    assert!(offset_of!(Vmcb, clean_bits) == 0xc0);
    assert!(offset_of!(Vmcb, next_rip) == 0xc8);
    assert!(offset_of!(Vmcb, es) == 0x400);
    assert!(offset_of!(Vmcb, tr) == 0x490);
    assert!(offset_of!(Vmcb, cpl) == 0x4cb);
    assert!(offset_of!(Vmcb, efer) == 0x4d0);
    assert!(offset_of!(Vmcb, cr4) == 0x548);
    assert!(offset_of!(Vmcb, rip) == 0x578);
    assert!(offset_of!(Vmcb, rsp) == 0x5d8);
    assert!(offset_of!(Vmcb, rax) == 0x5f8);
    assert!(offset_of!(Vmcb, kernel_gs_base) == 0x620);
    assert!(offset_of!(Vmcb, cr2) == 0x640);
    assert!(offset_of!(Vmcb, guest_pat) == 0x668);
};

impl Vmcb {
    /// All zero: intercepts nothing and can't be entered until its owner fills it.
    pub fn zeroed() -> Self {
        // SAFETY: every field is an integer or an array of integers, for which zero is a value.
        unsafe { core::mem::zeroed() }
    }
}

/// Intercepts in `intercept_dr`: all reads and writes.
pub const ALL_DEBUG_REGISTERS: u32 = u32::MAX;

/// Intercepts in `intercept_misc1`.
pub mod misc1 {
    pub const INTR: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 1;
    pub const INIT: u32 = 1 << 3;
    pub const VINTR: u32 = 1 << 4;
    pub const RDPMC: u32 = 1 << 15;
    pub const CPUID: u32 = 1 << 18;
    pub const IRET: u32 = 1 << 20;
    pub const INVD: u32 = 1 << 22;
    pub const PAUSE: u32 = 1 << 23;
    pub const HLT: u32 = 1 << 24;
    pub const INVLPGA: u32 = 1 << 26;
    pub const IOIO: u32 = 1 << 27;
    pub const MSR: u32 = 1 << 28;
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Intercepts in `intercept_misc2`.
pub mod misc2 {
    pub const VMRUN: u32 = 1 << 0;
    pub const VMMCALL: u32 = 1 << 1;
    pub const VMLOAD: u32 = 1 << 2;
    pub const VMSAVE: u32 = 1 << 3;
    pub const STGI: u32 = 1 << 4;
    pub const CLGI: u32 = 1 << 5;
    pub const SKINIT: u32 = 1 << 6;
    pub const WBINVD: u32 = 1 << 9;
    pub const MONITOR: u32 = 1 << 10;
    pub const MWAIT: u32 = 1 << 11;
    pub const XSETBV: u32 = 1 << 13;
    pub const RDPRU: u32 = 1 << 14;
    /// The extension's own instructions, which nobody under us has.
    pub const OWN_INSTRUCTIONS: u32 = VMRUN | VMLOAD | VMSAVE | STGI | CLGI | SKINIT;
}

/// Intercepts in `intercept_misc3`.
pub mod misc3 {
    pub const INVLPGB: u32 = 1 << 0;
    pub const TLBSYNC: u32 = 1 << 4;
}

/// Exit codes (APM vol. 2, appendix C).
pub mod exit {
    use core::ops::RangeInclusive;

    pub const CR8_WRITE: u64 = 0x18;
    /// Reads of DR0 to DR15, then writes.
    pub const DEBUG_REGISTERS: RangeInclusive<u64> = 0x20..=0x3f;
    pub const DB: u64 = 0x41;
    pub const AC: u64 = 0x51;
    pub const MC: u64 = 0x52;
    pub const INTR: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const INIT: u64 = 0x63;
    pub const VINTR: u64 = 0x64;
    pub const RDPMC: u64 = 0x6f;
    pub const CPUID: u64 = 0x72;
    pub const IRET: u64 = 0x74;
    pub const INVD: u64 = 0x76;
    pub const PAUSE: u64 = 0x77;
    pub const HLT: u64 = 0x78;
    pub const INVLPGA: u64 = 0x7a;
    pub const IOIO: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const SKINIT: u64 = 0x86;
    pub const WBINVD: u64 = 0x89;
    pub const MONITOR: u64 = 0x8a;
    pub const MWAIT_CONDITIONAL: u64 = 0x8c;
    pub const XSETBV: u64 = 0x8d;
    pub const RDPRU: u64 = 0x8e;
    pub const INVLPGB: u64 = 0xa0;
    pub const TLBSYNC: u64 = 0xa4;
    pub const NESTED_PAGE_FAULT: u64 = 0x400;
    /// Stored as 32 or as 64 bits of ones, depending on who implements it.
    pub const INVALID_32: u64 = 0xffff_ffff;
}
