//! The world switch itself, and the instructions around it (SDM vol. 3 chapter 31).

use super::vmcs::Field;
use core::arch::{asm, global_asm};

global_asm!(
    // rdi = general registers in the order of their encoding, esi = bit 0 to resume, bit 1 to clear
    // the CPU's buffers: VERW of any selector in memory does. RSP is switched by the VMCS. Keeps RBX
    // and RBP; answers the exit's reason in eax, all ones if nothing was entered.
    ".global entente_vmx_enter",
    "entente_vmx_enter:",
    "push rbx",
    "push rbp",
    "push rdi",
    "mov eax, {host_rsp}",
    "vmwrite rax, rsp",
    "cmp esi, 1",
    "jne 5f",
    // Here ZF says whether to resume, and nothing below changes it.
    "2:",
    "mov rax, [rdi]",
    "mov rcx, [rdi + 8]",
    "mov rdx, [rdi + 16]",
    "mov rbx, [rdi + 24]",
    "mov rbp, [rdi + 40]",
    "mov rsi, [rdi + 48]",
    "mov r8, [rdi + 64]",
    "mov r9, [rdi + 72]",
    "mov r10, [rdi + 80]",
    "mov r11, [rdi + 88]",
    "mov r12, [rdi + 96]",
    "mov r13, [rdi + 104]",
    "mov r14, [rdi + 112]",
    "mov r15, [rdi + 120]",
    "mov rdi, [rdi + 56]",
    "jnz 3f",
    "vmresume",
    "jmp 4f",
    "3:",
    "vmlaunch",
    "4:",
    "pop rdi",
    "mov eax, -1",
    "pop rbp",
    "pop rbx",
    "ret",
    // Not the usual way in: buffers to clear, or the first entry.
    "5:",
    "test esi, 2",
    "jz 6f",
    "mov [rsp - 8], ss",
    "verw [rsp - 8]",
    "6:",
    "not esi",
    "test esi, 1",
    "jmp 2b",
    ".global entente_vmx_exited",
    "entente_vmx_exited:",
    "xchg rdi, [rsp]",
    "mov [rdi], rax",
    "mov [rdi + 8], rcx",
    "mov [rdi + 16], rdx",
    "mov [rdi + 24], rbx",
    "mov [rdi + 40], rbp",
    "mov [rdi + 48], rsi",
    "mov [rdi + 64], r8",
    "mov [rdi + 72], r9",
    "mov [rdi + 80], r10",
    "mov [rdi + 88], r11",
    "mov [rdi + 96], r12",
    "mov [rdi + 104], r13",
    "mov [rdi + 112], r14",
    "mov [rdi + 120], r15",
    "pop rcx",
    "mov [rdi + 56], rcx",
    "mov ecx, {exit_reason}",
    "vmread rax, rcx",
    "pop rbp",
    "pop rbx",
    "ret",
    host_rsp = const Field::HOST_RSP.0,
    exit_reason = const Field::EXIT_REASON.0,
);

unsafe extern "sysv64" {
    /// Not called but by `enter`, which knows what it keeps.
    fn entente_vmx_enter();
    /// Where an exit lands; not called.
    fn entente_vmx_exited();
}

/// Address that the host state must name as the instruction pointer.
pub fn exit_address() -> u64 {
    entente_vmx_exited as *const () as u64
}

/// Runs what the current VMCS describes until it exits; answers the exit's reason,
/// [`reason::NOT_ENTERED`](super::vmcs::reason::NOT_ENTERED) if it could not be entered. RSP is taken
/// from and left in the VMCS.
///
/// # Safety
/// 1. The current VMCS has the host state of this CPU, [`exit_address`] included.
/// 2. Its nested tables, bitmaps and controls keep what runs away from the hypervisor's memory.
/// 3. `resume` says whether it was entered since it was loaded.
#[must_use]
#[inline(always)]
pub unsafe fn enter(registers: &mut [u64; 16], resume: bool, clear_buffers: bool) -> u32 {
    let how = u32::from(resume) | u32::from(clear_buffers) << 1;
    let exit_reason: u32;
    // SAFETY: (1) to (3) are the instructions' conditions; an exit restores the stack pointer that was
    // written just before; RBX and RBP are kept, all other general registers are named as changed. No
    // function of an ABI, so that the compiler keeps only what it still needs.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym entente_vmx_enter,
            out("rax") exit_reason,
            inout("rdi") core::ptr::from_mut(registers) => _,
            inout("rsi") u64::from(how) => _,
            out("rcx") _,
            out("rdx") _,
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
    exit_reason
}

