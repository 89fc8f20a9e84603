//! Why a run ended, in the vocabulary of `hypervisor_core`.

use super::vmcs::{Field, reason};
use hypervisor_core::hal::{Exit, Gpa};

/// Qualification of a port exit (SDM vol. 3 table 28-5).
mod io {
    pub const SIZE: u64 = 7;
    pub const IN: u64 = 1 << 3;
    pub const STRING: u64 = 1 << 4;
    pub const REPEAT: u64 = 1 << 5;
    pub const PORT_SHIFT: u32 = 16;
}

/// Qualification of an EPT violation (table 28-7).
mod violation {
    pub const WRITE: u64 = 1 << 1;
    pub const FETCH: u64 = 1 << 2;
    /// Readable, writable, executable: what the tables allow.
    pub const ALLOWED: u64 = 7 << 3;
}

/// Decodes an exit for `exit_reason`; `read` reads a field of the VMCS.
#[inline(always)]
pub fn decode(exit_reason: u32, read: impl Fn(Field) -> u64) -> Exit {
    match exit_reason {
        reason::EXTERNAL_INTERRUPT | reason::PAUSE => Exit::Interrupt,
        reason::INTERRUPT_WINDOW | reason::NMI_WINDOW | reason::TPR_BELOW_THRESHOLD => {
            Exit::InterruptWindow
        }
        reason::CPUID => Exit::Cpuid,
        reason::RDMSR => Exit::ReadMsr,
        reason::WRMSR => Exit::WriteMsr,
        reason::VMCALL => Exit::Hypercall,
        reason::HLT => Exit::Halt,
        reason::XSETBV => Exit::SetXcr,
        reason::INVD | reason::WBINVD => Exit::CacheFlush,
        reason::IO => {
            let qualification = read(Field::QUALIFICATION);
            Exit::Io {
                port: (qualification >> io::PORT_SHIFT) as u16,
                size_bytes: (qualification & io::SIZE) as u8 + 1,
                input: qualification & io::IN != 0,
                string: qualification & io::STRING != 0,
                repeat: qualification & io::REPEAT != 0,
                next_rip: read(Field::RIP).wrapping_add(read(Field::INSTRUCTION_LENGTH)),
            }
        }
        reason::EPT_VIOLATION => {
            let qualification = read(Field::QUALIFICATION);
            Exit::NestedFault {
                address: Gpa(read(Field::GUEST_PHYSICAL_ADDRESS)),
                write: qualification & violation::WRITE != 0,
                fetch: qualification & violation::FETCH != 0,
                present: qualification & violation::ALLOWED != 0,
            }
        }
        reason::TASK_SWITCH => {
            // Table 28-2: the selector, and in the highest two bits of 32 the source.
            let qualification = read(Field::QUALIFICATION);
            Exit::TaskSwitch {
                selector: qualification as u16,
                source: (qualification >> 30) as u8 & 3,
            }
        }
        reason::TRIPLE_FAULT => Exit::Shutdown,
        reason::INIT => Exit::Init,
        reason::GETSEC
        | reason::RDPMC
        | reason::VMCLEAR..=reason::VMXON
        | reason::MWAIT
        | reason::MONITOR
        | reason::INVEPT
        | reason::INVVPID
        | reason::VMFUNC => Exit::Undefined,
        code if code & reason::ENTRY_FAILURE != 0 => match code & 0xffff {
            reason::ENTRY_MACHINE_CHECK => Exit::MachineCheck,
            _ => Exit::InvalidState,
        },
        code => Exit::Other {
            code: code.into(),
            info1: read(Field::QUALIFICATION),
            info2: read(Field::EXIT_EVENT),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &[(Field, u64)]) -> impl Fn(Field) -> u64 {
        |field| {
            fields
                .iter()
                .find(|(f, _)| *f == field)
                .map_or(0, |(_, value)| *value)
        }
    }

    #[test]
    fn a_port_exit_names_port_size_and_direction() {
        let fields = [
            (Field::QUALIFICATION, 0x3f8 << 16),
            (Field::RIP, 0x1000),
            (Field::INSTRUCTION_LENGTH, 2),
        ];
        let out = Exit::Io {
            port: 0x3f8,
            size_bytes: 1,
            input: false,
            string: false,
            repeat: false,
            next_rip: 0x1002,
        };
        assert_eq!(decode(reason::IO, with(&fields)), out);
        let fields = [(Field::QUALIFICATION, 0x1f0 << 16 | 0b11_1001)];
        assert!(matches!(
            decode(reason::IO, with(&fields)),
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
    fn a_nested_fault_says_whether_something_was_mapped() {
        for (qualification, write, fetch, present) in [
            (0x181, false, false, false),
            (0x182 | 0b101 << 3, true, false, true),
            (0x184, false, true, false),
        ] {
            let fields = [
                (Field::QUALIFICATION, qualification),
                (Field::GUEST_PHYSICAL_ADDRESS, 0xfee0_0080),
            ];
            let expected = Exit::NestedFault {
                address: Gpa(0xfee0_0080),
                write,
                fetch,
                present,
            };
            assert_eq!(decode(reason::EPT_VIOLATION, with(&fields)), expected);
        }
    }

    #[test]
    fn entries_that_fail_are_invalid_states_unless_a_machine_check_came() {
        let failed = |basic| decode(reason::ENTRY_FAILURE | basic, with(&[]));
        assert_eq!(failed(33), Exit::InvalidState);
        assert_eq!(failed(reason::ENTRY_MACHINE_CHECK), Exit::MachineCheck);
        assert_eq!(decode(reason::NOT_ENTERED, with(&[])), Exit::InvalidState);
    }

    #[test]
    fn a_task_switch_names_the_segment_and_who_asks() {
        for (qualification, source) in [(0x28, 0), (1 << 30 | 0x28, 1), (3 << 30 | 0x28, 3)] {
            let exit = decode(
                reason::TASK_SWITCH,
                with(&[(Field::QUALIFICATION, qualification)]),
            );
            let selector = 0x28;
            assert_eq!(exit, Exit::TaskSwitch { selector, source });
        }
    }

    #[test]
    fn what_is_unknown_keeps_its_numbers() {
        let invlpg = 14;
        let exit = decode(invlpg, with(&[(Field::QUALIFICATION, 5)]));
        assert_eq!(
            exit,
            Exit::Other {
                code: 14,
                info1: 5,
                info2: 0
            }
        );
    }
}
