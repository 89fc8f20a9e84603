//! Debug exceptions, which exit and come back as events: at the right place, with the right causes, and
//! with the debug registers open to the handler (SDM vol. 3 chapter 18).

use crate::interrupts::{Fault, catch};
use crate::report::{Outcome, equal};
use core::arch::asm;

const DEBUG: u64 = 1;
const INVALID_OPCODE: u8 = 6;
const INT1: u8 = 0xf1;
const DR6_CLEAR: u64 = 0xffff_0ff0;
const DR6_GENERAL_DETECT: u64 = 1 << 13;
const DR6_SINGLE_STEP: u64 = 1 << 14;
const DR7_INITIAL: u64 = 0x400;
const DR7_GENERAL_DETECT: u64 = 1 << 13;

/// Runs instructions behind whose last one a #DB should come. Answers what came, and where that is.
macro_rules! debug_exception {
    ($($instruction:literal),+) => {{
        let mut behind = 0u64;
        let result = catch(|recovery| {
            // SAFETY: the instructions change flags and SS, which keeps its value; what they push they
            // pop; the exception continues at the label.
            unsafe {
                asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", $($instruction,)+ "2:", "cli",
                    t = out(reg) behind, r = in(reg) recovery, out("eax") _);
            }
        });
        (result, behind)
    }};
}

/// A #DB came, and goes on there.
fn came_at((result, behind): (Result<(), Fault>, u64)) -> Outcome {
    // SAFETY: it is this program's own code.
    let last = unsafe { *((behind - 1) as *const u8) };
    if result.is_err_and(|fault| fault.vector == INVALID_OPCODE) && last == INT1 {
        return Ok(());
    }
    let (vector, rip) = result.map_or_else(|fault| (fault.vector, fault.rip), |()| (0, 0));
    equal("vector", vector.into(), DEBUG)?;
    equal("continues at", rip, behind)
}

fn dr6() -> u64 {
    let value: u64;
    // SAFETY: reads only.
    unsafe { asm!("mov {}, dr6", out(reg) value, options(nomem, nostack)) };
    value
}

fn clear_dr6() {
    // SAFETY: the register is nobody else's.
    unsafe { asm!("mov dr6, {}", in(reg) DR6_CLEAR, options(nomem, nostack)) };
}

/// QEMU has no INT1: there, as below, it is an invalid opcode.
pub fn int1() -> Outcome {
    came_at(debug_exception!(".byte 0xf1"))
}

/// Behind a load of SS, which holds the single step back.
pub fn int1_in_shadow() -> Outcome {
    came_at(debug_exception!(
        "mov eax, ss",
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "mov ss, eax",
        ".byte 0xf1"
    ))
}

/// STI holds interrupts back, not the step; but in QEMU, where the instruction behind it runs first.
pub fn step_over_sti() -> Outcome {
    clear_dr6();
    let (result, behind) = debug_exception!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "sti");
    let in_qemu = result.is_err_and(|fault| fault.rip == behind + 1);
    came_at((result, behind + u64::from(in_qemu)))?;
    equal("cause", dr6() & DR6_SINGLE_STEP, DR6_SINGLE_STEP)
}

/// QEMU emulates none, and nothing comes. Where one comes, the registers are then open to the handler.
pub fn general_detect() -> Outcome {
    clear_dr6();
    let mut at = 0u64;
    let result = catch(|recovery| {
        // SAFETY: no breakpoint is on; the exception continues at the label.
        unsafe {
            asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "lea {t}, [rip + 3f]", "mov dr7, {on}",
                "3:", "mov {v}, dr6", "2:",
                t = out(reg) at, r = in(reg) recovery, on = in(reg) DR7_INITIAL | DR7_GENERAL_DETECT,
                v = out(reg) _, options(nostack));
        }
    });
    let left: u64;
    // SAFETY: no breakpoint was on, and none is.
    unsafe {
        asm!("mov {}, dr7", "mov dr7, {}", out(reg) left, in(reg) DR7_INITIAL, options(nomem, nostack));
    }
    if result.is_ok() {
        return Ok(());
    }
    came_at((result, at))?;
    equal("cause", dr6() & DR6_GENERAL_DETECT, DR6_GENERAL_DETECT)?;
    equal("DR7", left, DR7_INITIAL)
}