/// Panics: one of the instructions below failed, which can only be a fault of this crate.
#[cold]
fn failed(instruction: &str, operand: u64) -> ! {
    panic!("{instruction} {operand:#x} failed");
}

/// VMREAD of the current VMCS; anything if there is no such field.
///
/// To the compiler the VMCS is memory: what is not used is not read, and nothing is read from before
/// a VMWRITE, an entry or another VMCS.
#[inline(always)]
pub fn vmread(field: u32) -> u64 {
    let value: u64;
    // SAFETY: reads a field; without VMCS or field it leaves the register as it is.
    unsafe {
        asm!("vmread {}, {}", lateout(reg) value, in(reg) u64::from(field), options(pure, readonly, nostack));
    }
    value
}

/// VMWRITE to the current VMCS.
#[inline(always)]
pub fn vmwrite(field: u32, value: u64) {
    // SAFETY: changes what the next entry does, for which [`enter`]'s caller answers.
    unsafe {
        asm!("vmwrite {}, {}", "jbe {}", in(reg) u64::from(field), in(reg) value,
            label { failed("VMWRITE", field.into()) }, options(nostack));
    }
}

macro_rules! by_address {
    ($(#[$meta:meta])* $name:ident, $text:literal) => {
        $(#[$meta])*
        // # Safety: each instruction's own, below.
        pub unsafe fn $name(address: u64) {
            let bad: u8;
            // SAFETY: the caller vouches for the page at `address`.
            unsafe { asm!(concat!($text, " [{}]"), "setbe {}", in(reg) &address, out(reg_byte) bad, options(nostack)) };
            if bad != 0 {
                failed($text, address);
            }
        }
    };
}

by_address!(
    /// VMXON.
    ///
    /// # Safety
    /// The page at `address` is zero but for the revision, and the CPU's from now on; CR4.VMXE is set.
    vmxon,
    "vmxon"
);
by_address!(
    /// VMCLEAR.
    ///
    /// # Safety
    /// At `address` lies a VMCS that is in no other CPU.
    vmclear,
    "vmclear"
);
by_address!(
    /// VMPTRLD.
    ///
    /// # Safety
    /// At `address` lies a VMCS that is in no other CPU.
    vmptrld,
    "vmptrld"
);

/// VMPTRST: the address of the current VMCS, all ones if there is none.
pub fn vmptrst() -> u64 {
    let mut address = 0u64;
    // SAFETY: writes the eight bytes of `address`; VMX operation is on wherever a VMCS is in use.
    unsafe { asm!("vmptrst [{}]", in(reg) &mut address, options(nostack)) };
    address
}

/// Drops this CPU's translations through the nested tables of one EPT pointer, of all tags.
pub fn invalidate_ept(pointer: u64) {
    const SINGLE_CONTEXT: u64 = 1;
    let descriptor = [pointer, 0];
    // SAFETY: dropping translations changes nothing but time; `check` has seen that the kind exists.
    unsafe {
        asm!("invept {}, [{}]", in(reg) SINGLE_CONTEXT, in(reg) &descriptor, options(nostack))
    };
}

/// Drops all of this CPU's translations, of all tags and tables.
pub fn invalidate_all() {
    const ALL_CONTEXTS: u64 = 2;
    let descriptor = [0u64; 2];
    // SAFETY: as above.
    unsafe {
        asm!("invept {0}, [{1}]", "invvpid {0}, [{1}]", in(reg) ALL_CONTEXTS, in(reg) &descriptor, options(nostack));
    }
}
