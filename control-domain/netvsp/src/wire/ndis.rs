//! Objects of NDIS that are values of OIDs. Source: Windows driver documentation, `ntddndis.h`.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Object identifiers that are answered.
#[allow(missing_docs)] // The names are NDIS's.
pub mod oid {
    pub const GEN_SUPPORTED_LIST: u32 = 0x0001_0101;
    pub const GEN_HARDWARE_STATUS: u32 = 0x0001_0102;
    pub const GEN_MEDIA_SUPPORTED: u32 = 0x0001_0103;
    pub const GEN_MEDIA_IN_USE: u32 = 0x0001_0104;
    pub const GEN_MAXIMUM_LOOKAHEAD: u32 = 0x0001_0105;
    pub const GEN_MAXIMUM_FRAME_SIZE: u32 = 0x0001_0106;
    pub const GEN_LINK_SPEED: u32 = 0x0001_0107;
    pub const GEN_TRANSMIT_BLOCK_SIZE: u32 = 0x0001_010a;
    pub const GEN_RECEIVE_BLOCK_SIZE: u32 = 0x0001_010b;
    pub const GEN_VENDOR_ID: u32 = 0x0001_010c;
    pub const GEN_VENDOR_DESCRIPTION: u32 = 0x0001_010d;
    pub const GEN_CURRENT_PACKET_FILTER: u32 = 0x0001_010e;
    pub const GEN_CURRENT_LOOKAHEAD: u32 = 0x0001_010f;
    pub const GEN_DRIVER_VERSION: u32 = 0x0001_0110;
    pub const GEN_MAXIMUM_TOTAL_SIZE: u32 = 0x0001_0111;
    pub const GEN_MAC_OPTIONS: u32 = 0x0001_0113;
    pub const GEN_MEDIA_CONNECT_STATUS: u32 = 0x0001_0114;
    pub const GEN_MAXIMUM_SEND_PACKETS: u32 = 0x0001_0115;
    pub const GEN_VENDOR_DRIVER_VERSION: u32 = 0x0001_0116;
    pub const GEN_RECEIVE_SCALE_CAPABILITIES: u32 = 0x0001_0203;
    pub const GEN_RECEIVE_SCALE_PARAMETERS: u32 = 0x0001_0204;
    pub const GEN_XMIT_OK: u32 = 0x0002_0101;
    pub const GEN_RCV_OK: u32 = 0x0002_0102;
    pub const GEN_XMIT_ERROR: u32 = 0x0002_0103;
    pub const GEN_RCV_ERROR: u32 = 0x0002_0104;
    pub const GEN_RCV_NO_BUFFER: u32 = 0x0002_0105;
    pub const GEN_FRIENDLY_NAME: u32 = 0x0002_0213;
    pub const PERMANENT_ADDRESS: u32 = 0x0101_0101;
    pub const CURRENT_ADDRESS: u32 = 0x0101_0102;
    pub const MULTICAST_LIST: u32 = 0x0101_0103;
    pub const MAXIMUM_LIST_SIZE: u32 = 0x0101_0104;
    pub const OFFLOAD_CURRENT_CONFIG: u32 = 0xfc01_020b;
    pub const OFFLOAD_PARAMETERS: u32 = 0xfc01_020c;
    pub const OFFLOAD_HARDWARE_CAPABILITIES: u32 = 0xfc01_020d;
}

const OBJECT_TYPE_OFFLOAD: u8 = 0xa7;
const OBJECT_TYPE_SCALE_CAPABILITIES: u8 = 0x88;
/// Interrupts by messages; TCP over IPv4 and IPv6 hashed by Toeplitz's function.
const SCALE_CAPABILITIES: u32 = 0x0100_0000 | 0x0000_0300 | 1;
const ENCAPSULATION_802_3: u32 = 2;
/// Words before IPsec v2, which ends version 6.0 of the object.
const OFFLOAD_WORDS: usize = 8 + 4 + 7 + 7 + 1;

/// TCP, with options, over IPv4 and UDP and the IP header itself.
const CHECKSUMS_IPV4: u32 = 0x001 | 0x004 | 0x010 | 0x040 | 0x100;
/// TCP, with options, over IPv6 with extension headers, and UDP.
const CHECKSUMS_IPV6: u32 = 0x001 | 0x004 | 0x010 | 0x040;
const LARGE_SEND_IPV6: u32 = 0x001 | 0x004;
/// Fewest segments that a large send has.
const LEAST_SEGMENTS: u32 = 2;

/// NDIS_RECEIVE_SCALE_PARAMETERS, revision 1.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ScaleParameters {
    /// Type, revision, length.
    pub header: U32,
    /// What stays as it is, or whether all is over.
    pub flags: U16,
    /// The guest's business.
    pub base_processor: U16,
    /// The hash function, and what it is over.
    pub hashes: U32,
    /// Bytes of the table.
    pub table_length: U16,
    reserved1: U16,
    /// From the start of this.
    pub table_offset: U32,
    /// Bytes of the key.
    pub key_length: U16,
    reserved2: U16,
    /// From the start of this.
    pub key_offset: U32,
}

/// [`ScaleParameters::flags`]: no table was sent.
pub const SCALING_UNCHANGED_TABLE: u16 = 4;
/// [`ScaleParameters::flags`]: no key was sent.
pub const SCALING_UNCHANGED_KEY: u16 = 8;
/// [`ScaleParameters::flags`]: frames go to the first channel again.
pub const SCALING_OFF: u16 = 0x10;

/// NDIS_RECEIVE_SCALE_CAPABILITIES, revision 2, without a byte behind it: Linux takes no more.
pub fn scale_capabilities(channels: u16, entries: u16) -> Vec<u8> {
    let length: u8 = 4 + 3 * 4 + 2;
    let mut bytes = vec![OBJECT_TYPE_SCALE_CAPABILITIES, 2, length, 0];
    let channels = u32::from(channels);
    for word in [SCALE_CAPABILITIES, channels, channels] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(entries.to_le_bytes());
    bytes
}

/// NDIS_OFFLOAD, revision 1: what the card computes; `large_send` is the most bytes of a large send,
/// 0 for none.
pub fn offload(checksums: bool, large_send: u32) -> Vec<u8> {
    let mut words = [0u32; OFFLOAD_WORDS];
    if checksums {
        for (i, what) in [
            CHECKSUMS_IPV4,
            CHECKSUMS_IPV4,
            CHECKSUMS_IPV6,
            CHECKSUMS_IPV6,
        ]
        .into_iter()
        .enumerate()
        {
            (words[2 * i], words[2 * i + 1]) = (ENCAPSULATION_802_3, what);
        }
    }
    if large_send > 0 {
        // After checksums (8), large send version 1 (4) and IPsec version 1 (7).
        words[19..26].copy_from_slice(&[
            ENCAPSULATION_802_3,
            large_send,
            LEAST_SEGMENTS,
            ENCAPSULATION_802_3,
            large_send,
            LEAST_SEGMENTS,
            LARGE_SEND_IPV6,
        ]);
    }
    let length = 4 + 4 * OFFLOAD_WORDS;
    let mut bytes = vec![OBJECT_TYPE_OFFLOAD, 1];
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}
