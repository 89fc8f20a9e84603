//! The virtio-net header. Source: virtio 1.2 §5.1.6; without MRG_RXBUF, as the kernel's tap has it.

use zerocopy::byteorder::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The checksum from `checksum_start` on is left to whoever takes the frame.
pub const NEEDS_CHECKSUM: u8 = 1;
/// Checksums were looked at and are right.
pub const CHECKSUMS_RIGHT: u8 = 2;
/// TCP segments over IPv4.
pub const TCP_OVER_IPV4: u8 = 1;
/// TCP segments over IPv6.
pub const TCP_OVER_IPV6: u8 = 4;

/// What stands before each frame.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// [`NEEDS_CHECKSUM`], [`CHECKSUMS_RIGHT`].
    pub flags: u8,
    /// What it has to be cut into; 0: nothing.
    pub segments: u8,
    /// Bytes that each segment repeats.
    pub header_length: U16,
    /// Bytes of payload of a segment.
    pub segment_length: U16,
    /// Where the checksum begins to count.
    pub checksum_start: U16,
    /// Where it is put, from there.
    pub checksum_offset: U16,
}

/// Its length in bytes.
pub const LENGTH: usize = size_of::<Header>();
