//! NVSP: messages on the ring.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

#[allow(missing_docs)] // The names are the protocol's.
impl Version {
    pub const V1: Version = Version(2);
    pub const V2: Version = Version(0x3_0002);
    pub const V4: Version = Version(0x4_0000);
    pub const V5: Version = Version(0x5_0000);
    pub const V6: Version = Version(0x6_0000);
    pub const V61: Version = Version(0x6_0001);
    /// All, newest first.
    pub const ALL: [Version; 6] = [Self::V61, Self::V6, Self::V5, Self::V4, Self::V2, Self::V1];

    /// Bytes of a message.
    pub fn message_length(self) -> usize {
        if self >= Self::V61 { 40 } else { 28 }
    }
}

/// What a message is: its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageType(pub u32);

#[allow(missing_docs)] // The names are the protocol's.
impl MessageType {
    pub const INIT: MessageType = MessageType(1);
    pub const INIT_COMPLETE: MessageType = MessageType(2);
    pub const SEND_NDIS_VERSION: MessageType = MessageType(100);
    pub const SEND_RECEIVE_BUFFER: MessageType = MessageType(101);
    pub const SEND_RECEIVE_BUFFER_COMPLETE: MessageType = MessageType(102);
    pub const REVOKE_RECEIVE_BUFFER: MessageType = MessageType(103);
    pub const SEND_SEND_BUFFER: MessageType = MessageType(104);
    pub const SEND_SEND_BUFFER_COMPLETE: MessageType = MessageType(105);
    pub const REVOKE_SEND_BUFFER: MessageType = MessageType(106);
    pub const SEND_RNDIS_PACKET: MessageType = MessageType(107);
    pub const SEND_RNDIS_PACKET_COMPLETE: MessageType = MessageType(108);
    pub const SEND_NDIS_CONFIG: MessageType = MessageType(125);
    pub const SWITCH_DATA_PATH: MessageType = MessageType(129);
    pub const OID_QUERY_EX: MessageType = MessageType(131);
    pub const OID_QUERY_EX_COMPLETE: MessageType = MessageType(132);
    pub const SUBCHANNEL: MessageType = MessageType(133);
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)] // The names are the protocol's.
pub enum Status {
    Success = 1,
    Fail = 2,
    ProtocolTooNew = 3,
    ProtocolTooOld = 4,
    InvalidRndisPacket = 5,
}

/// INIT: the versions that the guest takes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Init {
    /// Oldest.
    pub oldest: U32,
    /// Newest.
    pub newest: U32,
}

/// SEND_NDIS_CONFIG.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NdisConfig {
    /// Bytes of a frame with its Ethernet header.
    pub frame_length: U32,
    /// Zero.
    pub reserved: U32,
    /// Bit 3: IEEE 802.1Q beside the frame; others are not looked at.
    pub capabilities: U64,
}

/// SEND_RECEIVE_BUFFER and SEND_SEND_BUFFER.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SendBuffer {
    /// Memory that the guest has described on the channel before.
    pub gpadl: U32,
    /// The guest's number of the buffer.
    pub id: U16,
}

/// SEND_RECEIVE_BUFFER_COMPLETE, with the one section that we make.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReceiveBufferComplete {
    /// A [`Status`].
    pub status: U32,
    /// 1.
    pub sections: U32,
    /// 0.
    pub offset: U32,
    /// Bytes of a piece.
    pub piece_length: U32,
    /// Number of pieces.
    pub pieces: U32,
    /// Where the last one ends.
    pub end_offset: U32,
}

/// SUBCHANNEL.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Subchannels {
    /// [`Subchannels::ALLOCATE`].
    pub operation: U32,
    /// How many the guest wants.
    pub count: U32,
}

impl Subchannels {
    /// The one operation that there is.
    pub const ALLOCATE: u32 = 1;
}

/// SEND_RNDIS_PACKET, both ways.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RndisPacket {
    /// 0: data, 1: control.
    pub channel_type: U32,
    /// Section of the send buffer, or [`NO_SECTION`].
    pub section: U32,
    /// Bytes that are there.
    pub section_length: U32,
}

/// All of it is in memory that comes with the packet.
pub const NO_SECTION: u32 = u32::MAX;
/// [`RndisPacket::channel_type`].
pub const DATA: u32 = 0;
/// [`RndisPacket::channel_type`].
pub const CONTROL: u32 = 1;
/// The transfer page set of packets to the guest.
pub const RECEIVE_BUFFER_ID: u16 = 0xcafe;

/// A message: its type, its words, zeros up to its length.
pub fn message(kind: MessageType, body: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = kind.0.to_le_bytes().to_vec();
    bytes.extend(body);
    bytes.resize(length.max(bytes.len()), 0);
    bytes
}
