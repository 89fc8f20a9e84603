//! How a crash of the hypervisor is shown, and how the other CPUs are stopped.
//!
//! The CPU that crashes reports to the serial port, the screen and the crash record. First it sends
//! an NMI to all others: one that takes it in the hypervisor stops in its NMI handler. One that runs
//! the control domain or a guest stops only if the hypervisor intercepts NMI and asks
//! [`under_way`], which it learns from the hand-over. The record survives a warm reset; the next
//! boot shows it and leaves it to the control domain.

use super::exceptions::{Frame, REGISTER_NAMES};
use super::screen::Screen;
use super::{apic, cpu, serial};
use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use hypervisor_boot::record::Line;

static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// Whether some CPU is reporting a crash: all others stop.
pub fn under_way() -> bool {
    UNDER_WAY.load(Ordering::SeqCst)
}

/// A report that this CPU makes.
struct Report {
    screen: Option<Screen>,
}

impl Report {
    /// Claims the report for this CPU; one that comes second stops.
    fn begin() -> Self {
        if UNDER_WAY.swap(true, Ordering::SeqCst) {
            cpu::stop();
        }
        if super::left_firmware() {
            // SAFETY: the host's page tables map all physical memory, and what the NMI makes the
            // others do is to stop.
            unsafe { apic::send(0, apic::NMI_TO_OTHERS) };
        }
        Self {
            screen: super::framebuffer().map(Screen::clear),
        }
    }

    fn line(&mut self, text: Arguments<'_>) {
        serial::line(text);
        if let Some(screen) = &mut self.screen {
            let mut line = Line::default();
            // A line takes any text and cuts what is too long.
            let _ = line.write_fmt(text);
            screen.line(line.as_str());
        }
    }

    fn end(mut self) -> ! {
        self.line(format_args!(
            "stopped; reset the machine to go on, the next boot shows this again"
        ));
        if let Some(record) = serial::record() {
            record.mark_crashed();
        }
        // SAFETY: writes the caches back, so that a reset does not lose the record.
        unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
        cpu::stop()
    }
}

/// Reports an exception inside the hypervisor and stops the machine.
pub fn exception(frame: &Frame) -> ! {
    let cr2: u64;
    // SAFETY: reading CR2 in ring 0 changes nothing.
    unsafe {
        core::arch::asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags))
    };
    let mut report = Report::begin();
    let base = super::image_base();
    report.line(format_args!(
        "CRASH: exception {} in the hypervisor, APIC id {}",
        frame.vector,
        cpu::apic_id()
    ));
    report.line(format_args!(
        "  rip {:#018x} (image + {:#x})",
        frame.rip,
        frame.rip.wrapping_sub(base)
    ));
    report.line(format_args!("  rsp {:#018x}  cr2 {cr2:#018x}", frame.rsp));
    report.line(format_args!(
        "  error code {:#x}  rflags {:#x}  cs {:#x}",
        frame.error_code, frame.rflags, frame.cs
    ));
    for (names, values) in REGISTER_NAMES.chunks(3).zip(frame.registers.chunks(3)) {
        if let ([a, b, c], [x, y, z]) = (names, values) {
            report.line(format_args!(
                "  {a:>3} {x:#018x}  {b:>3} {y:#018x}  {c:>3} {z:#018x}"
            ));
        }
    }
    report.end()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let mut report = Report::begin();
    report.line(format_args!(
        "CRASH: panic in the hypervisor, APIC id {}",
        cpu::apic_id()
    ));
    if let Some(place) = info.location() {
        report.line(format_args!("  {}:{}", place.file(), place.line()));
    }
    report.line(format_args!("  {}", info.message()));
    report.end()
}
