//! `switches.yaml`: the switches beside the Default Switch, which is always there.
//!
//! ```yaml
//! switches:
//!   - {name: Office, type: external, adapter: enp1s0}
//!   - {name: Lab, type: internal, address: 192.168.7.1/24}
//!   - {name: Quiet, type: private}
//! ```

use netlink::address::Network;
use serde::{Deserialize, Deserializer, de::Error};
use std::path::Path;

/// Where it lies.
const PATH: &str = "/data/switches.yaml";

/// All switches.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SwitchFile {
    /// Those that were named.
    #[serde(default)]
    pub switches: Vec<Switch>,
}

/// A switch.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// What machines call it by.
    pub name: String,
    /// What it connects.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The physical adapter of an external switch.
    pub adapter: Option<String>,
    /// The control domain's address on an internal switch, as `192.168.7.1/24`.
    #[serde(default, deserialize_with = "network")]
    pub address: Option<Network>,
}

/// What a switch connects.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Guests, the control domain and a physical network.
    External,
    /// Guests and the control domain.
    Internal,
    /// Guests alone.
    Private,
}

impl SwitchFile {
    /// Reads the file; without one, there are no further switches.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub fn read() -> Result<Self, String> {
        let path = Path::new(PATH);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).map_err(|e| format!("{PATH}: {e}"))?;
        Self::parse(&text).map_err(|e| format!("{PATH}: {e}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        for (number, switch) in file.switches.iter().enumerate() {
            switch.check()?;
            let before = &file.switches[..number];
            let name = &switch.name;
            if *name == netlink::DEFAULT_SWITCH || before.iter().any(|other| other.name == *name) {
                return Err(format!("two switches have the name {name}"));
            }
            if let Some(adapter) = &switch.adapter
                && before
                    .iter()
                    .any(|other| other.adapter.as_ref() == Some(adapter))
            {
                return Err(format!("adapter {adapter} belongs to two switches"));
            }
        }
        Ok(file)
    }

    /// Whether an adapter of the control domain belongs to an external switch.
    pub fn has_adapter(&self, name: &str) -> bool {
        self.switches
            .iter()
            .any(|switch| switch.adapter.as_deref() == Some(name))
    }
}

impl Switch {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        match (self.kind, &self.adapter, &self.address) {
            _ if name.is_empty() => Err("a switch has no name".into()),
            (Kind::External, None, _) => {
                Err(format!("{name}: an external switch needs an adapter"))
            }
            (Kind::Internal | Kind::Private, Some(_), _) => {
                Err(format!("{name}: only an external switch has an adapter"))
            }
            (Kind::External | Kind::Private, _, Some(_)) => {
                Err(format!("{name}: only an internal switch has an address"))
            }
            _ => Ok(()),
        }
    }
}

fn network<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Network>, D::Error> {
    let text = String::deserialize(from)?;
    let found = text.split_once('/').and_then(|(address, prefix)| {
        let (address, prefix) = (address.parse().ok()?, prefix.parse().ok()?);
        (1..=30)
            .contains(&prefix)
            .then_some(Network { address, prefix })
    });
    let wrong = || D::Error::custom(format!("{text}: give an address as 192.168.7.1/24"));
    found.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "switches:\n  - {name: Office, type: external, adapter: eth1}\n  \
        - {name: Lab, type: internal, address: 192.168.7.1/24}\n  - {name: Quiet, type: private}\n";

    #[test]
    fn all_types_are_read() {
        let file = SwitchFile::parse(GOOD).unwrap();
        assert_eq!(file.switches.len(), 3);
        assert_eq!(
            file.switches[1].address.unwrap().mask().to_string(),
            "255.255.255.0"
        );
        assert!(file.has_adapter("eth1") && !file.has_adapter("eth0"));
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, part) in [
            (", adapter: eth1", "", "Office: an external switch needs"),
            (
                "private",
                "private, adapter: eth1",
                "Quiet: only an external",
            ),
            (
                "private",
                "private, address: 10.0.0.1/8",
                "Quiet: only an internal",
            ),
            ("Quiet", "Lab", "two switches have the name Lab"),
            ("Quiet", "Default Switch", "two switches"),
            ("/24", "/33", "192.168.7.1/33"),
            ("private", "nat", "nat"),
        ] {
            let error = SwitchFile::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
