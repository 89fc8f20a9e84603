//! Why a run ended, in the vocabulary of `hypervisor_core`.

use super::vmcb::{Vmcb, exit};
use hypervisor_core::hal::{Exit, Gpa};

/// EXITINFO1 of a port exit (APM vol. 2 §15.10.2).
mod io {
    pub const IN: u64 = 1 << 0;
    pub const STRING: u64 = 1 << 2;
    pub const REPEAT: u64 = 1 << 3;
    pub const SIZE_SHIFT: u32 = 4;
    pub const PORT_SHIFT: u32 = 16;
}

/// EXITINFO1 of a nested page fault (§15.25.6): the page-fault error code.
mod fault {
    pub const PRESENT: u64 = 1 << 0;
    pub const WRITE: u64 = 1 << 1;
    pub const FETCH: u64 = 1 << 4;
}

/// Decodes the exit that `vmcb` holds.
#[inline(always)]
pub fn decode(vmcb: &Vmcb) -> Exit {
    let info1 = vmcb.exit_info1;
    match vmcb.exit_code {
        exit::INTR | exit::NMI | exit::PAUSE => Exit::Interrupt,
        exit::VINTR => Exit::InterruptWindow,
        exit::MC => Exit::MachineCheck,
        exit::CPUID => Exit::Cpuid,
        exit::MSR if info1 == 0 => Exit::ReadMsr,
        exit::MSR => Exit::WriteMsr,
        exit::VMMCALL => Exit::Hypercall,
        exit::HLT => Exit::Halt,
        exit::XSETBV => Exit::SetXcr,
        exit::INVD | exit::WBINVD => Exit::CacheFlush,
        exit::IOIO => Exit::Io {
            port: (info1 >> io::PORT_SHIFT) as u16,
            size_bytes: (info1 >> io::SIZE_SHIFT & 7) as u8,
            input: info1 & io::IN != 0,
            string: info1 & io::STRING != 0,
            repeat: info1 & io::REPEAT != 0,
            next_rip: vmcb.exit_info2,
        },
        exit::NESTED_PAGE_FAULT => Exit::NestedFault {
            address: Gpa(vmcb.exit_info2),
            write: info1 & fault::WRITE != 0,
            fetch: info1 & fault::FETCH != 0,
            present: info1 & fault::PRESENT != 0,
        },
        exit::SHUTDOWN => Exit::Shutdown,
        exit::INIT => Exit::Init,
        exit::VMRUN
        | exit::VMLOAD..=exit::SKINIT
        | exit::INVLPGA
        | exit::MONITOR..=exit::MWAIT_CONDITIONAL
        | exit::RDPMC
        | exit::RDPRU
        | exit::INVLPGB
        | exit::TLBSYNC => Exit::Undefined,
        u64::MAX | exit::INVALID_32 => Exit::InvalidState,
        code => Exit::Other {
            code,
            info1,
            info2: vmcb.exit_info2,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_exit_names_port_size_and_direction() {
        let mut vmcb = Vmcb::zeroed();
        vmcb.exit_code = exit::IOIO;
        vmcb.exit_info1 = 0x3f8 << 16 | 1 << 4;
        vmcb.exit_info2 = 0x1002;
        let out = Exit::Io {
            port: 0x3f8,
            size_bytes: 1,
            input: false,
            string: false,
            repeat: false,
            next_rip: 0x1002,
        };
        assert_eq!(decode(&vmcb), out);
        vmcb.exit_info1 = 0x1f0 << 16 | 1 << 5 | 0b1101;
        assert!(matches!(
            decode(&vmcb),
            Exit::Io {
                port: 0x1f0,
                size_bytes: 2,
                input: true,
                string: true,
                repeat: true,
                ..
            }
        ));
    }

    #[test]
    fn an_invalid_state_is_seen_in_both_widths() {
        let mut vmcb = Vmcb::zeroed();
        for code in [u64::MAX, 0xffff_ffff] {
            vmcb.exit_code = code;
            assert_eq!(decode(&vmcb), Exit::InvalidState);
        }
    }

    #[test]
    fn what_is_unknown_keeps_its_numbers() {
        let mut vmcb = Vmcb::zeroed();
        vmcb.exit_code = 0x7d;
        vmcb.exit_info1 = 5;
        assert_eq!(
            decode(&vmcb),
            Exit::Other {
                code: 0x7d,
                info1: 5,
                info2: 0
            }
        );
    }
}
