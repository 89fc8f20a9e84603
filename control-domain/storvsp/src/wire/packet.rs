//! What every packet begins with.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of [`Header`].
pub const HEADER_LENGTH: usize = 12;
/// Bytes that follow it, at most.
pub const PAYLOAD_LENGTH: usize = 0x34;
/// Bytes of a packet up to version 4.2.
pub const SHORT_LENGTH: usize = 48;
/// Bytes of a packet since.
pub const LONG_LENGTH: usize = HEADER_LENGTH + PAYLOAD_LENGTH;

/// The start of a packet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// An [`Operation`].
    pub operation: U32,
    /// Bit 0: the sender wants a completion. The ring's own flag says so, too, and counts.
    pub flags: U32,
    /// A [`Status`], in completions.
    pub status: U32,
}

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(pub u32);

#[allow(missing_docs)] // The names are the protocol's.
impl Operation {
    pub const COMPLETE_IO: Operation = Operation(1);
    pub const REMOVE_DEVICE: Operation = Operation(2);
    pub const EXECUTE_SRB: Operation = Operation(3);
    pub const RESET_LUN: Operation = Operation(4);
    pub const RESET_ADAPTER: Operation = Operation(5);
    pub const RESET_BUS: Operation = Operation(6);
    pub const BEGIN_INITIALIZATION: Operation = Operation(7);
    pub const END_INITIALIZATION: Operation = Operation(8);
    pub const QUERY_PROTOCOL_VERSION: Operation = Operation(9);
    pub const QUERY_PROPERTIES: Operation = Operation(10);
    pub const ENUMERATE_BUS: Operation = Operation(11);
    pub const FCHBA_DATA: Operation = Operation(12);
    pub const CREATE_SUB_CHANNELS: Operation = Operation(13);
}

/// How it went, as an NTSTATUS. Guests look whether it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

#[allow(missing_docs)] // The names are NTSTATUS's.
impl Status {
    pub const SUCCESS: Status = Status(0);
    pub const BUFFER_OVERFLOW: Status = Status(0x8000_0005);
    pub const INVALID_PARAMETER: Status = Status(0xc000_000d);
    pub const INVALID_DEVICE_REQUEST: Status = Status(0xc000_0010);
    pub const REVISION_MISMATCH: Status = Status(0xc000_0059);
    pub const NOT_SUPPORTED: Status = Status(0xc000_00bb);
    pub const DEVICE_DOES_NOT_EXIST: Status = Status(0xc000_00c0);
    pub const INVALID_DEVICE_STATE: Status = Status(0xc000_0184);
    pub const IO_DEVICE_ERROR: Status = Status(0xc000_0185);
}
