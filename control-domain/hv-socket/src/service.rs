//! What is connected to.

use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The GUIDs that stand for ports, with a port of 0. Source: Linux `net/vmw_vsock/hyperv_transport.c`.
const TEMPLATE: u128 = 0x00000000_facb_11e6_bd58_64006a7986d3;
/// Where a port is.
const PORT_SHIFT: u32 = 96;

/// A service: what one side listens for, and the other connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service(pub Uuid);

impl Service {
    /// The service of a port.
    pub fn of_port(port: u32) -> Self {
        Self(Uuid::from_u128(TEMPLATE | u128::from(port) << PORT_SHIFT))
    }

    /// The port that it stands for, if it does.
    pub fn port(self) -> Option<u32> {
        let port = (self.0.as_u128() >> PORT_SHIFT) as u32;
        (Self::of_port(port) == self).then_some(port)
    }
}

/// As it is typed, and as its Unix socket is called: the port, or the GUID.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port() {
            Some(port) => write!(f, "{port}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.parse().map(Self::of_port);
        port.or_else(|_| text.parse().map(Self))
            .map_err(|_| format!("{text:?} is neither a port nor a GUID"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_guids_and_guids_are_services() {
        let service = Service::of_port(5000);
        let guid = "00001388-facb-11e6-bd58-64006a7986d3";
        assert_eq!(service.0.to_string(), guid);
        assert_eq!(guid.parse(), Ok(service));
        assert_eq!(
            (service.to_string(), service.port()),
            ("5000".into(), Some(5000))
        );
        let other: Result<Service, _> = "00001388-facb-11e6-bd58-64006a7986d4".parse();
        assert_eq!(other.map(Service::port), Ok(None));
        for text in ["", "-1", "4294967296", "../x"] {
            assert!(text.parse::<Service>().is_err(), "{text}");
        }
    }
}
