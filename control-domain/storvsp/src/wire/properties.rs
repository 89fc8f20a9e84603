//! What a channel can do: the answer to QUERY_PROPERTIES.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Flag: the guest may ask for subchannels.
pub const SUPPORTS_SUBCHANNELS: u32 = 1;

/// The answer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Properties {
    /// Zero.
    pub reserved: U32,
    /// Subchannels that there may be.
    pub most_subchannels: U16,
    /// Zero.
    pub reserved1: U16,
    /// [`SUPPORTS_SUBCHANNELS`] or nothing.
    pub flags: U32,
    /// Bytes that one request may move.
    pub most_transfer: U32,
    /// Zero.
    pub reserved2: U64,
}
