//! What is said beside a frame. Source: Windows driver documentation, the NDIS_*_NET_BUFFER_LIST_INFO
//! structures.

use crate::wire::rndis::{INFO_CHECKSUM, INFO_LARGE_SEND, INFO_LENGTH, INFO_VLAN, Info};
use zerocopy::IntoBytes;

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IpVersion {
    V4,
    V6,
}

/// Checksums that the guest left to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Of which IP.
    pub ip: IpVersion,
    /// TCP's.
    pub tcp: bool,
    /// UDP's.
    pub udp: bool,
    /// That of IPv4's header.
    pub ip_header: bool,
    /// Where the TCP header begins in the frame; 0 if the guest does not say.
    pub transport_offset: u16,
}

/// A frame that the guest wants cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Of which IP.
    pub ip: IpVersion,
    /// Bytes of TCP payload in a segment.
    pub segment_length: u32,
    /// Where the TCP header begins in the frame.
    pub transport_offset: u16,
}

/// IEEE 802.1Q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// 0 to 7.
    pub priority: u8,
    /// Canonical format, drop eligible.
    pub cfi: bool,
    /// 0 to 4095.
    pub id: u16,
}

/// Checksums of a frame for the guest that were found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// TCP's.
    pub tcp: bool,
    /// UDP's.
    pub udp: bool,
    /// That of IPv4's header.
    pub ip_header: bool,
}

/// All that the guest said beside a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Checksums to compute.
    pub checksums: Option<Checksums>,
    /// Segments to make.
    pub segmentation: Option<Segmentation>,
    /// Tag to put in.
    pub vlan: Option<Vlan>,
}

/// A frame from the guest, from its Ethernet header on, without checksum at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What has to be done to it.
    pub offload: Offload,
}

const CHECKSUM_IPV4: u32 = 1;
const CHECKSUM_IPV6: u32 = 2;
const CHECKSUM_TCP: u32 = 4;
const CHECKSUM_UDP: u32 = 8;
const CHECKSUM_IP_HEADER: u32 = 16;
const LARGE_SEND_IPV6: u32 = 1 << 31;

impl Offload {
    /// Takes in a piece of information; kinds that are not known are passed over.
    pub(crate) fn add(&mut self, kind: u32, value: u32) {
        match kind {
            INFO_CHECKSUM => {
                let ip = match (value & CHECKSUM_IPV4 != 0, value & CHECKSUM_IPV6 != 0) {
                    (true, false) => IpVersion::V4,
                    (false, true) => IpVersion::V6,
                    _ => return,
                };
                self.checksums = Some(Checksums {
                    ip,
                    tcp: value & CHECKSUM_TCP != 0,
                    udp: value & CHECKSUM_UDP != 0,
                    ip_header: value & CHECKSUM_IP_HEADER != 0,
                    transport_offset: (value >> 16 & 0x3ff) as u16,
                });
            }
            INFO_LARGE_SEND => {
                self.segmentation = Some(Segmentation {
                    ip: match value & LARGE_SEND_IPV6 {
                        0 => IpVersion::V4,
                        _ => IpVersion::V6,
                    },
                    segment_length: value & 0xf_ffff,
                    transport_offset: (value >> 20 & 0x3ff) as u16,
                });
            }
            INFO_VLAN => {
                self.vlan = Some(Vlan {
                    priority: (value & 7) as u8,
                    cfi: value & 8 != 0,
                    id: (value >> 4 & 0xfff) as u16,
                });
            }
            _ => {}
        }
    }
}

/// Information beside a frame for the guest.
pub(crate) fn received(vlan: Option<Vlan>, verified: Verified) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |kind: u32, value: u32| {
        let info = Info {
            length: (INFO_LENGTH as u32 + 4).into(),
            kind: kind.into(),
            offset: (INFO_LENGTH as u32).into(),
        };
        bytes.extend(info.as_bytes());
        bytes.extend(value.to_le_bytes());
    };
    if let Some(vlan) = vlan {
        let tag = u32::from(vlan.priority & 7)
            | u32::from(vlan.cfi) << 3
            | u32::from(vlan.id & 0xfff) << 4;
        put(INFO_VLAN, tag);
    }
    if verified != Verified::default() {
        let right = u32::from(verified.tcp) << 3
            | u32::from(verified.udp) << 4
            | u32::from(verified.ip_header) << 5;
        put(INFO_CHECKSUM, right);
    }
    bytes
}
