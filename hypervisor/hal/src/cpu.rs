//! Single instructions that the rest of this crate is made of.

use core::arch::asm;

/// Model-specific registers named here (APM vol. 2, appendix A).
pub mod msr {
    pub const EFER: u32 = 0xc000_0080;
    pub const VM_CR: u32 = 0xc001_0114;
    pub const VM_HSAVE_PA: u32 = 0xc001_0117;
    pub const TSC_AUX: u32 = 0xc000_0103;
    pub const APIC_BASE: u32 = 0x1b;
    pub const PAT: u32 = 0x277;
    pub const PRED_CMD: u32 = 0x49;
    pub const ARCH_CAPABILITIES: u32 = 0x10a;
    pub const FLUSH_CMD: u32 = 0x10b;
    /// STAR, LSTAR, CSTAR, SFMASK.
    pub const STAR: [u32; 4] = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084];
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
}

/// Whether TSC_AUX exists.
pub fn has_tsc_aux() -> bool {
    cpuid(0x8000_0001, 0)[3] & 1 << 27 != 0 || has_leaf_7(2, 22)
}

/// Whether PRED_CMD exists: AMD says so in leaf 80000008h, Intel in leaf 7.
pub fn has_prediction_barrier() -> bool {
    let amd = cpuid(0x8000_0000, 0)[0] >= 0x8000_0008 && cpuid(0x8000_0008, 0)[1] & 1 << 12 != 0;
    amd || has_leaf_7(3, 26)
}

fn has_leaf_7(register: usize, bit: u32) -> bool {
    cpuid(0, 0)[0] >= 7 && cpuid(7, 0)[register] & 1 << bit != 0
}

/// IA32_APIC_BASE.
pub fn apic_base() -> u64 {
    // SAFETY: the local APIC's base register exists on every 64-bit CPU.
    unsafe { rdmsr(msr::APIC_BASE) }
}

/// Writes IA32_APIC_BASE, of which the caller changes mode bits alone; `false` if the CPU would
/// fault (SDM vol. 3 figure 11-27).
pub fn set_apic_base(value: u64) -> bool {
    const MODE: u64 = 3 << 10;
    let old = apic_base();
    let legal = matches!((old & MODE, value & MODE), (a, b) if a == b || b == 0 || a == 0x800 && b == 0xc00 || a == 0 && b == 0x800);
    let x2apic_exists = cpuid(1, 0)[2] & 1 << 21 != 0;
    if !legal || value & 0x400 != 0 && !x2apic_exists {
        return false;
    }
    // SAFETY: the register exists, only mode bits change, and the transition is a legal one.
    unsafe { wrmsr(msr::APIC_BASE, value) };
    true
}

/// WBINVD.
pub fn write_back_and_invalidate_caches() {
    // SAFETY: loses nothing, whatever it costs.
    unsafe { asm!("wbinvd", options(nostack, preserves_flags)) };
}

/// EFER.SVME
pub const EFER_SVME: u64 = 1 << 12;
/// EFER.LME
pub const EFER_LME: u64 = 1 << 8;
/// EFER bit: page tables may forbid execution.
pub const EFER_NXE: u64 = 1 << 11;
/// EFER.LMA
pub const EFER_LMA: u64 = 1 << 10;

/// RDMSR.
///
/// # Safety
/// The register exists: else the instruction faults.
pub unsafe fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches that the register exists; reading changes no memory.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR.
///
/// # Safety
/// The register exists, takes `value`, and the change breaks no assumption of this program.
pub unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: the caller vouches for register and value.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack, preserves_flags));
    }
}

/// CPUID: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// Width of physical addresses, in bits.
pub fn physical_bits() -> u32 {
    cpuid(0x8000_0008, 0)[0] & 0xff
}

/// RDTSC.
pub fn rdtsc() -> u64 {
    // SAFETY: present on every 64-bit CPU; CR4.TSD is clear in the hypervisor.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// RDRAND, where the CPU has it and it has something to give.
pub fn rdrand() -> Option<u64> {
    if cpuid(1, 0)[2] & (1 << 30) == 0 {
        return None;
    }
    for _ in 0..10 {
        let (value, ok): (u64, u8);
        // SAFETY: CPUID says that the instruction exists.
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack))
        };
        if ok != 0 {
            return Some(value);
        }
    }
    None
}

