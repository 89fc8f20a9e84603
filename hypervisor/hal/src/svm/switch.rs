//! The world switch itself.

use super::vmcb::Vmcb;
use core::arch::asm;

/// Runs what `vmcb` describes until it exits. RAX and RSP are taken from and left in the VMCB, the
/// other general registers in the order of their encoding from and in `registers`.
///
/// # Safety
/// 1. EFER.SVME and the host save area are set, the global interrupt flag is clear.
/// 2. The VMCB intercepts VMRUN, and its nested tables, permission maps and intercepts keep what
///    runs away from the hypervisor's memory.
#[inline(always)]
pub unsafe fn enter(vmcb: &mut Vmcb, registers: &mut [u64; 16]) {
    // SAFETY: (1) and (2) are the instruction's conditions; identity mapping makes the reference
    // the physical address. VMRUN keeps RSP; RBX and RBP, which can't be named as changed, are kept
    // on the stack, all other general registers are named. In line, not a function: the compiler
    // keeps only what it still needs, and the code of an exit stays in few pages.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "push rsi",
            "mov rcx, [rsi + 8]",
            "mov rdx, [rsi + 16]",
            "mov rbx, [rsi + 24]",
            "mov rbp, [rsi + 40]",
            "mov rdi, [rsi + 56]",
            "mov r8, [rsi + 64]",
            "mov r9, [rsi + 72]",
            "mov r10, [rsi + 80]",
            "mov r11, [rsi + 88]",
            "mov r12, [rsi + 96]",
            "mov r13, [rsi + 104]",
            "mov r14, [rsi + 112]",
            "mov r15, [rsi + 120]",
            "mov rsi, [rsi + 48]",
            "vmrun rax",
            "xchg rsi, [rsp]",
            "mov [rsi + 8], rcx",
            "mov [rsi + 16], rdx",
            "mov [rsi + 24], rbx",
            "mov [rsi + 40], rbp",
            "mov [rsi + 56], rdi",
            "mov [rsi + 64], r8",
            "mov [rsi + 72], r9",
            "mov [rsi + 80], r10",
            "mov [rsi + 88], r11",
            "mov [rsi + 96], r12",
            "mov [rsi + 104], r13",
            "mov [rsi + 112], r14",
            "mov [rsi + 120], r15",
            "pop rcx",
            "mov [rsi + 48], rcx",
            "pop rbp",
            "pop rbx",
            inout("rax") core::ptr::from_mut(vmcb) => _,
            inout("rsi") core::ptr::from_mut(registers) => _,
            out("rcx") _,
            out("rdx") _,
            out("rdi") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
        );
    }
}

/// VMSAVE: FS, GS, LDTR, TR, KERNEL_GS_BASE, STAR to SFMASK, SYSENTER into the VMCB.
pub fn vmsave(vmcb: &mut Vmcb) {
    // SAFETY: writes only these fields of the VMCB, which is identity mapped; SVM is on wherever
    // a VMCB is in use.
    unsafe {
        asm!("vmsave rax", in("rax") core::ptr::from_mut(vmcb), options(nostack, preserves_flags))
    };
}

/// VMLOAD: the opposite, and CR2.
///
/// VMRUN loads CR2 too (APM vol. 2 §15.5.1), but Bochs 3.0's leaves it as it is. It is enough to do
/// so here: a page fault is only injected before the guest is attached, and after that CR2 is whose
/// processor is in the CPU, since nothing here takes a page fault.
///
/// # Safety
/// The hypervisor itself depends on none of these registers; but whoever runs next gets them.
pub unsafe fn vmload(vmcb: &Vmcb) {
    // SAFETY: reads the VMCB only; the caller vouches for what runs next.
    unsafe {
        asm!(
            "vmload rax",
            "mov cr2, {cr2}",
            in("rax") core::ptr::from_ref(vmcb),
            cr2 = in(reg) vmcb.cr2,
            options(nostack, preserves_flags)
        )
    };
}
