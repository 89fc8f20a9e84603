//! The floor of every exit: VMRUN and #VMEXIT on the bare processor, and nothing between them but
//! the step over the instruction that exited (APM vol. 2, chapter 15).

use crate::cpu::{cpuid, read_msr, write_msr};
use crate::page::Page;
use crate::report::{Outcome, equal, holds};
use core::arch::asm;

const EFER: u32 = 0xc000_0080;
const EFER_SVME: u64 = 1 << 12;
const VM_HSAVE_PA: u32 = 0xc001_0117;
const EXIT_CPUID: u64 = 0x72;

/// Offsets in the VMCB (APM vol. 2 appendix B).
mod offset {
    pub const INTERCEPTS: usize = 0x08; // Exceptions, then the first word of instructions.
    pub const MORE_INTERCEPTS: usize = 0x10;
    pub const ASID: usize = 0x58;
    pub const EXIT_CODE: usize = 0x70;
    pub const NESTED_CONTROL: usize = 0x90;
    pub const NESTED_CR3: usize = 0xb0;
    pub const SEGMENTS: [usize; 4] = [0x400, 0x410, 0x420, 0x430]; // ES, CS, SS, DS.
    pub const EFER: usize = 0x4d0;
    pub const CR4: usize = 0x548;
    pub const CR3: usize = 0x550;
    pub const CR0: usize = 0x558;
    pub const DR7: usize = 0x560;
    pub const DR6: usize = 0x568;
    pub const RFLAGS: usize = 0x570;
    pub const RIP: usize = 0x578;
    pub const PAT: usize = 0x668;
}

static VMCB: Page = Page::new();
/// Of a second guest, which does the same.
static OTHER_VMCB: Page = Page::new();
static SAVE_AREA: Page = Page::new();

core::arch::global_asm!(
    ".balign 64",
    "world_switch_guest:",
    "cpuid",
    "jmp world_switch_guest"
);

unsafe extern "C" {
    static world_switch_guest: u8;
}

/// Prepares two guests that execute CPUID for ever, and lets `measure` run the first alone, and then
/// both in turn: as a guest and the domain that answers its exits, with nothing in between.
pub fn measure_with(measure: impl Fn(&str, fn(u64))) -> Outcome {
    let features = cpuid(0x8000_0001, 0)[2];
    holds("SVM", features >> 2 & 1 == 1, features.into())?;
    let fault = super::enlightenments::fault;
    let efer = read_msr(EFER).map_err(fault("EFER"))?;
    write_msr(EFER, efer | EFER_SVME).map_err(fault("EFER.SVME"))?;
    write_msr(VM_HSAVE_PA, SAVE_AREA.address()).map_err(fault("save area"))?;
    fill(&VMCB, efer | EFER_SVME);
    fill(&OTHER_VMCB, efer | EFER_SVME);
    measure("floor", switch);
    measure("floor-there-and-back", switch_there_and_back);
    equal("exit code", VMCB.read(offset::EXIT_CODE), EXIT_CPUID)?;
    equal(
        "other exit code",
        OTHER_VMCB.read(offset::EXIT_CODE),
        EXIT_CPUID,
    )
}

fn fill(vmcb: &Page, efer: u64) {
    let (cr0, cr3, cr4): (u64, u64, u64);
    // SAFETY: reads only.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3, out(reg) cr4, options(nomem, nostack));
    }
    let intercept_cpuid = 1 << 18;
    let intercept_vmrun = 1;
    for (at, value) in [
        (offset::INTERCEPTS, intercept_cpuid << 32),
        (offset::MORE_INTERCEPTS, intercept_vmrun),
        (offset::ASID, 1),
        (offset::NESTED_CONTROL, 1),
        (offset::NESTED_CR3, cr3),
        (offset::EFER, efer),
        (offset::CR0, cr0),
        (offset::CR3, cr3),
        (offset::CR4, cr4),
        (offset::DR7, 0x400),
        (offset::DR6, 0xffff_0ff0),
        (offset::RFLAGS, 2),
        (offset::RIP, (&raw const world_switch_guest) as u64),
        (offset::PAT, 0x0007_0406_0007_0406),
    ] {
        vmcb.write(at, value);
    }
    for (segment, at) in offset::SEGMENTS.into_iter().enumerate() {
        let (selector, attributes) = if segment == 1 {
            (8, 0xa9b)
        } else {
            (0x10, 0xc93)
        };
        vmcb.write(at, selector | attributes << 16 | 0xffff_ffff << 32);
    }
}

/// Runs the guest so many times.
fn switch(times: u64) {
    // SAFETY: the VMCB describes a guest whose one instruction changes nothing, as it exits; the
    // global interrupt flag is clear until the registers are the host's for good.
    unsafe {
        asm!("clgi", ".balign 64", "2:", "vmrun rax", "add qword ptr [rax + {rip}], 2", "dec rcx", "jnz 2b", "stgi",
            rip = const offset::RIP, inout("rax") VMCB.address() => _, inout("rcx") times => _, options(nostack));
    }
}

/// Runs one guest and the other so many times, each with its own FS, GS, TR, LDTR and system-call
/// registers.
fn switch_there_and_back(times: u64) {
    // SAFETY: as in `switch`; VMSAVE writes the VMCBs alone, and VMLOAD brings what VMSAVE has left
    // there, which are this program's own registers.
    unsafe {
        asm!("clgi", "vmsave rax", "xchg rax, rdx", "vmsave rax", ".balign 64",
            "2:", "vmrun rax", "add qword ptr [rax + {rip}], 2", "vmsave rax", "xchg rax, rdx", "vmload rax",
            "vmrun rax", "add qword ptr [rax + {rip}], 2", "vmsave rax", "xchg rax, rdx", "vmload rax",
            "dec rcx", "jnz 2b", "stgi",
            rip = const offset::RIP, inout("rax") VMCB.address() => _, inout("rdx") OTHER_VMCB.address() => _,
            inout("rcx") times => _, options(nostack));
    }
}
