//! The first instructions, and where a panic ends.

use crate::{say, serial};

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
extern "sysv64" fn main(_command_line: *const u8, processors: u64, memory_bytes: u64) -> ! {
    say!(
        "payload: entered in long mode, {processors} processors, {} MiB",
        memory_bytes >> 20
    );
    serial::end(0)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("payload: PANIC: {info}");
    serial::end(101)
}
