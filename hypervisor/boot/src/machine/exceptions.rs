//! Exceptions inside the hypervisor: none is expected, each ends in a readable crash.

use super::segments::{HOST_CS, TablePointer};
use super::{cpu, crash, processors};
use core::arch::{asm, global_asm};

/// What the entry code leaves on the stack: pushed registers, then what the processor pushed.
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    /// R15 to R8, RDI, RSI, RBP, RBX, RDX, RCX, RAX: in the order of memory.
    pub registers: [u64; 15],
    /// Number of the exception.
    pub vector: u64,
    /// Its error code, or 0.
    pub error_code: u64,
    /// Where it happened.
    pub rip: u64,
    /// The code segment there.
    pub cs: u64,
    /// The flags there.
    pub rflags: u64,
    /// The stack pointer there.
    pub rsp: u64,
    /// The stack segment there.
    pub ss: u64,
}

/// Names of [`Frame::registers`].
pub const REGISTER_NAMES: [&str; 15] = [
    "r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8", "rdi", "rsi", "rbp", "rbx", "rdx", "rcx",
    "rax",
];

const VECTORS: usize = 32;
const NMI: u64 = 2;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;

// One entry of 16 bytes per vector; those without an error code push 0 in its place. The vectors
// with one are 8, 10 to 14, 17, 21, 29, 30 (APM vol. 2 table 8-1).
global_asm!(
    ".balign 16",
    "entente_exception_entries:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    ".if ((1 << vector) & 0x60227d00) == 0",
    "push 0",
    ".endif",
    "push vector",
    "jmp entente_exception_common",
    ".set vector, vector + 1",
    ".endr",
    ".balign 16",
    "entente_exception_common:",
    "push rax",
    "push rcx",
    "push rdx",
    "push rbx",
    "push rbp",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cld",
    "mov rdi, rsp",
    "mov rbp, rsp",
    "and rsp, -16",
    "call {handler}",
    "mov rsp, rbp",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rbp",
    "pop rbx",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "add rsp, 16",
    "iretq",
    handler = sym handle,
);

unsafe extern "sysv64" {
    /// The entry code above; not called from here.
    fn entente_exception_entries();
}

/// Returns only from an NMI that nobody sent to stop this CPU: it is the control domain's.
extern "sysv64" fn handle(frame: &Frame) {
    if frame.vector == NMI {
        if crash::under_way() {
            cpu::stop();
        }
        if let Some(index) = processors::index_of_this_cpu() {
            hypervisor_hal::nmi_arrived(index);
        }
        return;
    }
    crash::exception(frame);
}

/// The interrupt descriptor table, one for all CPUs.
#[repr(C, align(16))]
pub struct ExceptionTable([[u64; 2]; VECTORS]);

impl ExceptionTable {
    /// Fills the table in.
    pub fn initialize(&mut self) {
        let entries = entente_exception_entries as *const () as u64;
        for (vector, gate) in self.0.iter_mut().enumerate() {
            let address = entries + 16 * vector as u64;
            let stack: u64 = match vector {
                v if v as u64 == NMI => 1,
                DOUBLE_FAULT => 2,
                MACHINE_CHECK => 3,
                _ => 0,
            };
            // A present 64-bit interrupt gate for ring 0: type 0xe.
            let attributes = 0x8e00 | stack;
            let low = (address & 0xffff)
                | u64::from(HOST_CS) << 16
                | attributes << 32
                | (address >> 16 & 0xffff) << 48;
            *gate = [low, address >> 32];
        }
    }

    /// Loads the table on the CPU that this runs on.
    ///
    /// # Safety
    /// The table must be initialized and never move or be freed, and this CPU must run on the
    /// segments of [`super::segments`].
    pub unsafe fn load(&self) {
        let pointer = TablePointer {
            limit: (size_of::<Self>() - 1) as u16,
            base: self.0.as_ptr() as u64,
        };
        // SAFETY: the caller vouches for the table; loading it changes nothing until an exception.
        unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
    }
}
