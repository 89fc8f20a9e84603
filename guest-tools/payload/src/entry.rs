//! The first instructions, and where a panic ends.

use crate::options::Options;
use crate::{apic, interrupts, say, serial, tests};

core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "lea rsp, [rip + {stack} + {size}]",
    "xor ebp, ebp",
    "call {main}",
    "ud2",
    stack = sym STACK,
    size = const STACK_SIZE,
    main = sym main,
);

const STACK_SIZE: usize = 64 << 10;

#[repr(C, align(16))]
struct Stack([u8; STACK_SIZE]);

static mut STACK: Stack = Stack([0; STACK_SIZE]);

/// Called with what the vmm left in RDI, RSI and RDX.
extern "sysv64" fn main(command_line: *const u8, processors: u64, memory_bytes: u64) -> ! {
    // SAFETY: the vmm ends the command line with NUL, and only this processor runs.
    unsafe { Options::set(command_line, processors, memory_bytes) };
    say!(
        "payload: entered in long mode, {processors} processors, {} MiB",
        memory_bytes >> 20
    );
    interrupts::fill_table();
    interrupts::load_tables();
    if !apic::enable() {
        say!("payload: the local APIC can't be switched to x2APIC mode");
    }
    tests::run_mode()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("payload: PANIC: {info}");
    serial::end(101)
}
