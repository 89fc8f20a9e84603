//! What exits cost: loops timed by the time stamp counter, for `cargo xtask bench exits`.
//!
//! The same loops run on this hypervisor and on another one, and on the bare processor: there
//! CPUID costs what it costs without an exit, and a bare world switch is the floor.

use super::{enlightenments, world_switch};
use crate::cpu::{cpuid, read_msr, tsc};
use crate::report::{Outcome, holds};
use crate::say;
use core::arch::asm;

/// Times that one batch does the thing. The registers' loop counter is 64 bits wide.
const LOOPS: u64 = 100;
/// Batches: the least of them is free of what else the machine does.
const BATCHES: usize = 60;

/// HV_X64_MSR_TSC_FREQUENCY.
const TSC_FREQUENCY: u32 = 0x4000_0022;

/// Who made this machine, as CPUID says.
#[derive(PartialEq, Eq)]
enum Host {
    HyperV,
    Kvm,
    Bare,
}

fn host() -> Host {
    let [_, b, c, d] = cpuid(0x4000_0000, 0);
    match [b, c, d].map(u32::to_le_bytes).as_flattened() {
        b"Microsoft Hv" => Host::HyperV,
        b"KVMKVMKVM\0\0\0" => Host::Kvm,
        _ => Host::Bare,
    }
}

/// Measures all that there is here.
pub fn exits() -> Outcome {
    measure("loop", || nothing(LOOPS));
    measure("cpuid", || cpuid_leaf_0(LOOPS));
    match host() {
        Host::Bare => return world_switch::measure_with(|name, run| measure(name, || run(LOOPS))),
        Host::HyperV => {
            let hz = read_msr(TSC_FREQUENCY).unwrap_or(0);
            holds("TSC frequency", hz > 0, hz)?;
            say!("payload: tsc {hz}");
            enlightenments::enable_hypercalls()?;
            measure("hypercall", || hyperv_call(LOOPS));
        }
        Host::Kvm => measure("hypercall", || kvm_call(LOOPS)),
    }
    measure("msr", || apic_base(LOOPS));
    measure("port-in", || port_in(LOOPS));
    measure("port-out", || port_out(LOOPS));
    Ok(())
}

/// Says ticks of the least and of the middle batch.
fn measure(name: &str, run: impl Fn()) {
    let mut batches = [0; BATCHES];
    for ticks in &mut batches {
        let start = tsc();
        run();
        *ticks = tsc() - start;
    }
    batches.sort_unstable();
    let (least, median) = (batches[0], batches[BATCHES / 2]);
    say!("payload: cost {name} {least} {median} {LOOPS}");
}

/// A loop around an instruction that touches no memory but the hypercall page's code.
macro_rules! repeat {
    ($name:ident, $setup:literal, $($instruction:literal),+ $(; $operand:ident = $value:expr)?) => {
        #[inline(never)]
        fn $name(loops: u64) {
            // SAFETY: the instructions change the registers named here and no memory; RBX, which
            // CPUID changes, is kept.
            unsafe {
                asm!("mov r10, rbx", ".balign 64", "2:", $setup, $($instruction,)+ "dec r11", "jnz 2b", "mov rbx, r10",
                    $($operand = in(reg) $value,)?
                    inout("r11") loops => _, out("r10") _, out("rax") _, out("rcx") _, out("rdx") _, out("r8") _, out("r9") _);
            }
        }
    };
}

repeat!(nothing, "xor eax, eax", "");
repeat!(cpuid_leaf_0, "xor eax, eax", "cpuid");
// IA32_APIC_BASE, which every hypervisor keeps to itself.
repeat!(apic_base, "mov ecx, 0x1b", "rdmsr");
// A port that no board has.
repeat!(port_in, "mov edx, 0xe0", "in al, dx");
repeat!(port_out, "mov edx, 0xe0", "out dx, al");
// A call that does not exist, by the page: refused by the hypervisor itself.
repeat!(hyperv_call, "mov ecx, 0xffff", "call {page}"; page = enlightenments::hypercall_page_address());
// KVM_HC_VAPIC_POLL_IRQ, which does nothing.
repeat!(kvm_call, "mov eax, 1", "vmmcall");
