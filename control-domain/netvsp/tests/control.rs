//! RNDIS control messages, as Linux's rndis_filter and Windows' NDIS ask.

mod guest;

use guest::{Bench, MAC, word, words};
use netvsp::Outgoing;

const NOT_SUPPORTED: u32 = 0xc000_00bb;
const INVALID_LENGTH: u32 = 0xc001_0014;

#[test]
fn what_linux_asks_is_answered() {
    let mut bench = Bench::ready();
    for (oid, value) in [
        (0x1_0106, words(&[1500])),
        (0x1_0107, words(&[100_000_000])),
        (0x1_0114, words(&[0])),
        (0x101_0101, MAC.to_vec()),
        (0x2_0213, b"n\0e\0t\0\0\0".to_vec()),
        (0x1_010e, words(&[9])),
    ] {
        assert_eq!(bench.query(oid), (0, value), "{oid:#x}");
    }
    // Receive side scaling, as long as Linux's structure and with as many channels as there are.
    let (status, scaling) = bench.query(0x1_0203);
    assert_eq!((status, scaling.len(), word(&scaling, 3)), (0, 18, 4));
    // What there is not.
    assert_eq!(bench.query(0x1_0202), (NOT_SUPPORTED, vec![]));
    assert_eq!(bench.set(0x1_021b, &[0; 20]), NOT_SUPPORTED);
}

#[test]
fn every_supported_oid_has_a_value_when_the_guest_has_one() {
    let mut bench = Bench::ready();
    bench.set(0x101_0103, &[1, 0, 0x5e, 0, 0, 1]);
    let (status, list) = bench.query(0x1_0101);
    assert_eq!(status, 0);
    for oid in list.chunks(4) {
        let oid = word(oid, 0);
        let (status, value) = bench.query(oid);
        assert!(status == 0 && !value.is_empty(), "{oid:#x}");
    }
}

#[test]
fn offload_capabilities_are_laid_out_as_ndis_has_them() {
    let mut bench = Bench::ready();
    let (_, offload) = bench.query(0xfc01_020d);
    assert_eq!(offload[..4], [0xa7, 1, offload.len() as u8, 0]);
    let field = |at: usize| word(&offload, 1 + at);
    // Checksums: encapsulation, then what, of IPv4 to and from, and of IPv6.
    assert_eq!([0, 2, 4, 6].map(field), [2; 4]);
    assert_eq!(field(1) & 0x10, 0x10, "TCP over IPv4");
    // Large send, version 2.
    assert_eq!((field(19), field(20), field(21)), (2, 0x1_0000, 2));
    assert_eq!((field(22), field(23), field(24)), (2, 0x1_0000, 2));
    assert!((8..19).all(|at| field(at) == 0), "no version 1, no IPsec");
}

#[test]
fn sets_are_checked() {
    let mut bench = Bench::ready();
    assert_eq!(bench.set(0x1_010e, &[1, 2, 3]), INVALID_LENGTH);
    assert_eq!(bench.set(0x101_0103, &[0; 7]), INVALID_LENGTH);
    assert_eq!(bench.set(0x101_0103, &[0; 33 * 6]), INVALID_LENGTH);
    assert_eq!(bench.set(0xfc01_020c, &[0x80, 3, 22, 0]), 0);
    // A value that lies behind the message.
    let answer = bench.control(&words(&[5, 28, 3, 0x1_010e, 4, 20, 0]));
    assert_eq!((word(&answer, 2), word(&answer, 3)), (3, INVALID_LENGTH));
    let answer = bench.control(&words(&[5, 28, 3, 0x1_010e, u32::MAX, u32::MAX, 0]));
    assert_eq!(word(&answer, 3), INVALID_LENGTH);
}

#[test]
fn keepalive_reset_and_halt() {
    let mut bench = Bench::ready();
    assert_eq!(
        bench.control(&words(&[8, 12, 77])),
        words(&[0x8000_0008, 16, 77, 0])
    );
    assert!(bench.nic.listens());
    assert_eq!(
        bench.control(&words(&[6, 12, 0])),
        words(&[0x8000_0006, 16, 0, 1])
    );
    assert!(!bench.nic.listens(), "the filter is gone");
    let (status, effects) = bench.rndis(1, &words(&[3, 12, 1]));
    assert_eq!(
        (status, effects.len()),
        (1, 0),
        "nobody waits for an answer"
    );
}

#[test]
fn the_cable_is_told() {
    let mut bench = Bench::ready();
    let told = bench.nic.set_connected(false, &bench.ram).expect("news");
    assert!(matches!(told, Outgoing::TransferPages { .. }));
    assert_eq!(bench.take(&told), words(&[7, 20, 0x4001_000c, 0, 0]));
    assert_eq!(bench.nic.set_connected(false, &bench.ram), None);
    assert_eq!(bench.query(0x1_0114).1, words(&[1]));
    let told = bench.nic.set_connected(true, &bench.ram).expect("news");
    assert_eq!(bench.take(&told), words(&[7, 20, 0x4001_000b, 0, 0]));
}
