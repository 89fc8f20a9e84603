//! The control domain's own address on a physical adapter or an external switch.

use crate::dhcp::client;
use crate::dhcp::message::Message;
use crate::dns::NameServers;
use crate::report;
use netlink::address::{self, Network};
use netlink::{link, route};
use std::io;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

/// Time between tries where nobody answers: a cable may be plugged in later.
const RETRY: Duration = Duration::from_secs(15);
/// The shortest lease that is believed.
const LEAST_SECONDS: u32 = 60;

/// Keeps an address there, for ever.
pub fn keep(interface: &str, names: &NameServers) {
    let mut has: Option<Network> = None;
    let mut silent = false;
    loop {
        match renew(interface, &mut has, names) {
            Ok(lease) => {
                silent = false;
                // At half its time (RFC 2131 §4.4.5).
                sleep(Duration::from_secs(u64::from(lease.max(LEAST_SECONDS)) / 2));
            }
            Err(error) => {
                if !std::mem::replace(&mut silent, true) {
                    report!("{interface}: {error}");
                }
                sleep(RETRY);
            }
        }
    }
}

/// Answers for how many seconds the address is there.
fn renew(interface: &str, has: &mut Option<Network>, names: &NameServers) -> io::Result<u32> {
    let index = link::index(interface)?;
    link::bring_up(index)?;
    let before = has.map(|network| network.address);
    let answer = client::ask(interface, mac(interface)?, before)?;
    let network = network_of(&answer)?;
    if let Some(old) = has.filter(|old| *old != network) {
        let _ = address::remove(index, old);
    }
    address::add(index, network)?;
    if let Some(gateway) = answer.router {
        route::set_default(index, gateway)?;
    }
    names.set(&answer.name_servers);
    if has.replace(network) != Some(network) {
        report!("{interface} has {}/{}", network.address, network.prefix);
    }
    Ok(answer.lease_seconds.unwrap_or(LEAST_SECONDS))
}

fn network_of(answer: &Message) -> io::Result<Network> {
    let mask = answer
        .mask
        .unwrap_or(Ipv4Addr::new(255, 255, 255, 0))
        .to_bits();
    let prefix = mask.leading_ones() as u8;
    let address = answer.yours;
    if mask.count_ones() != u32::from(prefix) || address.is_unspecified() || address.is_multicast()
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the DHCP server's answer makes no sense",
        ));
    }
    Ok(Network { address, prefix })
}

fn mac(interface: &str) -> io::Result<[u8; 6]> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/address"))?;
    let bytes = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Result<Vec<u8>, _> = bytes.collect();
    let mac = bytes.ok().and_then(|bytes| bytes.try_into().ok());
    mac.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("no Ethernet address: {text}"),
        )
    })
}
