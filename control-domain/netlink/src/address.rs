//! Addresses of interfaces. Source: rtnetlink(7).

use crate::message::{CREATE, Message, REPLACE};
use crate::socket::{Socket, or_there};
use std::io;
use std::net::Ipv4Addr;

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
pub(crate) const AF_INET: u8 = 2;

/// An address and how many of its bits are the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: Ipv4Addr,
    /// 0 to 32.
    pub prefix: u8,
}

impl Network {
    /// The bits that are the network's.
    pub fn mask(&self) -> Ipv4Addr {
        let bits = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32)));
        Ipv4Addr::from_bits(bits.unwrap_or(0))
    }

    /// The first address of the network.
    pub fn start(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.mask().to_bits())
    }
}

/// Gives an interface an address.
///
/// # Errors
/// As the kernel says.
pub fn add(index: u32, network: Network) -> io::Result<()> {
    or_there(Socket::route()?.ask(message(NEW_ADDRESS, CREATE | REPLACE, index, network)))
}

/// Takes an address from an interface.
///
/// # Errors
/// As the kernel says.
pub fn remove(index: u32, network: Network) -> io::Result<()> {
    Socket::route()?.ask(message(DELETE_ADDRESS, 0, index, network))
}

fn message(kind: u16, flags: u16, index: u32, network: Network) -> Message {
    let [a, b, c, d] = index.to_ne_bytes();
    let fixed = [AF_INET, network.prefix, 0, 0, a, b, c, d];
    let address = network.address.octets();
    Message::new(kind, flags, &fixed)
        .with(IFA_LOCAL, &address)
        .with(IFA_ADDRESS, &address)
}
