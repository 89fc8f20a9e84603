//! Frames over two devices and a bridge of the kernel, in a network namespace of the test's own. Skipped,
//! and said so, where none may be made.

use crate::frame::{Layout, TCP};
use crate::tests::{large, receiver_sum, tcp4, with};
use crate::{Port, Tap, TapNetwork};
use netlink::link;
use netvsp::{Arrived, IpVersion, Network, Offload};
use rustix::thread::UnshareFlags;
use std::time::{Duration, Instant};
use vmbus::Doorbell;

/// Runs with two ports of one bridge, in a thread and so a namespace of its own.
fn bridged(ports: [Port; 2], test: impl FnOnce([TapNetwork; 2]) + Send + 'static) {
    #[allow(deprecated, reason = "unsound for other flags than this one")]
    let thread = std::thread::spawn(move || {
        if let Err(error) = rustix::thread::unshare(UnshareFlags::NEWNET) {
            return eprintln!("skipped: no network namespace: {error}");
        }
        let Ok(taps) = ["one", "two"]
            .map(Tap::open)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
        else {
            return eprintln!("skipped: no tap devices");
        };
        link::make_bridge("bridge", "switch").expect("bridge");
        let bridge = link::index("bridge").expect("index");
        link::bring_up(bridge).expect("up");
        for tap in &taps {
            link::plug_in(link::index(tap.name()).expect("index"), bridge, "guest").expect("plug");
        }
        let networks: Vec<_> = taps
            .into_iter()
            .zip(ports)
            .map(|(t, p)| TapNetwork::new(t, p))
            .collect();
        let both: Result<[TapNetwork; 2], _> = networks.try_into();
        test(both.ok().expect("two"));
    });
    assert!(thread.join().is_ok());
}

/// TCP frames that come within two seconds, or until there are `count`; the kernel's own are passed over.
fn arrivals(network: &mut TapNetwork, bell: &Doorbell, count: usize) -> Vec<Arrived> {
    let end = Instant::now() + Duration::from_secs(2);
    let mut found = Vec::new();
    while found.len() < count && Instant::now() < end {
        while let Some(arrived) = network.next() {
            if Layout::of(&arrived.bytes, 0).is_some_and(|layout| layout.protocol == TCP) {
                found.push(arrived);
            }
        }
        bell.wait(Some(Duration::from_millis(50)));
    }
    found
}

#[test]
fn a_large_send_arrives_in_segments_whose_checksums_are_right() {
    bridged([Port::default(); 2], |[mut from, mut to]| {
        let bell = Doorbell::default();
        to.set_doorbell(bell.clone());
        from.transmit(with(tcp4(5000), large(IpVersion::V4, 1460)));
        let arrived = arrivals(&mut to, &bell, 4);
        let payloads: Vec<usize> = arrived.iter().map(|a| a.bytes.len() - 54).collect();
        assert_eq!(payloads, [1460, 1460, 1460, 620]);
        for segment in &arrived {
            assert_eq!(receiver_sum(&segment.bytes), 0xffff);
        }
        let whole: Vec<u8> = arrived
            .iter()
            .flat_map(|a| a.bytes[54..].to_vec())
            .collect();
        assert!(whole == tcp4(5000)[54..]);
    });
}

#[test]
fn vlans_are_kept_apart() {
    let vlan = |vlan| Port { vlan };
    bridged([vlan(Some(12)), vlan(Some(12))], |[mut from, mut to]| {
        let bell = Doorbell::default();
        to.set_doorbell(bell.clone());
        from.transmit(with(tcp4(10), Offload::default()));
        let arrived = arrivals(&mut to, &bell, 1);
        assert_eq!(arrived.len(), 1);
        assert_eq!((&arrived[0].bytes, arrived[0].vlan), (&tcp4(10), None));
    });
    for ports in [[Some(12), Some(13)], [Some(12), None], [None, Some(12)]] {
        bridged(ports.map(vlan), |[mut from, mut to]| {
            let bell = Doorbell::default();
            to.set_doorbell(bell.clone());
            from.transmit(with(tcp4(10), Offload::default()));
            assert_eq!(arrivals(&mut to, &bell, 1), []);
        });
    }
}
