//! Starting the other processors by INIT and SIPI, and giving them work.

use crate::{apic, clock, cpu, interrupts};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};

/// Where the first instructions of a processor are put: real mode reaches the first MiB only.
const TRAMPOLINE: u64 = 0x8000;

core::arch::global_asm!(
    ".balign 16",
    "trampoline:",
    ".code16",
    "cli",
    "xorw %ax, %ax",
    "movw %ax, %ds",
    "lgdtl 0x8000 + (trampoline_gdtr - trampoline)",
    "movl $0x620, %eax",
    "movl %eax, %cr4",
    "movl $0x1000, %eax",
    "movl %eax, %cr3",
    "movl $0xc0000080, %ecx",
    "rdmsr",
    "orl $0x900, %eax",
    "wrmsr",
    "movl $0x80010033, %eax",
    "movl %eax, %cr0",
    "ljmpl $8, $(0x8000 + (trampoline_long - trampoline))",
    ".code64",
    "trampoline_long:",
    "movl $0x10, %eax",
    "movl %eax, %ds",
    "movl %eax, %es",
    "movl %eax, %ss",
    "movq 0x8000 + (trampoline_stack - trampoline), %rsp",
    "movq 0x8000 + (trampoline_entry - trampoline), %rax",
    "xorl %ebp, %ebp",
    "callq *%rax",
    "ud2",
    ".balign 8",
    "trampoline_gdt:",
    ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "trampoline_gdtr:",
    ".word 23",
    ".long 0x8000 + (trampoline_gdt - trampoline)",
    ".balign 8",
    "trampoline_stack: .quad 0",
    "trampoline_entry: .quad 0",
    "trampoline_end:",
    options(att_syntax),
);

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_stack: u8;
    static trampoline_entry: u8;
    static trampoline_end: u8;
}

const STACK_SIZE: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack([u8; STACK_SIZE]);

static mut STACKS: [Stack; interrupts::MAX_PROCESSORS] =
    [const { Stack([0; STACK_SIZE]) }; interrupts::MAX_PROCESSORS];

static STARTED: AtomicUsize = AtomicUsize::new(1);
static WORK: [AtomicU64; interrupts::MAX_PROCESSORS] =
    [const { AtomicU64::new(0) }; interrupts::MAX_PROCESSORS];
static RESULT: [AtomicU32; interrupts::MAX_PROCESSORS] =
    [const { AtomicU32::new(0) }; interrupts::MAX_PROCESSORS];
static DONE: [AtomicBool; interrupts::MAX_PROCESSORS] =
    [const { AtomicBool::new(false) }; interrupts::MAX_PROCESSORS];

/// Starts processor `index`. Answers whether it came up within a second.
pub fn start(index: usize) -> bool {
    // SAFETY: page 8 of low memory is nobody's; the linker's symbols bound the code. The
    // processor that will read it does not run yet.
    unsafe {
        let source = &raw const trampoline;
        let length = (&raw const trampoline_end) as usize - source as usize;
        core::ptr::copy_nonoverlapping(source, TRAMPOLINE as *mut u8, length);
        let place = |symbol: *const u8| (TRAMPOLINE + (symbol as u64 - source as u64)) as *mut u64;
        let stack = (&raw const STACKS[index]) as u64 + STACK_SIZE as u64;
        place(&raw const trampoline_stack).write(stack);
        place(&raw const trampoline_entry).write(enter as *const () as u64);
    }
    let before = STARTED.load(SeqCst);
    let destination = index as u32;
    // INIT, then the start-up vector twice, as every kernel does (SDM vol. 3 §9.4.4).
    apic::command(destination, 0xc500);
    clock::sleep_us(200);
    for _ in 0..2 {
        apic::command(destination, 0x4600 | (TRAMPOLINE >> 12) as u32);
        if clock::wait_until_us(500_000, || STARTED.load(SeqCst) > before) {
            return true;
        }
    }
    false
}

/// Gives a processor work; `wait_for` takes the result.
pub fn give(index: usize, work: fn() -> u32) {
    DONE[index].store(false, SeqCst);
    WORK[index].store(work as *const () as u64, SeqCst);
    apic::send(index as u32, WORK_VECTOR);
}

/// Waits for what a processor answers, so many microseconds.
pub fn wait_for(index: usize, us: u64) -> Option<u32> {
    clock::wait_until_us(us, || DONE[index].load(SeqCst)).then(|| RESULT[index].load(SeqCst))
}

/// The interrupt that tells a processor that there is work.
pub const WORK_VECTOR: u8 = 0x31;

extern "sysv64" fn enter() -> ! {
    interrupts::load_tables();
    apic::enable();
    let me = interrupts::processor();
    STARTED.fetch_add(1, SeqCst);
    loop {
        cpu::wait();
        let work = WORK[me].swap(0, SeqCst);
        if work != 0 {
            // SAFETY: `give` stores functions of this type only.
            let work: fn() -> u32 = unsafe { core::mem::transmute(work as *const ()) };
            cpu::set_interrupts(true);
            let result = work();
            cpu::set_interrupts(false);
            RESULT[me].store(result, SeqCst);
            DONE[me].store(true, SeqCst);
        }
    }
}
