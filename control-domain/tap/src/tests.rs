//! Frames made by hand, and the sums over them that a receiver computes.

use crate::frame::{self, ETHERNET, Layout};
use crate::header::{Header, NEEDS_CHECKSUM, TCP_OVER_IPV4, TCP_OVER_IPV6};
use crate::{receive, send, vlan};
use netvsp::{Checksums, Frame, IpVersion, Offload, Segmentation, Vlan};
use zerocopy::IntoBytes;

/// A TCP segment over IPv4 with this many bytes of payload, without checksums.
pub(crate) fn tcp4(payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let length = (40 + payload) as u16;
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([
        0,
        1,
        0x40,
        0,
        64,
        frame::TCP,
        0,
        0,
        172,
        30,
        0,
        9,
        10,
        0,
        2,
        100,
    ]);
    frame.extend([
        4, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..payload).map(|i| i as u8));
    frame
}

fn tcp6(payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    frame.extend([0x60, 0, 0, 0, 0, 0, frame::TCP, 64]);
    frame.extend([0xfe; 16]);
    frame.extend([0xfd; 16]);
    frame.extend(&tcp4(payload)[34..]);
    frame
}

pub(crate) fn with(bytes: Vec<u8>, offload: Offload) -> Frame {
    Frame { bytes, offload }
}

fn checksums(ip: IpVersion) -> Offload {
    Offload {
        checksums: Some(Checksums {
            ip,
            tcp: true,
            udp: false,
            ip_header: true,
            transport_offset: 0,
        }),
        ..Offload::default()
    }
}

pub(crate) fn large(ip: IpVersion, segment_length: u32) -> Offload {
    Offload {
        segmentation: Some(Segmentation {
            ip,
            segment_length,
            transport_offset: 0,
        }),
        ..Offload::default()
    }
}

/// The sum that a receiver of the frame computes: right if it is all ones.
pub(crate) fn receiver_sum(frame: &[u8]) -> u16 {
    let layout = Layout::of(frame, 0).expect("TCP");
    frame::sum(&frame[layout.transport..], layout.pseudo_header(frame))
}

#[test]
fn checksums_that_are_left_to_the_kernel_come_out_right() {
    for (ip, bytes) in [(IpVersion::V4, tcp4(101)), (IpVersion::V6, tcp6(101))] {
        let mut frame = with(bytes, checksums(ip));
        let header = send::prepare(&mut frame).expect("whole");
        assert_eq!(header.flags, NEEDS_CHECKSUM);
        // The kernel's part, played by our own other end.
        let arrived = receive::arrived(&[header.as_bytes(), &frame.bytes].concat()).expect("whole");
        assert_eq!(receiver_sum(&arrived.bytes), 0xffff, "{ip:?}");
        assert!(arrived.verified.tcp);
        if ip == IpVersion::V4 {
            assert_eq!(
                frame::sum(&arrived.bytes[ETHERNET..ETHERNET + 20], 0),
                0xffff
            );
        }
    }
}

#[test]
fn large_sends_get_their_length_and_their_segments() {
    for (ip, bytes, segments, headers) in [
        (IpVersion::V4, tcp4(5000), TCP_OVER_IPV4, 54),
        (IpVersion::V6, tcp6(5000), TCP_OVER_IPV6, 74),
    ] {
        let mut bytes = bytes;
        // As drivers leave them.
        let at = if ip == IpVersion::V4 { 16 } else { 18 };
        bytes[at..at + 2].fill(0);
        let mut frame = with(bytes, large(ip, 1460));
        let header = send::prepare(&mut frame).expect("whole");
        assert_eq!(
            (header.segments, header.header_length.get()),
            (segments, headers)
        );
        assert_eq!(header.segment_length.get(), 1460);
        let length = if ip == IpVersion::V4 { 5040 } else { 5020u16 };
        assert_eq!(frame.bytes[at..at + 2], length.to_be_bytes());
    }
    // What fits one segment is not cut.
    let mut small = with(tcp4(1460), large(IpVersion::V4, 1460));
    assert_eq!(send::prepare(&mut small).expect("whole").segments, 0);
}

#[test]
fn what_a_guest_says_wrongly_is_dropped() {
    for offload in [
        large(IpVersion::V4, 0),
        large(IpVersion::V4, 1 << 20),
        large(IpVersion::V6, 1460),
    ] {
        assert_eq!(send::prepare(&mut with(tcp4(3000), offload)), None);
    }
    // Cut off anywhere, and each byte changed: an answer, no panic, and nothing named outside the frame.
    for offload in [checksums(IpVersion::V4), large(IpVersion::V4, 100)] {
        for (whole, least) in [(tcp4(300), 14), (tcp6(300), 14)] {
            for length in least..whole.len() {
                check_inside(with(whole[..length].to_vec(), offload));
            }
            for at in 0..whole.len().min(80) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0xff;
                check_inside(with(damaged, offload));
            }
        }
    }
}

fn check_inside(mut frame: Frame) {
    if let Some(header) = send::prepare(&mut frame) {
        let start = usize::from(header.checksum_start.get());
        let place = start + usize::from(header.checksum_offset.get());
        let inside = header.flags == 0 || place + 2 <= frame.bytes.len();
        assert!(inside && usize::from(header.header_length.get()) <= frame.bytes.len());
    }
}

#[test]
fn headers_of_the_network_are_checked() {
    for (start, offset) in [(0xffff, 0), (20, 0xffff), (13, 0)] {
        let header = Header {
            flags: NEEDS_CHECKSUM,
            checksum_start: start.into(),
            checksum_offset: offset.into(),
            ..Header::default()
        };
        let bytes = [header.as_bytes(), &[1; 14]].concat();
        assert_eq!(receive::arrived(&bytes), None, "{start} {offset}");
    }
    assert_eq!(receive::arrived(&[0; 9]), None);
}

#[test]
fn tags_are_put_in_and_taken_out() {
    let tag = Vlan {
        priority: 5,
        cfi: true,
        id: 0xabc,
    };
    let mut bytes = tcp4(3);
    vlan::put(&mut bytes, tag);
    assert_eq!(bytes[12..16], [0x81, 0x00, 0xba, 0xbc]);
    assert_eq!(vlan::take(&mut bytes), Some(tag));
    assert_eq!(bytes, tcp4(3));
    assert_eq!(vlan::take(&mut bytes), None);
}
