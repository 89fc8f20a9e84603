//! The registers of a local APIC by number: offset / 16 in the xAPIC page, MSR - 0x800 in x2APIC
//! mode (SDM vol. 3 table 11-6), and which bits of them are reserved.

/// Register numbers.
pub mod number {
    #![allow(missing_docs, reason = "the names are the manual's")]
    pub const ID: u32 = 0x02;
    pub const VERSION: u32 = 0x03;
    pub const TASK_PRIORITY: u32 = 0x08;
    pub const ARBITRATION_PRIORITY: u32 = 0x09;
    pub const PROCESSOR_PRIORITY: u32 = 0x0a;
    pub const END_OF_INTERRUPT: u32 = 0x0b;
    pub const REMOTE_READ: u32 = 0x0c;
    pub const LOGICAL_DESTINATION: u32 = 0x0d;
    pub const DESTINATION_FORMAT: u32 = 0x0e;
    pub const SPURIOUS: u32 = 0x0f;
    pub const IN_SERVICE: u32 = 0x10;
    pub const TRIGGER_MODE: u32 = 0x18;
    pub const REQUEST: u32 = 0x20;
    pub const ERROR_STATUS: u32 = 0x28;
    pub const COMMAND: u32 = 0x30;
    pub const COMMAND_HIGH: u32 = 0x31;
    pub const LVT_TIMER: u32 = 0x32;
    pub const LVT_THERMAL: u32 = 0x33;
    pub const LVT_PERFORMANCE: u32 = 0x34;
    pub const LVT_LINT0: u32 = 0x35;
    pub const LVT_LINT1: u32 = 0x36;
    pub const LVT_ERROR: u32 = 0x37;
    pub const TIMER_INITIAL: u32 = 0x38;
    pub const TIMER_CURRENT: u32 = 0x39;
    pub const TIMER_DIVIDE: u32 = 0x3e;
    pub const SELF_IPI: u32 = 0x3f;
}

/// Version 0x14, six local vectors, no suppression of end-of-interrupt broadcasts.
pub const VERSION: u32 = 0x0005_0014;

/// Bit 16 of a local vector: masked.
pub const LVT_MASKED: u32 = 1 << 16;

/// Bit 8 of the spurious-interrupt register: the APIC is enabled by software.
pub const SPURIOUS_ENABLED: u32 = 1 << 8;

/// Error status: an illegal vector was sent, received; an illegal register was accessed.
pub const ERROR_SEND_VECTOR: u32 = 1 << 5;
/// See [`ERROR_SEND_VECTOR`].
pub const ERROR_RECEIVE_VECTOR: u32 = 1 << 6;
/// See [`ERROR_SEND_VECTOR`].
pub const ERROR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// Bits that a write can change in the local vector with this register number.
pub const fn lvt_writable(register: u32) -> u32 {
    match register {
        number::LVT_TIMER => 0x0007_00ff,
        number::LVT_LINT0 | number::LVT_LINT1 => 0x0001_a7ff,
        number::LVT_ERROR => 0x0001_00ff,
        _ => 0x0001_07ff,
    }
}

/// Bits of a register that x2APIC mode lets a WRMSR set; others raise #GP (SDM vol. 3 §11.12.1.3).
/// Read-only bits, which are ignored, count as settable. `None`: not writable at all.
pub const fn x2apic_settable(register: u32) -> Option<u64> {
    Some(match register {
        number::TASK_PRIORITY | number::SELF_IPI => 0xff,
        number::END_OF_INTERRUPT | number::ERROR_STATUS => 0,
        number::SPURIOUS => 0x3ff,
        // Destination, shorthand, trigger, level, status, destination mode, delivery mode, vector.
        number::COMMAND => 0xffff_ffff_000c_dfff,
        number::LVT_TIMER => 0x0007_10ff,
        number::LVT_LINT0 | number::LVT_LINT1 => 0x0001_f7ff,
        number::LVT_ERROR => 0x0001_10ff,
        number::LVT_THERMAL | number::LVT_PERFORMANCE => 0x0001_17ff,
        number::TIMER_INITIAL => 0xffff_ffff,
        number::TIMER_DIVIDE => 0b1011,
        _ => return None,
    })
}

/// Can x2APIC mode read this register?
pub const fn x2apic_readable(register: u32) -> bool {
    use number::*;
    matches!(
        register,
        ID | VERSION
            | TASK_PRIORITY
            | PROCESSOR_PRIORITY
            | LOGICAL_DESTINATION
            | SPURIOUS
            | IN_SERVICE..=0x28
            | COMMAND
            | LVT_TIMER..=TIMER_CURRENT
            | TIMER_DIVIDE
    )
}
