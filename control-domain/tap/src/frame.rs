//! Where IP and the transport begin in a frame, and the sums over them. Source: RFC 791, 768, 9293, 8200, 1071.

use netvsp::IpVersion;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

const IPV6_HEADER: usize = 40;

/// What is in a frame without a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Which IP.
    pub ip: IpVersion,
    /// Where the transport's header begins.
    pub transport: usize,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
}

impl Layout {
    /// Looks at a frame. `transport` is where its sender says that the transport begins, behind IPv6's
    /// extensions; 0: directly behind IPv6's header. None: it is not TCP or UDP over IP, or is cut off.
    pub fn of(frame: &[u8], transport: usize) -> Option<Self> {
        let layout = match frame.get(12..ETHERNET)? {
            [0x08, 0x00] => {
                let header = usize::from(frame.get(ETHERNET)? & 0xf) * 4;
                // Later fragments have no header of the transport.
                let fragment = u16::from_be_bytes(*frame.get(20..)?.first_chunk()?);
                if header < 20 || fragment & 0x3fff != 0 {
                    return None;
                }
                Self {
                    ip: IpVersion::V4,
                    transport: ETHERNET + header,
                    protocol: *frame.get(23)?,
                }
            }
            [0x86, 0xdd] => {
                let least = ETHERNET + IPV6_HEADER;
                let next = *frame.get(20)?;
                match transport {
                    0 => Self::ipv6(least, next),
                    at if at == least => Self::ipv6(least, next),
                    // The guest has looked behind extensions, which only TCP and UDP make worth while.
                    at if at > least => Self::ipv6(at, if next == UDP { UDP } else { TCP }),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let least = match layout.protocol {
            TCP => 20,
            UDP => 8,
            _ => return None,
        };
        (frame.len() >= layout.transport + least).then_some(layout)
    }

    fn ipv6(transport: usize, protocol: u8) -> Self {
        Self {
            ip: IpVersion::V6,
            transport,
            protocol,
        }
    }

    /// Where the checksum is, from the transport's header on.
    pub fn checksum_offset(&self) -> usize {
        if self.protocol == TCP { 16 } else { 6 }
    }

    /// The sum over addresses, protocol and length, which the transport's sum begins with.
    pub fn pseudo_header(&self, frame: &[u8]) -> u16 {
        let addresses = match self.ip {
            IpVersion::V4 => &frame[ETHERNET + 12..ETHERNET + 20],
            IpVersion::V6 => &frame[ETHERNET + 8..ETHERNET + IPV6_HEADER],
        };
        let length = (frame.len() - self.transport) as u32;
        let rest = [u32::from(self.protocol).to_be_bytes(), length.to_be_bytes()];
        sum(addresses, sum(rest.as_flattened(), 0))
    }

    /// Makes IP's header say how long the frame is.
    pub fn put_length(&self, frame: &mut [u8]) {
        let from = match self.ip {
            IpVersion::V4 => ETHERNET,
            IpVersion::V6 => ETHERNET + IPV6_HEADER,
        };
        // A large send has 64 KiB at most, with all its headers.
        let length = u16::try_from(frame.len() - from).unwrap_or(u16::MAX);
        let at = match self.ip {
            IpVersion::V4 => ETHERNET + 2,
            IpVersion::V6 => ETHERNET + 4,
        };
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

/// Computes the checksum of IPv4's header, if the frame has one.
pub fn put_ipv4_checksum(frame: &mut [u8]) {
    let Some(header) = frame
        .get(ETHERNET)
        .map(|first| usize::from(first & 0xf) * 4)
    else {
        return;
    };
    if frame.get(12..ETHERNET) != Some(&[0x08, 0x00]) || header < 20 {
        return;
    }
    if let Some(header) = frame.get_mut(ETHERNET..ETHERNET + header) {
        header[10..12].fill(0);
        let checksum = !sum(header, 0);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of 16-bit words in ones' complement.
pub fn sum(bytes: &[u8], start: u16) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)));
    let last = rest.first().map_or(0, |last| u64::from(*last) << 8);
    let mut total = words.sum::<u64>() + last + u64::from(start);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
