//! RNDIS messages. Source: [MS-RNDIS] §2.2.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes before the body of every message.
pub const HEADER_LENGTH: usize = 8;
/// Bit of a message type that is an answer.
pub const COMPLETE: u32 = 0x8000_0000;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageType(pub u32);

#[allow(missing_docs)] // The names are the specification's.
impl MessageType {
    pub const PACKET: MessageType = MessageType(1);
    pub const INITIALIZE: MessageType = MessageType(2);
    pub const HALT: MessageType = MessageType(3);
    pub const QUERY: MessageType = MessageType(4);
    pub const SET: MessageType = MessageType(5);
    pub const RESET: MessageType = MessageType(6);
    pub const INDICATE_STATUS: MessageType = MessageType(7);
    pub const KEEPALIVE: MessageType = MessageType(8);
}

/// How it went, as an NDIS_STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

#[allow(missing_docs)] // The names are the specification's.
impl Status {
    pub const SUCCESS: Status = Status(0);
    pub const MEDIA_CONNECT: Status = Status(0x4001_000b);
    pub const MEDIA_DISCONNECT: Status = Status(0x4001_000c);
    pub const FAILURE: Status = Status(0xc000_0001);
    pub const NOT_SUPPORTED: Status = Status(0xc000_00bb);
    pub const INVALID_LENGTH: Status = Status(0xc001_0014);
    pub const INVALID_DATA: Status = Status(0xc001_0015);
}

/// Start of every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// A [`MessageType`].
    pub kind: U32,
    /// Bytes of the message with this.
    pub length: U32,
}

/// Body of QUERY and SET (§2.2.8, §2.2.10).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Request {
    /// To be repeated in the answer.
    pub id: U32,
    /// What about.
    pub oid: U32,
    /// Bytes of the value.
    pub length: U32,
    /// Where it is, from the start of this body.
    pub offset: U32,
    /// Zero.
    pub reserved: U32,
}

/// Body of PACKET (§2.2.14). Offsets are from its own start.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Packet {
    /// Where the frame is.
    pub data_offset: U32,
    /// Bytes of it.
    pub data_length: U32,
    /// Out-of-band data, of which there are none: offset, length, number.
    pub out_of_band: [U32; 3],
    /// Where information beside the frame is.
    pub info_offset: U32,
    /// Bytes of it.
    pub info_length: U32,
    /// Zero.
    pub reserved: [U32; 2],
}

/// Bytes of [`Packet`].
pub const PACKET_LENGTH: usize = 36;

/// One piece of information beside a frame (§2.2.14.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Info {
    /// Bytes with this.
    pub length: U32,
    /// [`INFO_CHECKSUM`] and others.
    pub kind: U32,
    /// Where the value is, from the start of this.
    pub offset: U32,
}

/// Bytes of [`Info`].
pub const INFO_LENGTH: usize = 12;
/// Checksums that are to be computed, or were verified.
pub const INFO_CHECKSUM: u32 = 0;
/// The frame is to be cut into segments.
pub const INFO_LARGE_SEND: u32 = 2;
/// IEEE 802.1Q tag.
pub const INFO_VLAN: u32 = 6;

/// A message from its body.
pub fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    let header = Header {
        kind: kind.into(),
        length: ((HEADER_LENGTH + body.len()) as u32).into(),
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(body);
    bytes
}
