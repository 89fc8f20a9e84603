//! The threads: addresses and names for guests, and the control domain's own address.

use crate::create::DEFAULT_NETWORK;
use crate::dhcp::server;
use crate::dns::{self, NameServers};
use crate::report;
use crate::switch_file::{Kind, SwitchFile};
use crate::uplink;
use netlink::{DEFAULT_SWITCH, bridge_name};
use std::process::ExitCode;
use std::thread::scope;

/// Serves until it is ended.
pub fn all(file: &SwitchFile) -> ExitCode {
    let names = NameServers::default();
    let bridge = bridge_name(DEFAULT_SWITCH);
    scope(|threads| {
        for adapter in uplinks(file) {
            let names = &names;
            threads.spawn(move || uplink::keep(&adapter, names));
        }
        threads.spawn(|| ended("DNS", dns::serve(DEFAULT_NETWORK.address, &names)));
        ended("DHCP", server::serve(&bridge, DEFAULT_NETWORK));
    });
    ExitCode::FAILURE
}

fn ended(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        report!("{what}: {error}");
    }
}

/// Where the control domain wants an address: its physical adapters, and in the place of those that belong
/// to external switches the switches themselves.
fn uplinks(file: &SwitchFile) -> Vec<String> {
    let adapters = std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let physical = adapters
        .filter(|entry| entry.path().join("device").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !file.has_adapter(name));
    let external = file
        .switches
        .iter()
        .filter(|switch| switch.kind == Kind::External);
    physical
        .chain(external.map(|switch| bridge_name(&switch.name)))
        .collect()
}
