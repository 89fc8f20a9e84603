//! What each CPU has for itself: stacks, global descriptor table and task state segment.

use core::arch::asm;
use hypervisor_hal::handoff::STACK_SIZE;

/// Code selector of the hypervisor.
pub const HOST_CS: u16 = 0x08;
/// Data selector of the hypervisor.
pub const HOST_DS: u16 = 0x10;
const HOST_TR: u16 = 0x18;

/// Flat 64-bit code, ring 0, present, accessed.
pub const CODE_64: u64 = 0x00af_9b00_0000_ffff;
/// Flat writable data, ring 0, present, accessed.
pub const DATA: u64 = 0x00cf_9300_0000_ffff;

/// Stacks of their own for NMI, double fault and machine check: 1 to 3.
pub const INTERRUPT_STACKS: usize = 3;
const INTERRUPT_STACK_SIZE: usize = 8 << 10;

/// The task state segment (APM vol. 2 §12.2.5).
#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    stacks: [u64; 3],
    reserved_2: u64,
    interrupt_stacks: [u64; 7],
    reserved_3: u64,
    reserved_4: u16,
    io_map: u16,
}

/// The memory of one CPU. The guard page is not mapped: a stack that grows over it ends in a
/// double fault, which has its own stack, instead of in somebody's data.
#[repr(C, align(4096))]
pub struct CpuArea {
    guard: [u8; 4096],
    stack: [u8; STACK_SIZE],
    interrupt_stacks: [[u8; INTERRUPT_STACK_SIZE]; INTERRUPT_STACKS],
    gdt: [u64; 5],
    task_state: TaskState,
}

/// The operand of LGDT and LIDT.
#[repr(C, packed(2))]
pub struct TablePointer {
    /// Size of the table in bytes, minus one.
    pub limit: u16,
    /// Its address.
    pub base: u64,
}

impl CpuArea {
    /// Top of the stack, 16-byte aligned.
    pub fn stack_top(&self) -> u64 {
        self.stack.as_ptr_range().end as u64
    }

    /// Address of the page that must not be mapped.
    pub fn guard_page(&self) -> u64 {
        self.guard.as_ptr() as u64
    }

    /// Fills the tables in.
    pub fn initialize(&mut self) {
        let mut interrupt_stacks = [0; 7];
        for (slot, stack) in interrupt_stacks.iter_mut().zip(&self.interrupt_stacks) {
            *slot = stack.as_ptr_range().end as u64;
        }
        let limit = (size_of::<TaskState>() - 1) as u64;
        self.task_state = TaskState {
            reserved: 0,
            stacks: [0; 3],
            reserved_2: 0,
            interrupt_stacks,
            reserved_3: 0,
            reserved_4: 0,
            io_map: size_of::<TaskState>() as u16,
        };
        let base = (&raw const self.task_state) as u64;
        // An available 64-bit task state segment, present: type 9.
        let low = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        self.gdt = [0, CODE_64, DATA, low, base >> 32];
    }

    /// Loads the tables on the CPU that this runs on.
    ///
    /// # Safety
    /// The area must belong to this CPU alone, be initialized and never move or be freed.
    pub unsafe fn load(&self) {
        let pointer = TablePointer {
            limit: (size_of_val(&self.gdt) - 1) as u16,
            base: self.gdt.as_ptr() as u64,
        };
        // SAFETY: the table holds flat code and data and a valid task state; the far return goes
        // to the next instruction with the selector of the 64-bit code segment.
        unsafe {
            asm!(
                "lgdt [{pointer}]",
                "push {cs}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "mov ds, {ds:x}",
                "mov es, {ds:x}",
                "mov ss, {ds:x}",
                "mov fs, {null:x}",
                "mov gs, {null:x}",
                "ltr {tr:x}",
                pointer = in(reg) &pointer,
                cs = in(reg) u64::from(HOST_CS),
                ds = in(reg) u64::from(HOST_DS),
                null = in(reg) 0u64,
                tr = in(reg) u64::from(HOST_TR),
                scratch = out(reg) _,
            );
        }
    }
}
