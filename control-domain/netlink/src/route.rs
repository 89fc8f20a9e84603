//! The way out. Source: rtnetlink(7).

use crate::address::AF_INET;
use crate::message::{CREATE, Message, REPLACE};
use crate::socket::Socket;
use std::io;
use std::net::Ipv4Addr;

const NEW_ROUTE: u16 = 24;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const MAIN_TABLE: u8 = 254;
const BY_DHCP: u8 = 16;
const UNICAST: u8 = 1;

/// Sends what has no nearer way through a gateway; of several, the one with the lowest interface number is
/// taken.
///
/// # Errors
/// As the kernel says.
pub fn set_default(index: u32, gateway: Ipv4Addr) -> io::Result<()> {
    // Family, both lengths, type of service, table, protocol, scope, type, flags.
    let fixed = [
        AF_INET, 0, 0, 0, MAIN_TABLE, BY_DHCP, 0, UNICAST, 0, 0, 0, 0,
    ];
    let message = Message::new(NEW_ROUTE, CREATE | REPLACE, &fixed)
        .with(RTA_OIF, &index.to_ne_bytes())
        .with(RTA_GATEWAY, &gateway.octets())
        .with(RTA_PRIORITY, &index.to_ne_bytes());
    Socket::route()?.ask(message)
}
