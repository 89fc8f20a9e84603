//! Which controls of a VMCS are on (SDM vol. 3 §25.6 to §25.8), checked against what the CPU's
//! capability registers allow (appendix A).

/// Pin-based controls.
pub mod pin {
    pub const EXTERNAL_INTERRUPT_EXITING: u32 = 1 << 0;
    pub const NMI_EXITING: u32 = 1 << 3;
    pub const VIRTUAL_NMIS: u32 = 1 << 5;
    pub const PREEMPTION_TIMER: u32 = 1 << 6;
    /// Those above, and posted interrupts.
    pub const KNOWN: u32 =
        EXTERNAL_INTERRUPT_EXITING | NMI_EXITING | VIRTUAL_NMIS | PREEMPTION_TIMER | 1 << 7;
}

/// Primary processor-based controls.
pub mod primary {
    pub const INTERRUPT_WINDOW_EXITING: u32 = 1 << 2;
    pub const TSC_OFFSETTING: u32 = 1 << 3;
    pub const HLT_EXITING: u32 = 1 << 7;
    pub const MWAIT_EXITING: u32 = 1 << 10;
    pub const RDPMC_EXITING: u32 = 1 << 11;
    pub const TPR_SHADOW: u32 = 1 << 21;
    pub const NMI_WINDOW_EXITING: u32 = 1 << 22;
    pub const UNCONDITIONAL_IO_EXITING: u32 = 1 << 24;
    pub const MSR_BITMAPS: u32 = 1 << 28;
    pub const MONITOR_EXITING: u32 = 1 << 29;
    pub const SECONDARY: u32 = 1 << 31;
    /// Those above, and INVLPG, RDTSC, CR3, CR8, MOV DR, port bitmaps, monitor trap, PAUSE, and the
    /// tertiary controls.
    pub const KNOWN: u32 = 0xfbfb_9e8c;
}

/// Secondary processor-based controls.
pub mod secondary {
    pub const EPT: u32 = 1 << 1;
    pub const RDTSCP: u32 = 1 << 3;
    pub const VPID: u32 = 1 << 5;
    pub const WBINVD_EXITING: u32 = 1 << 6;
    pub const UNRESTRICTED_GUEST: u32 = 1 << 7;
    pub const PAUSE_LOOP_EXITING: u32 = 1 << 10;
    pub const INVPCID: u32 = 1 << 12;
    pub const XSAVES: u32 = 1 << 20;
    pub const KNOWN: u32 = u32::MAX;
}

/// Exit controls.
pub mod exit {
    pub const SAVE_DEBUG: u32 = 1 << 2;
    pub const HOST_64_BIT: u32 = 1 << 9;
    pub const SAVE_PAT: u32 = 1 << 18;
    pub const LOAD_PAT: u32 = 1 << 19;
    pub const SAVE_EFER: u32 = 1 << 20;
    pub const LOAD_EFER: u32 = 1 << 21;
    /// Those above, performance control, interrupt acknowledgement, preemption timer and all newer.
    pub const KNOWN: u32 = 0xfffc_9204;
}

/// Entry controls.
pub mod entry {
    pub const LOAD_DEBUG: u32 = 1 << 2;
    pub const LONG_MODE: u32 = 1 << 9;
    pub const LOAD_PAT: u32 = 1 << 14;
    pub const LOAD_EFER: u32 = 1 << 15;
    /// Those above, SMM, dual-monitor, performance control and all newer.
    pub const KNOWN: u32 = 0xffff_ee04;
}

/// A capability register: bits that must be 1 in the lower half, that may be 1 in the upper half.
#[derive(Clone, Copy, Debug)]
pub struct Capability(pub u64);

impl Capability {
    /// Bits that may be 1.
    pub const fn allowed(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// A control word with `required`, with `optional` where allowed, with the reserved bits as they
    /// must be, and with no other of the `known` bits. The error has the bits that make it impossible.
    pub const fn word(self, required: u32, optional: u32, known: u32) -> Result<u32, u32> {
        let forced = self.0 as u32;
        let missing = required & !self.allowed();
        let unwanted = forced & known & !(required | optional);
        if missing | unwanted != 0 {
            return Err(missing | unwanted);
        }
        Ok(required | optional & self.allowed() | forced)
    }
}

/// The capability registers of one CPU.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    pub pin: Capability,
    pub primary: Capability,
    pub secondary: Capability,
    pub exit: Capability,
    pub entry: Capability,
}

/// The control words of one kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    pub pin: u32,
    pub primary: u32,
    pub secondary: u32,
    pub exit: u32,
    pub entry: u32,
}

/// A control word that this CPU can't give: its name, and the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub word: &'static str,
    pub bits: u32,
}

const fn refused(word: &'static str, result: Result<u32, u32>) -> Result<u32, Refused> {
    match result {
        Ok(value) => Ok(value),
        Err(bits) => Err(Refused { word, bits }),
    }
}

