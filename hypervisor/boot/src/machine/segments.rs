//! What each CPU has for itself: stacks, global descriptor table and task state segment.

use core::arch::asm;
use core::cell::UnsafeCell;
use hypervisor_hal::handoff::{Range, STACK_SIZE};

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
const GUARD_SIZE: u64 = 4096;

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

/// The memory of one CPU, which writes to it by itself: to its stacks by pushing, to the descriptor
/// table by marking the task state as busy.
#[repr(C, align(4096))]
pub struct CpuArea {
    stack: UnsafeCell<[u8; STACK_SIZE]>,
    interrupt_stacks: [UnsafeCell<[u8; INTERRUPT_STACK_SIZE]>; INTERRUPT_STACKS],
    gdt: UnsafeCell<[u64; 5]>,
    task_state: UnsafeCell<TaskState>,
}

/// The areas of all CPUs. Below each lies a guard page that is not mapped: a stack that grows over
/// it ends in a double fault, which has its own stack, instead of in somebody's data.
#[derive(Clone, Copy)]
pub struct CpuAreas {
    base: u64,
    count: usize,
}

impl CpuAreas {
    const AREA_SIZE: u64 = size_of::<CpuArea>() as u64;
    const STRIDE: u64 = GUARD_SIZE + Self::AREA_SIZE;

    /// Bytes that the areas of `count` CPUs take.
    pub const fn size(count: usize) -> u64 {
        count as u64 * Self::STRIDE
    }

    /// Makes the areas of `count` CPUs.
    ///
    /// # Safety
    /// At `base` must lie [`Self::size`] zeroed bytes, page-aligned, mapped at their own address,
    /// that belong to the caller alone and stay for ever.
    pub unsafe fn new(base: u64, count: usize) -> Self {
        let areas = Self { base, count };
        for area in areas.iter() {
            area.initialize();
        }
        areas
    }

    /// The area of a CPU.
    pub fn get(&self, index: usize) -> Option<&'static CpuArea> {
        let address = self.base + index as u64 * Self::STRIDE + GUARD_SIZE;
        // SAFETY: the caller of `new` gave the memory; zeroed bytes are a valid area, and all that
        // a CPU writes to lies in cells.
        (index < self.count).then(|| unsafe { &*(address as *const CpuArea) })
    }

    /// All areas, in the order of the CPUs.
    pub fn iter(&self) -> impl Iterator<Item = &'static CpuArea> {
        let areas = *self;
        (0..self.count).filter_map(move |index| areas.get(index))
    }

    /// The pages that must not be mapped.
    pub fn guard_pages(&self) -> impl Iterator<Item = Range> {
        let base = self.base;
        (0..self.count as u64).map(move |index| {
            let start = base + index * Self::STRIDE;
            let end = start + GUARD_SIZE;
            Range { start, end }
        })
    }
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
        self.stack.get() as u64 + STACK_SIZE as u64
    }

    /// Fills the tables in.
    fn initialize(&self) {
        let mut interrupt_stacks = [0; 7];
        for (slot, stack) in interrupt_stacks.iter_mut().zip(&self.interrupt_stacks) {
            *slot = stack.get() as u64 + INTERRUPT_STACK_SIZE as u64;
        }
        let limit = (size_of::<TaskState>() - 1) as u64;
        let base = self.task_state.get() as u64;
        // An available 64-bit task state segment, present: type 9.
        let low = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        // SAFETY: no CPU uses the area yet, and nothing else refers into its cells.
        unsafe {
            self.task_state.get().write(TaskState {
                reserved: 0,
                stacks: [0; 3],
                reserved_2: 0,
                interrupt_stacks,
                reserved_3: 0,
                reserved_4: 0,
                io_map: size_of::<TaskState>() as u16,
            });
            self.gdt.get().write([0, CODE_64, DATA, low, base >> 32]);
        }
    }

    /// Loads the tables on the CPU that this runs on.
    ///
    /// # Safety
    /// The area must be this CPU's own, and one of [`CpuAreas`].
    pub unsafe fn load(&self) {
        let pointer = TablePointer {
            limit: (size_of::<[u64; 5]>() - 1) as u16,
            base: self.gdt.get() as u64,
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
