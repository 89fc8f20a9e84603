//! Identifiers as VHDX stores them: the first three parts little-endian.

use uuid::Uuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A GUID.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Guid(
    /// As in the file.
    pub [u8; 16],
);

impl Guid {
    /// All zero: none.
    pub const ZERO: Self = Self([0; 16]);

    /// One that nobody has.
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_bytes_le())
    }

    /// Another one, by a number: the same of the same two.
    pub fn derived(mut self, number: u32) -> Self {
        for (byte, of_number) in self.0[12..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= of_number;
        }
        self
    }

    /// By its written form, as a number: `0x2dc27766_f623_…`.
    pub(crate) const fn from_number(number: u128) -> Self {
        Self(Uuid::from_u128(number).to_bytes_le())
    }

    /// Reads the written form, with or without braces.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text)
            .ok()
            .map(|uuid| Self(uuid.to_bytes_le()))
    }

    /// Whether it is all zero.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl core::fmt::Display for Guid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Uuid::from_bytes_le(self.0).fmt(f)
    }
}