/// Both kinds of processor run on nested tables with a tag, may be in any mode, keep their NMIs apart
/// from the hypervisor's, and bring PAT, EFER and the debug controls along.
fn controls(
    capabilities: &Capabilities,
    pin: u32,
    primary: u32,
    secondary: u32,
    optional: u32,
) -> Result<Controls, Refused> {
    let secondary = secondary | secondary::EPT | secondary::VPID | secondary::UNRESTRICTED_GUEST;
    let primary = primary | primary::MSR_BITMAPS | primary::SECONDARY;
    let pin = pin | pin::NMI_EXITING | pin::VIRTUAL_NMIS;
    let exit = exit::SAVE_DEBUG
        | exit::HOST_64_BIT
        | exit::SAVE_PAT
        | exit::LOAD_PAT
        | exit::SAVE_EFER
        | exit::LOAD_EFER;
    let entry = entry::LOAD_DEBUG | entry::LOAD_PAT | entry::LOAD_EFER;
    Ok(Controls {
        pin: refused("pin-based", capabilities.pin.word(pin, 0, pin::KNOWN))?,
        primary: refused(
            "primary processor-based",
            capabilities.primary.word(primary, 0, primary::KNOWN),
        )?,
        secondary: refused(
            "secondary processor-based",
            capabilities
                .secondary
                .word(secondary, optional, secondary::KNOWN),
        )?,
        exit: refused("exit", capabilities.exit.word(exit, 0, exit::KNOWN))?,
        // Whether it starts in long mode is said for each entry.
        entry: refused("entry", capabilities.entry.word(entry, 0, entry::KNOWN))?,
    })
}

impl Controls {
    /// The control domain has ports, interrupts and instructions to itself.
    pub fn control_domain(capabilities: &Capabilities) -> Result<Self, Refused> {
        let instructions = secondary::RDTSCP | secondary::INVPCID | secondary::XSAVES;
        controls(capabilities, 0, 0, 0, instructions)
    }

    /// A guest's processor.
    pub fn guest(capabilities: &Capabilities) -> Result<Self, Refused> {
        controls(
            capabilities,
            pin::EXTERNAL_INTERRUPT_EXITING,
            primary::TSC_OFFSETTING
                | primary::HLT_EXITING
                | primary::MWAIT_EXITING
                | primary::RDPMC_EXITING
                | primary::TPR_SHADOW
                | primary::UNCONDITIONAL_IO_EXITING
                | primary::MONITOR_EXITING,
            secondary::WBINVD_EXITING,
            secondary::RDTSCP | secondary::PAUSE_LOOP_EXITING,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits that are reserved and 1, as on every CPU with true controls; all else is free.
    const FREE: Capabilities = Capabilities {
        pin: Capability(0xffff_ffff_0000_0016),
        primary: Capability(0xffff_ffff_0400_6172),
        secondary: Capability(0xffff_ffff_0000_0000),
        exit: Capability(0xffff_ffff_0003_6dfb),
        entry: Capability(0xffff_ffff_0000_11fb),
    };

    #[test]
    fn reserved_bits_are_as_they_must_be() {
        let guest = Controls::guest(&FREE).unwrap();
        assert_eq!(guest.pin, 0x16 | 1 | 8 | 32);
        assert_eq!(guest.exit, 0x3_6dfb | 1 << 2 | 1 << 9 | 0xf << 18);
        assert_eq!(guest.entry, 0x11fb | 1 << 2 | 3 << 14);
        assert_eq!(guest.primary & 0x0400_6172, 0x0400_6172);
        assert_eq!(guest.primary & 3 << 15, 0, "CR3 does not exit");
        let control = Controls::control_domain(&FREE).unwrap();
        assert_eq!(control.pin & pin::EXTERNAL_INTERRUPT_EXITING, 0);
        assert_eq!(control.primary & primary::UNCONDITIONAL_IO_EXITING, 0);
    }

    #[test]
    fn what_the_cpu_forces_and_we_do_not_want_is_an_error() {
        // Without true controls, loads and stores of CR3 exit.
        let old = Capabilities {
            primary: Capability(0xffff_ffff_0401_e172),
            ..FREE
        };
        let error = Refused {
            word: "primary processor-based",
            bits: 3 << 15,
        };
        assert_eq!(Controls::guest(&old), Err(error));
    }

    #[test]
    fn what_is_missing_is_an_error_and_what_is_optional_is_left_out() {
        let secondary = |allowed: u32| Capabilities {
            secondary: Capability(u64::from(allowed) << 32),
            ..FREE
        };
        let error = Refused {
            word: "secondary processor-based",
            bits: secondary::UNRESTRICTED_GUEST,
        };
        let without = secondary(!secondary::UNRESTRICTED_GUEST);
        assert_eq!(Controls::control_domain(&without), Err(error));
        let without = secondary(!(secondary::INVPCID | secondary::XSAVES));
        let control = Controls::control_domain(&without).unwrap();
        let optional = secondary::INVPCID | secondary::XSAVES | secondary::RDTSCP;
        assert_eq!(control.secondary & optional, secondary::RDTSCP);
    }
}
