//! Enters the control domain with nothing under it: for diagnosis, or on a CPU that can't run the hypervisor.

use core::arch::asm;
use hypervisor_hal::handoff::{BOOT_CS, BOOT_DS, EntryState, Handoff};

/// What the hypervisor's own start would do, without the hypervisor.
pub fn start(handoff: &'static Handoff, cpu_index: usize) -> ! {
    let entry = handoff.entry(cpu_index);
    // SAFETY: the state is the one that the boot protocol or the mailbox asks for, and nothing of
    // this CPU is used afterwards.
    unsafe { enter(&entry) }
}

/// Loads `entry`'s tables and jumps to it.
///
/// # Safety
/// 1. The tables at its CR3 map all memory, this code and its GDT included.
/// 2. Nothing of this CPU is used afterwards.
unsafe fn enter(entry: &EntryState) -> ! {
    #[repr(C, packed(2))]
    struct Pointer(u16, u64);
    let gdt = Pointer(entry.gdt_limit, entry.gdt_base);
    // SAFETY: the tables at `cr3` map all memory, this code included (1); the GDT holds both
    // selectors; nothing runs here afterwards (2).
    unsafe {
        asm!(
            "cli",
            "lgdt [{gdt}]",
            "mov cr3, {cr3}",
            "mov ds, {ds:x}",
            "mov es, {ds:x}",
            "mov ss, {ds:x}",
            "push {cs}",
            "lea rax, [rip + 2f]",
            "push rax",
            "retfq",
            "2:",
            "mov rsp, {rsp}",
            "jmp {rip}",
            gdt = in(reg) &gdt,
            cr3 = in(reg) entry.cr3,
            ds = in(reg) u64::from(BOOT_DS),
            cs = in(reg) u64::from(BOOT_CS),
            rip = in(reg) entry.rip,
            rsp = in(reg) entry.rsp,
            in("rsi") entry.rsi,
            options(noreturn),
        )
    }
}
