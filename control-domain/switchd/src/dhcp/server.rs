//! Addresses for guests.

use super::lease::Leases;
use super::message::{ACK, DECLINE, DISCOVER, INFORM, Message, NAK, OFFER, RELEASE, REQUEST};
use super::{CLIENT_PORT, SERVER_PORT, socket_on};
use crate::report;
use netlink::address::Network;
use std::io;
use std::net::Ipv4Addr;
use std::time::Instant;

/// How long a guest may keep an address without asking again.
const LEASE_SECONDS: u32 = 24 * 60 * 60;
/// The largest datagram.
const MOST: usize = 1500;

/// Serves on a switch's bridge, in a network whose first address is the switch's.
pub fn serve(bridge: &str, network: Network) -> io::Result<()> {
    let socket = socket_on(bridge, SERVER_PORT)?;
    let mut leases = Leases::new(network);
    let start = Instant::now();
    let mut bytes = [0; MOST];
    loop {
        let (length, _) = socket.recv_from(&mut bytes)?;
        let Some(request) = Message::read(&bytes[..length]) else {
            continue;
        };
        let now = start.elapsed().as_secs();
        if let Some(answer) = answer(&mut leases, network, &request, now) {
            if answer.kind == ACK {
                report!("{} has {}", mac_text(request.mac), answer.yours);
            }
            // Who has no address yet hears broadcasts alone.
            let to = match request.client {
                Ipv4Addr::UNSPECIFIED => Ipv4Addr::BROADCAST,
                client => client,
            };
            let _ = socket.send_to(&answer.write(), (to, CLIENT_PORT));
        }
    }
}

/// What a guest is answered (RFC 2131 §4.3).
fn answer(leases: &mut Leases, network: Network, request: &Message, now: u64) -> Option<Message> {
    let other = request
        .server
        .is_some_and(|server| server != network.address);
    if request.reply || other {
        return None;
    }
    let mac = request.mac;
    let mut answer = Message {
        reply: true,
        broadcast: request.broadcast,
        client: request.client,
        mask: Some(network.mask()),
        router: Some(network.address),
        name_servers: vec![network.address],
        lease_seconds: Some(LEASE_SECONDS),
        server: Some(network.address),
        ..Message::new(OFFER, request.id, mac)
    };
    match request.kind {
        DISCOVER => answer.yours = leases.find(mac, request.wanted, now)?,
        REQUEST => {
            let wanted = request.wanted.unwrap_or(request.client);
            if leases.give(mac, wanted, now + u64::from(LEASE_SECONDS), now) {
                (answer.kind, answer.yours) = (ACK, wanted);
            } else {
                let server = answer.server;
                answer = Message {
                    reply: true,
                    server,
                    ..Message::new(NAK, request.id, mac)
                };
            }
        }
        INFORM => (answer.kind, answer.lease_seconds) = (ACK, None),
        RELEASE | DECLINE => {
            leases.take_back(mac);
            return None;
        }
        _ => return None,
    }
    Some(answer)
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::create::DEFAULT_NETWORK;

    const MAC: [u8; 6] = [0, 0x15, 0x5d, 1, 2, 3];

    fn ask(leases: &mut Leases, request: &Message) -> Option<Message> {
        answer(leases, DEFAULT_NETWORK, request, 0)
    }

    #[test]
    fn a_guest_gets_an_address_and_all_it_needs() {
        let mut leases = Leases::new(DEFAULT_NETWORK);
        let offer = ask(&mut leases, &Message::new(DISCOVER, [7; 4], MAC)).unwrap();
        assert_eq!((offer.kind, offer.id), (OFFER, [7; 4]));
        let mut request = Message::new(REQUEST, [8; 4], MAC);
        request.wanted = Some(offer.yours);
        request.server = offer.server;
        let ack = ask(&mut leases, &request).unwrap();
        assert_eq!((ack.kind, ack.yours), (ACK, offer.yours));
        assert_eq!(ack.router, Some(DEFAULT_NETWORK.address));
        assert_eq!(ack.name_servers, [DEFAULT_NETWORK.address]);
        // It renews what it has, by its own address.
        let mut renewal = Message::new(REQUEST, [9; 4], MAC);
        renewal.client = ack.yours;
        assert_eq!(ask(&mut leases, &renewal).unwrap().yours, ack.yours);
    }

    #[test]
    fn what_can_not_be_had_is_refused_and_what_is_for_others_left_alone() {
        let mut leases = Leases::new(DEFAULT_NETWORK);
        let mut request = Message::new(REQUEST, [1; 4], MAC);
        request.wanted = Some(Ipv4Addr::new(192, 168, 1, 5));
        let nak = ask(&mut leases, &request).unwrap();
        assert_eq!((nak.kind, nak.yours), (NAK, Ipv4Addr::UNSPECIFIED));
        request.server = Some(Ipv4Addr::new(192, 168, 1, 1));
        assert_eq!(ask(&mut leases, &request), None);
        let mut reply = Message::new(DISCOVER, [1; 4], MAC);
        reply.reply = true;
        assert_eq!(ask(&mut leases, &reply), None);
    }
}
