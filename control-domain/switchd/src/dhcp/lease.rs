//! Who has which address, as a value.

use super::message::Mac;
use netlink::address::Network;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Who has an address, and until when in seconds of the caller's clock.
#[derive(Clone, Copy, Debug)]
struct Lease {
    mac: Mac,
    ends: u64,
}

/// The addresses of a network but its first (the network), its second (the switch) and its last (broadcast).
#[derive(Clone, Debug)]
pub struct Leases {
    first: u32,
    count: u32,
    given: BTreeMap<Ipv4Addr, Lease>,
}

impl Leases {
    /// All addresses are free.
    pub fn new(network: Network) -> Self {
        let all = u32::MAX
            .wrapping_sub(network.mask().to_bits())
            .wrapping_add(1);
        Self {
            first: network.start().to_bits() + 2,
            count: all.saturating_sub(3),
            given: BTreeMap::new(),
        }
    }

    /// The address for a card: the one it has, the one it wants, or one that follows from its MAC, so that
    /// it is the same after a restart. None if all are taken.
    pub fn find(&self, mac: Mac, wanted: Option<Ipv4Addr>, now: u64) -> Option<Ipv4Addr> {
        let has = self.given.iter().find(|(_, lease)| lease.mac == mac);
        if let Some((address, _)) = has {
            return Some(*address);
        }
        if let Some(wanted) = wanted.filter(|wanted| self.is_free(*wanted, mac, now)) {
            return Some(wanted);
        }
        let start = mac.iter().fold(0u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add((*byte).into())
        });
        (0..self.count)
            .map(|step| self.first + start.wrapping_add(step) % self.count)
            .map(Ipv4Addr::from_bits)
            .find(|address| self.is_free(*address, mac, now))
    }

    /// Gives an address. `false` if somebody else has it, or it is not ours to give.
    pub fn give(&mut self, mac: Mac, address: Ipv4Addr, ends: u64, now: u64) -> bool {
        let free = self.is_free(address, mac, now);
        if free {
            self.take_back(mac);
            self.given.insert(address, Lease { mac, ends });
        }
        free
    }

    /// A card needs its address no more.
    pub fn take_back(&mut self, mac: Mac) {
        self.given.retain(|_, lease| lease.mac != mac);
    }

    fn is_free(&self, address: Ipv4Addr, mac: Mac, now: u64) -> bool {
        let within = address
            .to_bits()
            .checked_sub(self.first)
            .is_some_and(|at| at < self.count);
        let lease = self.given.get(&address);
        within && lease.is_none_or(|lease| lease.mac == mac || lease.ends <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Network = Network {
        address: Ipv4Addr::new(10, 0, 0, 1),
        prefix: 29,
    };

    fn mac(last: u8) -> Mac {
        [0, 0x15, 0x5d, 0, 0, last]
    }

    #[test]
    fn each_card_keeps_its_address_and_the_last_one_gets_none() {
        let mut leases = Leases::new(SMALL);
        let mut seen = Vec::new();
        for last in 0..5 {
            let address = leases.find(mac(last), None, 0).expect("one is free");
            assert!(leases.give(mac(last), address, 100, 0));
            assert!((2..=6).contains(&address.octets()[3]) && !seen.contains(&address));
            assert_eq!(leases.find(mac(last), None, 0), Some(address));
            seen.push(address);
        }
        assert_eq!(leases.find(mac(9), None, 99), None);
        assert!(!leases.give(mac(9), seen[0], 200, 99));
        // After its end, it is another's.
        assert!(leases.find(mac(9), None, 100).is_some());
        assert!(leases.give(mac(9), seen[0], 200, 100));
        leases.take_back(mac(1));
        assert_eq!(leases.find(mac(7), Some(seen[1]), 99), Some(seen[1]));
    }

    #[test]
    fn addresses_of_others_are_not_given() {
        let mut leases = Leases::new(SMALL);
        for address in [
            [10, 0, 0, 0],
            [10, 0, 0, 1],
            [10, 0, 0, 7],
            [10, 0, 1, 2],
            [0; 4],
        ] {
            assert!(!leases.give(mac(1), address.into(), 1, 0), "{address:?}");
        }
        let before = Leases::new(SMALL).find(mac(3), None, 0);
        assert_eq!(
            Leases::new(SMALL).find(mac(3), Some(Ipv4Addr::UNSPECIFIED), 0),
            before
        );
    }
}
