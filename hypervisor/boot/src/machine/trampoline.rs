//! The way of another CPU from its start in real mode to 64-bit mode on its own stack.
//!
//! The code is copied to a page below 1 MiB; behind it, at fixed offsets, lie what it loads. One
//! CPU is started at a time, so one page serves all.

use super::segments::{CODE_64, DATA};
use super::{apic, cpu};
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

/// Offsets in the page; the assembly below uses the same numbers.
const GDT_POINTER: usize = 0x800;
const ROOT: usize = 0x810;
const FAR_POINTER: usize = 0x818;
const STACK: usize = 0x820;
const ARGUMENT: usize = 0x828;
const ENTRY: usize = 0x830;
const GDT: usize = 0x840;

// Straight from real mode to 64-bit mode: PAE, the page tables and EFER.LME are set before paging
// and protection are switched on together.
global_asm!(
    ".code16",
    "entente_trampoline:",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    "xor ebx, ebx",
    "mov bx, ax",
    "shl ebx, 4",
    "lgdt ds:[0x800]",
    "mov eax, {cr4}",
    "mov cr4, eax",
    "mov eax, dword ptr ds:[0x810]",
    "mov cr3, eax",
    "mov ecx, 0xc0000080",
    "xor edx, edx",
    "mov eax, {efer}",
    "wrmsr",
    "mov eax, {cr0}",
    "mov cr0, eax",
    "jmp fword ptr ds:[0x818]",
    ".code64",
    "entente_trampoline_64:",
    "mov ax, 0x10",
    "mov ds, ax",
    "mov es, ax",
    "mov ss, ax",
    "xor eax, eax",
    "mov fs, ax",
    "mov gs, ax",
    "mov rsp, [rbx + 0x820]",
    "mov rdi, [rbx + 0x828]",
    "xor ebp, ebp",
    "call [rbx + 0x830]",
    "ud2",
    "entente_trampoline_end:",
    cr4 = const cpu::CR4,
    efer = const cpu::EFER,
    cr0 = const cpu::CR0,
);

unsafe extern "C" {
    static entente_trampoline: u8;
    static entente_trampoline_64: u8;
    static entente_trampoline_end: u8;
}

/// Set by a CPU when it has left the trampoline.
static ARRIVED: AtomicBool = AtomicBool::new(false);

/// The trampoline in its page.
pub struct Trampoline {
    page: u64,
}

impl Trampoline {
    /// Copies the code to the page at `page` and tells it the root of the page tables.
    ///
    /// # Safety
    /// `page` must be one free page below 1 MiB; `root` must lie below 4 GiB and map the page, and
    /// everything that [`Self::start`] is told, at its own address.
    pub unsafe fn install(page: u64, root: u64) -> Self {
        let (start, middle, end) = (
            &raw const entente_trampoline,
            &raw const entente_trampoline_64,
            &raw const entente_trampoline_end,
        );
        let this = Self { page };
        let long_mode = page + (middle as u64 - start as u64);
        // SAFETY: the code is far shorter than 0x800 bytes and the fields lie behind it in the
        // same page, which the caller says is free.
        unsafe {
            core::ptr::copy_nonoverlapping(start, page as *mut u8, end as usize - start as usize);
            this.field::<[u64; 3]>(GDT)
                .write_unaligned([0, CODE_64, DATA]);
            this.field::<u16>(GDT_POINTER).write_unaligned(23);
            this.field::<u32>(GDT_POINTER + 2)
                .write_unaligned(page as u32 + GDT as u32);
            this.field::<u64>(ROOT).write_unaligned(root);
            this.field::<u32>(FAR_POINTER)
                .write_unaligned(long_mode as u32);
            this.field::<u16>(FAR_POINTER + 4)
                .write_unaligned(super::segments::HOST_CS);
        }
        this
    }

    fn field<T>(&self, offset: usize) -> *mut T {
        (self.page as usize + offset) as *mut T
    }

    /// Starts the CPU `apic_id`: it calls `entry(argument)` on the stack that ends at `stack_top`.
    /// Returns whether it called [`arrived`] within a second.
    ///
    /// # Safety
    /// No firmware may use that CPU any more, the stack must be its own, and `entry` must take
    /// `argument`.
    pub unsafe fn start(
        &self,
        apic_id: u32,
        stack_top: u64,
        entry: extern "sysv64" fn(u64) -> !,
        argument: u64,
        ticks_per_microsecond: u64,
    ) -> bool {
        ARRIVED.store(false, Ordering::SeqCst);
        // SAFETY: the fields lie in our page, and no other CPU reads them now: the one started
        // before has arrived, or failed and never left real mode.
        unsafe {
            self.field::<u64>(STACK).write_volatile(stack_top);
            self.field::<u64>(ARGUMENT).write_volatile(argument);
            self.field::<u64>(ENTRY)
                .write_volatile(entry as *const () as u64);
        }
        // INIT, 10 ms, then the start-up command twice, as all firmware and systems do it.
        // SAFETY: the caller owns that CPU, and what it will run is in place.
        unsafe { apic::send(apic_id, apic::INIT) };
        cpu::wait(10_000, ticks_per_microsecond);
        for _ in 0..2 {
            // SAFETY: as above; a second start-up command is ignored by a CPU that runs.
            unsafe { apic::send(apic_id, apic::startup(self.page)) };
            for _ in 0..20 {
                if ARRIVED.load(Ordering::SeqCst) {
                    return true;
                }
                cpu::wait(10, ticks_per_microsecond);
            }
        }
        for _ in 0..10_000 {
            if ARRIVED.load(Ordering::SeqCst) {
                return true;
            }
            cpu::wait(100, ticks_per_microsecond);
        }
        false
    }
}

/// Says that the CPU that was started runs on its own stack and needs the trampoline no more.
pub fn arrived() {
    ARRIVED.store(true, Ordering::SeqCst);
}
