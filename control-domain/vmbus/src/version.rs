//! Versions of the control protocol.

use std::fmt;

/// A version of VMBus that this server speaks. The order is that of their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Version {
    /// Windows 7, Server 2008 R2: interrupts by a page of flags.
    V1_1 = 1 << 16 | 1,
    /// Windows 8, Server 2012: one event flag a channel, on any processor.
    V2_4 = 2 << 16 | 4,
    /// Windows 8.1, Server 2012 R2.
    V3_0 = 3 << 16,
    /// Windows 10, Server 2016.
    V4_0 = 4 << 16,
    /// Windows 10 1709.
    V4_1 = 4 << 16 | 1,
    /// Windows 10 1709: the guest names the synthetic interrupt of messages.
    V5_0 = 5 << 16,
    /// Windows 10 1803.
    V5_1 = 5 << 16 | 1,
    /// Windows 10 1809, Server 2019.
    V5_2 = 5 << 16 | 2,
    /// Server 2022: a change of a channel's processor is answered.
    V5_3 = 5 << 16 | 3,
    /// Of the firmware of today, with feature flags, of which this server has none.
    V6_0 = 6 << 16,
}

impl Version {
    /// All, oldest first.
    pub const ALL: [Self; 10] = [
        Self::V1_1,
        Self::V2_4,
        Self::V3_0,
        Self::V4_0,
        Self::V4_1,
        Self::V5_0,
        Self::V5_1,
        Self::V5_2,
        Self::V5_3,
        Self::V6_0,
    ];

    /// The version with this number on the wire: major in 31:16, minor in 15:0.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|v| *v as u32 == number)
    }

    /// Each channel has an event flag of its own.
    pub fn has_event_flags(self) -> bool {
        self >= Self::V2_4
    }

    /// Messages may go to any processor, on the synthetic interrupt that the guest names.
    pub fn names_message_target(self) -> bool {
        self >= Self::V5_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", *self as u32 >> 16, *self as u32 & 0xffff)
    }
}
