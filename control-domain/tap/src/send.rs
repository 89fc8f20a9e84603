//! A guest's frame into what the kernel takes.

use crate::frame::{self, Layout};
use crate::header::{Header, NEEDS_CHECKSUM, TCP_OVER_IPV4, TCP_OVER_IPV6};
use netvsp::{Frame, IpVersion, Segmentation};

/// What the kernel is told of a frame, whose headers are made right for it. None: what the guest says of
/// it does not hold together.
pub fn prepare(frame: &mut Frame) -> Option<Header> {
    let offload = frame.offload;
    if let Some(segmentation) = offload.segmentation {
        return large_send(&mut frame.bytes, segmentation);
    }
    let Some(checksums) = offload.checksums else {
        return Some(Header::default());
    };
    if checksums.ip_header {
        frame::put_ipv4_checksum(&mut frame.bytes);
    }
    if !checksums.tcp && !checksums.udp {
        return Some(Header::default());
    }
    let layout = Layout::of(&frame.bytes, checksums.transport_offset.into())?;
    Some(checksum(&mut frame.bytes, layout))
}

/// The kernel adds up from the transport's header on; what the sum begins with is written there.
fn checksum(bytes: &mut [u8], layout: Layout) -> Header {
    let offset = layout.checksum_offset();
    let at = layout.transport + offset;
    let start = layout.pseudo_header(bytes);
    bytes[at..at + 2].copy_from_slice(&start.to_be_bytes());
    Header {
        flags: NEEDS_CHECKSUM,
        checksum_start: (layout.transport as u16).into(),
        checksum_offset: (offset as u16).into(),
        ..Header::default()
    }
}

/// Drivers leave the length in IP's header and the checksums to us.
fn large_send(bytes: &mut [u8], segmentation: Segmentation) -> Option<Header> {
    let layout = Layout::of(bytes, segmentation.transport_offset.into())?;
    let tcp_header = usize::from(bytes.get(layout.transport + 12)? >> 4) * 4;
    let header_length = layout.transport + tcp_header;
    let segment_length = u16::try_from(segmentation.segment_length).ok()?;
    let right = layout.protocol == frame::TCP
        && tcp_header >= 20
        && layout.ip == segmentation.ip
        && segment_length > 0
        && bytes.len() >= header_length;
    if !right {
        return None;
    }
    layout.put_length(bytes);
    if layout.ip == IpVersion::V4 {
        frame::put_ipv4_checksum(bytes);
    }
    let header = checksum(bytes, layout);
    if bytes.len() - header_length <= segment_length.into() {
        return Some(header);
    }
    Some(Header {
        segments: match layout.ip {
            IpVersion::V4 => TCP_OVER_IPV4,
            IpVersion::V6 => TCP_OVER_IPV6,
        },
        header_length: (header_length as u16).into(),
        segment_length: segment_length.into(),
        ..header
    })
}
