//! Interfaces and bridges. Source: rtnetlink(7), include/uapi/linux/if_link.h.

use crate::message::{CREATE, EXCLUSIVE, Message};
use crate::socket::{Socket, or_there};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use std::io;

const NEW_LINK: u16 = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_INFO_KIND: u16 = 1;
const IFF_UP: u32 = 1;

/// The number of an interface.
///
/// # Errors
/// That there is none with this name.
pub fn index(name: &str) -> io::Result<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    name_to_index(socket, name).map_err(|error| {
        let kind = io::Error::from(error).kind();
        io::Error::new(kind, format!("interface {name}: {error}"))
    })
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// Makes a bridge, with a name for people beside the kernel's.
///
/// # Errors
/// As the kernel says.
pub fn make_bridge(name: &str, title: &str) -> io::Result<()> {
    let message = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link(0, 0, 0))
        .with_text(IFLA_IFNAME, name)
        .nested(IFLA_LINKINFO, |info| info.with(IFLA_INFO_KIND, b"bridge"));
    or_there(Socket::route()?.ask(message))?;
    // The kernel passes it over when it makes an interface.
    let message = Message::new(NEW_LINK, 0, &link(index(name)?, 0, 0));
    Socket::route()?.ask(message.with_text(IFLA_IFALIAS, title))
}

/// Switches an interface on.
///
/// # Errors
/// As the kernel says.
pub fn bring_up(index: u32) -> io::Result<()> {
    let message = Message::new(NEW_LINK, 0, &link(index, IFF_UP, IFF_UP));
    Socket::route()?.ask(message)
}

/// Plugs an interface into a bridge, and gives it a name for people.
///
/// # Errors
/// As the kernel says.
pub fn plug_in(index: u32, bridge: u32, title: &str) -> io::Result<()> {
    let message = Message::new(NEW_LINK, 0, &link(index, IFF_UP, IFF_UP))
        .with(IFLA_MASTER, &bridge.to_ne_bytes())
        .with_text(IFLA_IFALIAS, title);
    Socket::route()?.ask(message)
}