/// Reads CR4.
pub fn cr4() -> u64 {
    let value;
    // SAFETY: reading CR4 in ring 0 changes nothing.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes CR4.
///
/// # Safety
/// The CPU has what the bits name, and what runs can do with it.
pub unsafe fn set_cr4(value: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// Reads XCR0. CR4.OSXSAVE is set in the hypervisor (see `prepare`).
pub fn xgetbv() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: CR4.OSXSAVE is set on every CPU before anything else of this crate runs.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes XCR0.
///
/// # Safety
/// `value` is legal on this CPU (SDM vol. 1 §13.3), else the instruction faults.
pub unsafe fn xsetbv(value: u64) {
    // SAFETY: the caller vouches for the value; OSXSAVE is set.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nomem, nostack, preserves_flags));
    }
}

/// Reads DR0 to DR3.
pub fn read_debug_registers() -> [u64; 4] {
    let (a, b, c, d);
    // SAFETY: at privilege level 0 with DR7.GD clear (a world switch sets DR7 to 400h) these reads
    // have no effect.
    unsafe {
        asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
            out(reg) a, out(reg) b, out(reg) c, out(reg) d, options(nomem, nostack, preserves_flags));
    }
    [a, b, c, d]
}

/// Writes DR0 to DR3. They do nothing while DR7 enables none, as it is in the hypervisor.
pub fn write_debug_registers(values: [u64; 4]) {
    let [a, b, c, d] = values;
    // SAFETY: any value is legal for an address register; DR7 is 400h in the hypervisor.
    unsafe {
        asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
            in(reg) a, in(reg) b, in(reg) c, in(reg) d, options(nomem, nostack, preserves_flags));
    }
}

/// Writes CR2.
pub fn set_cr2(value: u64) {
    // SAFETY: the hypervisor takes no page fault that it goes on after.
    unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

/// Reads CR2 and DR6, which no world switch of Intel exchanges.
pub fn read_fault_registers() -> [u64; 2] {
    let (cr2, dr6);
    // SAFETY: as for `read_debug_registers`.
    unsafe {
        asm!("mov {}, cr2", "mov {}, dr6", out(reg) cr2, out(reg) dr6, options(nomem, nostack, preserves_flags));
    }
    [cr2, dr6]
}

/// Writes CR2 and DR6.
pub fn write_fault_registers([cr2, dr6]: [u64; 2]) {
    set_cr2(cr2);
    // SAFETY: the hypervisor does not use DR6, whose upper half stays clear.
    unsafe {
        asm!("mov dr6, {}", in(reg) dr6 & 0xffff_ffff, options(nomem, nostack, preserves_flags));
    }
}

/// Sets CR0 and CR4 as the hypervisor needs them: XSAVE usable, no lazy FPU.
///
/// # Safety
/// The CPU has XSAVE; called on each CPU before anything else of this crate.
pub unsafe fn prepare() {
    const CR0_MP: u64 = 1 << 1;
    const CR0_EM_TS: u64 = 1 << 2 | 1 << 3;
    const CR4_OSFXSR_OSXMMEXCPT_OSXSAVE: u64 = 1 << 9 | 1 << 10 | 1 << 18;
    // SAFETY: these bits change no translation; the caller vouches for XSAVE.
    unsafe {
        asm!("mov {t}, cr0", "and {t}, {clear}", "or {t}, {set}", "mov cr0, {t}",
            t = out(reg) _, clear = in(reg) !CR0_EM_TS, set = in(reg) CR0_MP, options(nostack));
        asm!("mov {t}, cr4", "or {t}, {set}", "mov cr4, {t}",
            t = out(reg) _, set = in(reg) CR4_OSFXSR_OSXMMEXCPT_OSXSAVE, options(nostack));
    }
}
