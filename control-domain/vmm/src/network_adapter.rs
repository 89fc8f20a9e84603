//! A machine's network adapters: those on VMBus, and what they share with the legacy ones.

use crate::machine_file::NetworkAdapterEntry;
use netlink::{DEFAULT_SWITCH, bridge_name, link};
use netvsp::{Config, MacAddress, NetworkDevice, Nic};
use tap::{Port, Tap, TapNetwork};
use uuid::Uuid;
use vmbus::Device;

/// As many as Hyper-V allows.
pub const MOST_ADAPTERS: usize = 8;
/// As many of them as Hyper-V allows to be legacy ones.
pub const MOST_LEGACY_ADAPTERS: usize = 4;
/// Bytes of a frame behind its Ethernet header.
const MTU: u32 = 1500;
/// What guests show; a switch in memory has no speed of its own. 10 Gbit/s, as Hyper-V says.
const LINK_SPEED: u64 = 10_000_000_000;
/// The most bytes of a large send: a frame of 64 KiB with its headers and room for a tag.
const LARGE_SEND: u32 = 62780;
/// Linux takes no more.
const MOST_CHANNELS: usize = 64;
/// Addresses of Hyper-V's adapters begin with these bytes, which are Microsoft's.
const MAC_PREFIX: [u8; 3] = [0x00, 0x15, 0x5d];

/// A network adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAdapter {
    /// Its address.
    pub mac: MacAddress,
    /// Whether it is a card on PCI.
    pub legacy: bool,
    /// Its identity on the bus.
    instance: Uuid,
    switch: String,
    vlan: Option<u16>,
}

impl NetworkAdapter {
    /// The adapter in a slot of a machine.
    ///
    /// # Errors
    /// What is out of range.
    pub fn new(machine: Uuid, slot: usize, entry: &NetworkAdapterEntry) -> Result<Self, String> {
        let instance = Uuid::new_v5(&machine, format!("network adapter {slot}").as_bytes());
        let mac = match &entry.mac {
            Some(text) => mac(text).ok_or_else(|| {
                format!("network adapter {slot}: MAC {text}: give one as 00-15-5D-01-02-03")
            })?,
            None => {
                let [a, b, c] = MAC_PREFIX;
                let [.., d, e, f] = instance.into_bytes();
                MacAddress([a, b, c, d, e, f])
            }
        };
        if entry.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return Err(format!("network adapter {slot}: vlan is 1 to 4094"));
        }
        let switch = entry.switch.clone();
        Ok(Self {
            mac,
            legacy: entry.legacy,
            instance,
            switch: switch.unwrap_or_else(|| DEFAULT_SWITCH.to_owned()),
            vlan: entry.vlan,
        })
    }

    /// The network behind the adapter: its switch. Answers whether the cable is plugged in; without the switch
    /// the machine runs, as on Hyper-V, with the cable unplugged.
    ///
    /// # Errors
    /// That the kernel has no tap devices.
    pub fn plug_in(&self, machine: &str) -> Result<(TapNetwork, bool), String> {
        let tap = Tap::open("guest%d").map_err(|error| format!("network adapter: {error}"))?;
        let plugged = link::index(&bridge_name(&self.switch))
            .and_then(|bridge| link::plug_in(link::index(tap.name())?, bridge, machine));
        match &plugged {
            Ok(()) => eprintln!("entente-vmm: {} at switch {}", tap.name(), self.switch),
            Err(error) => eprintln!(
                "entente-vmm: {}: no switch {} ({error}); its cable is unplugged",
                tap.name(),
                self.switch
            ),
        }
        let port = Port { vlan: self.vlan };
        Ok((TapNetwork::new(tap, port), plugged.is_ok()))
    }

    /// The adapter on VMBus. Frames for the guest are spread over its processors.
    ///
    /// # Errors
    /// As [`NetworkAdapter::plug_in`].
    pub fn device(&self, machine: &str, processors: usize) -> Result<Box<dyn Device>, String> {
        let (network, plugged) = self.plug_in(machine)?;
        let config = Config {
            mac: self.mac,
            mtu: MTU,
            link_speed: LINK_SPEED,
            name: "Network Adapter".into(),
            checksums: true,
            large_send: LARGE_SEND,
            channels: processors.min(MOST_CHANNELS) as u16,
        };
        Ok(Box::new(NetworkDevice::new(
            self.instance,
            Nic::new(config, plugged),
            network,
        )))
    }
}

/// An address of a card, not of a group: six bytes with `-` or `:` between them, or without.
fn mac(text: &str) -> Option<MacAddress> {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let right = digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let value = u64::from_str_radix(&digits, 16).ok().filter(|_| right)?;
    let [_, _, bytes @ ..] = value.to_be_bytes();
    (bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(MacAddress(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MACHINE: Uuid = Uuid::from_bytes([7; 16]);

    #[test]
    fn addresses_stay_with_the_machine_and_are_hyper_vs() {
        let adapter = |slot| NetworkAdapter::new(MACHINE, slot, &NetworkAdapterEntry::default());
        let (first, second) = (adapter(0).unwrap(), adapter(1).unwrap());
        assert_eq!(first, adapter(0).unwrap());
        assert_eq!(first.mac.0[..3], MAC_PREFIX);
        assert_ne!((first.mac, first.instance), (second.mac, second.instance));
        assert_eq!(first.switch, "Default Switch");
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let right = Some(MacAddress([0, 0x15, 0x5d, 0xa, 0xb, 0xc]));
        for text in ["00-15-5D-0A-0B-0C", "00:15:5d:0a:0b:0c", "00155D0A0B0C"] {
            assert_eq!(mac(text), right, "{text}");
        }
        for text in [
            "",
            "00-15-5D-0A-0B",
            "01-00-5E-00-00-01",
            "00-00-00-00-00-00",
            "+0155D0A0B0C",
        ] {
            assert_eq!(mac(text), None, "{text}");
        }
    }
}
