//! A frame of the kernel into what a guest takes.

use crate::frame::sum;
use crate::header::{CHECKSUMS_RIGHT, Header, LENGTH, NEEDS_CHECKSUM};
use crate::vlan;
use netvsp::{Arrived, Verified};
use zerocopy::FromBytes;

/// Where UDP has its checksum, which is never 0 if there is one.
const UDP_CHECKSUM_OFFSET: usize = 6;

/// Takes a header and a frame apart; none if they do not hold together.
pub fn arrived(bytes: &[u8]) -> Option<Arrived> {
    let (header, frame) = Header::read_from_prefix(bytes).ok()?;
    let mut frame = frame.to_vec();
    let mut right = header.flags & CHECKSUMS_RIGHT != 0;
    if header.flags & NEEDS_CHECKSUM != 0 {
        complete(&mut frame, &header)?;
        right = true;
    }
    Some(Arrived {
        vlan: vlan::take(&mut frame),
        bytes: frame,
        verified: Verified {
            tcp: right,
            udp: right,
            ip_header: false,
        },
    })
}

/// Computes the checksum that was left to us: a guest may pass the frame on.
fn complete(frame: &mut [u8], header: &Header) -> Option<()> {
    let start = usize::from(header.checksum_start.get());
    let offset = usize::from(header.checksum_offset.get());
    let counted = frame.get_mut(start..)?;
    let mut checksum = !sum(counted, 0);
    if checksum == 0 && offset == UDP_CHECKSUM_OFFSET {
        checksum = 0xffff;
    }
    let place = counted.get_mut(offset..offset + 2)?;
    place.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Bytes of the largest frame with its header.
pub const MOST: usize = LENGTH + (1 << 16) + vlan::LENGTH;
