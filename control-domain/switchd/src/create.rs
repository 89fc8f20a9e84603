//! Bridges, addresses, translation.

use crate::report;
use crate::switch_file::{Kind, Switch, SwitchFile};
use netlink::address::{self, Network};
use netlink::{DEFAULT_SWITCH, bridge_name, link, nat};
use std::io;
use std::net::Ipv4Addr;

/// The Default Switch's network, of which the control domain has the first address: a private one that few
/// sites use, with as many addresses as Hyper-V's.
pub const DEFAULT_NETWORK: Network = Network {
    address: Ipv4Addr::new(172, 30, 0, 1),
    prefix: 20,
};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Makes all switches. `false` if one of them is missing or not whole; it was said which.
pub fn all(file: &SwitchFile) -> bool {
    let default = made(DEFAULT_SWITCH, default_switch());
    let others = file
        .switches
        .iter()
        .map(|switch| made(&switch.name, named(switch)));
    // All are tried.
    others.fold(default, |all, one| all && one)
}

fn made(name: &str, result: io::Result<()>) -> bool {
    match &result {
        Ok(()) => report!("switch {name} is up"),
        Err(error) => report!("switch {name}: {error}"),
    }
    result.is_ok()
}

fn default_switch() -> io::Result<()> {
    let bridge = bridge(DEFAULT_SWITCH)?;
    address::add(bridge, DEFAULT_NETWORK)?;
    // Rules first: nothing is forwarded that they would have dropped.
    nat::masquerade(bridge, DEFAULT_NETWORK)?;
    std::fs::write(FORWARDING, "1")
}

fn named(switch: &Switch) -> io::Result<()> {
    let bridge = bridge(&switch.name)?;
    if let Some(network) = switch.address {
        address::add(bridge, network)?;
    }
    if let (Kind::External, Some(adapter)) = (switch.kind, &switch.adapter) {
        link::plug_in(link::index(adapter)?, bridge, &switch.name)?;
    }
    Ok(())
}

fn bridge(switch: &str) -> io::Result<u32> {
    let name = bridge_name(switch);
    link::make_bridge(&name, switch)?;
    // Without an IPv6 address of its own, the control domain is no part of what guests share there.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    let index = link::index(&name)?;
    link::bring_up(index)?;
    Ok(index)
}
