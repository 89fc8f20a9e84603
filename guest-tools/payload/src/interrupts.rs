//! Exceptions and interrupts: one table for all processors, a counter for each vector.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// An exception that was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its vector.
    pub vector: u8,
    /// Its error code.
    pub error_code: u32,
    /// Where it happened, or behind it.
    pub rip: u64,
}

/// Most processors that this program starts.
pub const MAX_PROCESSORS: usize = 8;

/// Interrupts handled, by processor and vector.
static HANDLED: [[AtomicU32; 256]; MAX_PROCESSORS] =
    [const { [const { AtomicU32::new(0) }; 256] }; MAX_PROCESSORS];
/// When the vector came last.
static TSC: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
/// Where to go on after a fault, or 0; and the fault that was caught, + 1.
static RECOVERY: [AtomicU64; MAX_PROCESSORS] = [const { AtomicU64::new(0) }; MAX_PROCESSORS];
static CAUGHT: [AtomicU64; MAX_PROCESSORS] = [const { AtomicU64::new(0) }; MAX_PROCESSORS];
static CAUGHT_AT: [AtomicU64; MAX_PROCESSORS] = [const { AtomicU64::new(0) }; MAX_PROCESSORS];
/// Single steps.
const RFLAGS_TF: u64 = 1 << 8;

/// How often a vector came to a processor.
pub fn handled(processor: usize, vector: u8) -> u32 {
    HANDLED[processor][usize::from(vector)].load(SeqCst)
}

/// The time stamp counter when the vector came last, to whichever processor.
pub fn last_tsc(vector: u8) -> u64 {
    TSC[usize::from(vector)].load(SeqCst)
}

/// Runs `f`, which stores where to go on after a fault to the address it is given.
///
/// # Errors
/// The fault, if one came.
pub fn catch(f: impl FnOnce(*mut u64)) -> Result<(), Fault> {
    let me = processor();
    CAUGHT[me].store(0, SeqCst);
    f(RECOVERY[me].as_ptr());
    RECOVERY[me].store(0, SeqCst);
    match CAUGHT[me].load(SeqCst) {
        0 => Ok(()),
        caught => Err(Fault {
            vector: (caught >> 32) as u8,
            error_code: (caught - 1) as u32,
            rip: CAUGHT_AT[me].load(SeqCst),
        }),
    }
}

/// Index of this processor: its initial APIC id, which the vmm numbers from 0.
pub fn processor() -> usize {
    (crate::cpu::cpuid(1, 0)[1] >> 24) as usize % MAX_PROCESSORS
}

/// What the stubs leave on the stack.
#[repr(C)]
struct Frame {
    registers: [u64; 15],
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

extern "sysv64" fn handle(frame: &mut Frame) {
    let (me, vector) = (processor(), frame.vector as usize & 0xff);
    if vector >= 32 {
        TSC[vector].store(crate::cpu::tsc(), SeqCst);
        HANDLED[me][vector].fetch_add(1, SeqCst);
        let ends = vector != usize::from(crate::apic::SPURIOUS);
        if ends && !(me == 0 && crate::assist::end_is_untold()) {
            crate::apic::end_of_interrupt();
        }
        return;
    }
    let recovery = RECOVERY[me].swap(0, SeqCst);
    if recovery == 0 {
        crate::say!(
            "payload: EXCEPTION {vector} error {:#x} at {:#x} on processor {me}, rsp {:#x}",
            frame.error_code,
            frame.rip,
            frame.rsp
        );
        crate::serial::end(102);
    }
    CAUGHT[me].store(
        (vector as u64) << 32 | (frame.error_code + 1) & 0xffff_ffff,
        SeqCst,
    );
    CAUGHT_AT[me].store(frame.rip, SeqCst);
    frame.rip = recovery;
    frame.rflags &= !RFLAGS_TF;
}

core::arch::global_asm!(
    ".balign 16",
    "interrupt_stubs:",
    ".set i, 0",
    ".rept 256",
    ".balign 16",
    // Vectors that come with an error code (SDM vol. 3 table 6-1).
    ".if (i == 8) || (i >= 10 && i <= 14) || (i == 17) || (i == 21)",
    ".else",
    "pushq $0",
    ".endif",
    "pushq $i",
    "jmp interrupt_common",
    ".set i, i + 1",
    ".endr",
    "interrupt_common:",
    "pushq %rax", "pushq %rbx", "pushq %rcx", "pushq %rdx", "pushq %rsi", "pushq %rdi", "pushq %rbp",
    "pushq %r8", "pushq %r9", "pushq %r10", "pushq %r11", "pushq %r12", "pushq %r13", "pushq %r14", "pushq %r15",
    "cld",
    "movq %rsp, %rdi",
    "call {handle}",
    "popq %r15", "popq %r14", "popq %r13", "popq %r12", "popq %r11", "popq %r10", "popq %r9", "popq %r8",
    "popq %rbp", "popq %rdi", "popq %rsi", "popq %rdx", "popq %rcx", "popq %rbx", "popq %rax",
    "addq $16, %rsp",
    "iretq",
    handle = sym handle,
    options(att_syntax),
);

unsafe extern "C" {
    static interrupt_stubs: u8;
}

struct Tables(UnsafeCell<([u64; 3], [[u64; 2]; 256])>);

// SAFETY: written once by the bootstrap processor before any other is started.
unsafe impl Sync for Tables {}

static TABLES: Tables = Tables(UnsafeCell::new((
    [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff],
    [[0; 2]; 256],
)));

/// Fills the interrupt table; by the bootstrap processor, once.
pub fn fill_table() {
    // SAFETY: only one processor runs, and nothing refers to the tables yet.
    let table = unsafe { &mut (*TABLES.0.get()).1 };
    for (vector, gate) in table.iter_mut().enumerate() {
        let stub = (&raw const interrupt_stubs) as u64 + 16 * vector as u64;
        // Present, interrupt gate, code selector 8.
        gate[0] = stub & 0xffff | 8 << 16 | 0x8e << 40 | (stub >> 16 & 0xffff) << 48;
        gate[1] = stub >> 32;
    }
}

/// Loads the tables on this processor.
pub fn load_tables() {
    let tables = TABLES.0.get();
    // SAFETY: the tables are complete and live forever; the selectors are the ones in use.
    unsafe {
        let gdt = (23u16, (&raw const (*tables).0) as u64);
        let idt = (4095u16, (&raw const (*tables).1) as u64);
        let mut pointer = [0u8; 10];
        for (limit, base, idt) in [(gdt.0, gdt.1, false), (idt.0, idt.1, true)] {
            pointer[..2].copy_from_slice(&limit.to_le_bytes());
            pointer[2..].copy_from_slice(&base.to_le_bytes());
            if idt {
                core::arch::asm!("lidt [{}]", in(reg) &pointer, options(nostack));
            } else {
                core::arch::asm!("lgdt [{}]", in(reg) &pointer, options(nostack));
            }
        }
    }
}
