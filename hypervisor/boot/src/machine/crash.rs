//! How a crash of the hypervisor is shown, and how the other CPUs are stopped.

use super::exceptions::{Frame, REGISTER_NAMES};
use super::serial::log;
use super::{apic, cpu};
use core::sync::atomic::{AtomicBool, Ordering};

static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// Whether some CPU is reporting a crash: all others stop.
pub fn under_way() -> bool {
    UNDER_WAY.load(Ordering::SeqCst)
}

/// Claims the report for this CPU; one that comes second stops. Others are stopped by NMI.
fn begin() {
    if UNDER_WAY.swap(true, Ordering::SeqCst) {
        cpu::stop();
    }
    if super::left_firmware() {
        // SAFETY: the host's page tables map all physical memory, and the NMI handler of every CPU
        // of ours stops it now.
        unsafe { apic::send(0, apic::NMI_TO_OTHERS) };
    }
}

/// Reports an exception inside the hypervisor and stops the machine.
pub fn exception(frame: &Frame) -> ! {
    begin();
    let cr2: u64;
    // SAFETY: reading CR2 in ring 0 changes nothing.
    unsafe {
        core::arch::asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags))
    };
    log!(
        "CRASH: exception {} in the hypervisor, APIC id {}",
        frame.vector,
        cpu::apic_id()
    );
    log!(
        "  rip {:#018x} (image + {:#x})  rsp {:#018x}",
        frame.rip,
        frame.rip.wrapping_sub(super::image_base()),
        frame.rsp
    );
    log!(
        "  error code {:#x}  rflags {:#x}  cs {:#x}  cr2 {:#018x}",
        frame.error_code,
        frame.rflags,
        frame.cs,
        cr2
    );
    for (names, values) in REGISTER_NAMES.chunks(3).zip(frame.registers.chunks(3)) {
        if let ([a, b, c], [x, y, z]) = (names, values) {
            log!("  {a:>3} {x:#018x}  {b:>3} {y:#018x}  {c:>3} {z:#018x}");
        }
    }
    cpu::stop()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    log!("CRASH: {info}, APIC id {}", cpu::apic_id());
    cpu::stop()
}
