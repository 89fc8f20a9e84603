//! Exceptions and NMIs that end a guest's run, and what is due when one is given back to the guest
//! (SDM vol. 3 §25.9.2, §26.2, §28.2.2).

use super::vmcs::{event, interruptibility};

/// #DB
pub const DEBUG: u8 = 1;
/// #AC
pub const ALIGNMENT_CHECK: u8 = 17;
/// #MC
pub const MACHINE_CHECK: u8 = 18;
/// Those that exit: #DB and #AC can loop without end inside the CPU when a guest's handlers fault on
/// themselves.
pub const BITMAP: u64 = 1 << DEBUG | 1 << ALIGNMENT_CHECK | 1 << MACHINE_CHECK;

const RFLAGS_TF: u64 = 1 << 8;
/// A single step is due, in [`Field::PENDING_DEBUG`](super::vmcs::Field::PENDING_DEBUG).
const PENDING_SINGLE_STEP: u64 = 1 << 14;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intercepted {
    /// Meant for the control domain.
    Nmi,
    /// A fault of the machine.
    MachineCheck,
    /// #DB
    Debug {
        /// By INT1, behind which the exit did not go.
        by_int1: bool,
    },
    /// #AC
    AlignmentCheck,
    /// One that was not asked for.
    Other,
}

impl Intercepted {
    /// From [`Field::EXIT_EVENT`](super::vmcs::Field::EXIT_EVENT).
    pub const fn new(info: u32) -> Self {
        match (info & event::TYPE, info as u8) {
            (event::NMI, _) => Self::Nmi,
            (_, MACHINE_CHECK) => Self::MachineCheck,
            (kind, DEBUG) => Self::Debug {
                by_int1: kind == event::PRIVILEGED_SOFTWARE_EXCEPTION,
            },
            (_, ALIGNMENT_CHECK) => Self::AlignmentCheck,
            _ => Self::Other,
        }
    }
}

/// DR6 and DR7 as the delivery of a #DB leaves them; neither its exit nor its injection changes them.
/// `causes` is the exit's qualification.
pub const fn debug_registers([dr6, dr7]: [u64; 2], causes: u64) -> [u64; 2] {
    const BREAKPOINTS: u64 = 0xf;
    /// Breakpoints, access to a debug register, single step, task switch.
    const CAUSES: u64 = BREAKPOINTS | 7 << 13;
    /// Inverted.
    const NOT_TRANSACTIONAL: u64 = 1 << 16;
    const GENERAL_DETECT: u64 = 1 << 13;
    [
        dr6 & !BREAKPOINTS | NOT_TRANSACTIONAL | causes & CAUSES,
        dr7 & !GENERAL_DETECT,
    ]
}

/// What must be pending where instructions hold events back: an entry with a single step and without
/// this is refused (§27.3.1.5). 0: nothing needs to.
pub const fn pending_step(rflags: u64, interruptibility: u64) -> u64 {
    match (
        rflags & RFLAGS_TF,
        interruptibility & interruptibility::SHADOW,
    ) {
        (0, _) | (_, 0) => 0,
        _ => PENDING_SINGLE_STEP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_from_the_others() {
        let exception = event::VALID | event::EXCEPTION;
        for (info, expected) in [
            (event::VALID | event::NMI | 2, Intercepted::Nmi),
            (exception | 18, Intercepted::MachineCheck),
            (exception | 1, Intercepted::Debug { by_int1: false }),
            (
                event::VALID | event::PRIVILEGED_SOFTWARE_EXCEPTION | 1,
                Intercepted::Debug { by_int1: true },
            ),
            (
                exception | event::ERROR_CODE_VALID | 17,
                Intercepted::AlignmentCheck,
            ),
            (exception | 6, Intercepted::Other),
        ] {
            assert_eq!(Intercepted::new(info), expected, "{info:#x}");
        }
    }

    #[test]
    fn a_debug_exception_says_its_causes_and_opens_the_debug_registers() {
        let step = debug_registers([0xffff_0ff3, 0x2400], 1 << 14);
        assert_eq!(step, [0xffff_4ff0, 0x400]);
        let breakpoint = debug_registers([0xffff_4ff0, 0x402], 1 << 0);
        assert_eq!(breakpoint, [0xffff_4ff1, 0x402], "software clears the rest");
    }

    #[test]
    fn a_step_is_pending_in_a_shadow_alone() {
        assert_eq!(pending_step(RFLAGS_TF, 1), 1 << 14);
        assert_eq!(pending_step(RFLAGS_TF, 2), 1 << 14);
        assert_eq!(
            pending_step(RFLAGS_TF, interruptibility::NMI),
            0,
            "an NMI holds no step back"
        );
        assert_eq!(pending_step(0, 1), 0);
    }
}
