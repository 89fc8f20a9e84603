//! A message as it lies in a datagram. Source: RFC 2131 §2, RFC 2132.
//!
//! Read at the time of writing and not taken: `dhcproto`, for the forty crates that it brings along;
//! `edge-dhcp`, which has the broadcast flag in the wrong byte.

use std::net::Ipv4Addr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// DISCOVER: who has an address for me?
pub const DISCOVER: u8 = 1;
/// OFFER
pub const OFFER: u8 = 2;
/// REQUEST: I take it.
pub const REQUEST: u8 = 3;
/// DECLINE: somebody has it.
pub const DECLINE: u8 = 4;
/// ACK
pub const ACK: u8 = 5;
/// NAK
pub const NAK: u8 = 6;
/// RELEASE: I need it no more.
pub const RELEASE: u8 = 7;
/// INFORM: I have an address, tell me the rest.
pub const INFORM: u8 = 8;

const OPTIONS: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVERS: u8 = 6;
const WANTED_ADDRESS: u8 = 50;
const LEASE_SECONDS: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED_OPTIONS: u8 = 55;
const END: u8 = 255;
/// Some clients take none that is shorter.
const LEAST: usize = 300;

/// What of a message matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// From a server.
    pub reply: bool,
    /// The client's number for the exchange.
    pub id: [u8; 4],
    /// Whether the client can't receive anything but broadcasts yet.
    pub broadcast: bool,
    /// The address that the client has and uses.
    pub client: Ipv4Addr,
    /// The address that it is given.
    pub yours: Ipv4Addr,
    /// Who it is.
    pub mac: Mac,
    /// [`DISCOVER`] …
    pub kind: u8,
    /// The network's mask.
    pub mask: Option<Ipv4Addr>,
    /// The way out.
    pub router: Option<Ipv4Addr>,
    /// Who knows names.
    pub name_servers: Vec<Ipv4Addr>,
    /// The address that the client would like.
    pub wanted: Option<Ipv4Addr>,
    /// How long it may keep it.
    pub lease_seconds: Option<u32>,
    /// The server's address.
    pub server: Option<Ipv4Addr>,
}

impl Message {
    /// A message with nothing in it.
    pub fn new(kind: u8, id: [u8; 4], mac: Mac) -> Self {
        Self {
            reply: false,
            id,
            broadcast: false,
            client: Ipv4Addr::UNSPECIFIED,
            yours: Ipv4Addr::UNSPECIFIED,
            mac,
            kind,
            mask: None,
            router: None,
            name_servers: Vec::new(),
            wanted: None,
            lease_seconds: None,
            server: None,
        }
    }

    /// Reads a datagram; none if it is none of DHCP's, over Ethernet.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; OPTIONS] = bytes.first_chunk()?;
        let right = matches!(fixed[..3], [1 | 2, 1, 6]) && fixed[236..] == COOKIE;
        let at = |start: usize| -> Option<[u8; 4]> { fixed.get(start..)?.first_chunk().copied() };
        let mac = *fixed.get(28..)?.first_chunk()?;
        let mut message = Self::new(0, at(4)?, mac);
        message.reply = fixed[0] == 2;
        message.broadcast = fixed[10] & 0x80 != 0;
        message.client = at(12)?.into();
        message.yours = at(16)?.into();
        let mut rest = &bytes[OPTIONS..];
        while let [code, after @ ..] = rest {
            match *code {
                PAD => rest = after,
                END => break,
                code => {
                    let (length, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked((*length).into())?;
                    message.take(code, value);
                    rest = after;
                }
            }
        }
        (right && message.kind != 0).then_some(message)
    }

    fn take(&mut self, code: u8, value: &[u8]) {
        let address = value.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
        match code {
            KIND => self.kind = value.first().copied().unwrap_or(0),
            MASK => self.mask = address,
            ROUTER => self.router = address,
            NAME_SERVERS => {
                self.name_servers = value
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| (*b).into())
                    .collect();
            }
            WANTED_ADDRESS => self.wanted = address,
            LEASE_SECONDS => self.lease_seconds = address.map(Ipv4Addr::to_bits),
            SERVER => self.server = address,
            _ => {}
        }
    }

    /// The datagram.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS];
        bytes[..3].copy_from_slice(&[if self.reply { 2 } else { 1 }, 1, 6]);
        bytes[4..8].copy_from_slice(&self.id);
        bytes[10] = if self.broadcast { 0x80 } else { 0 };
        bytes[12..16].copy_from_slice(&self.client.octets());
        bytes[16..20].copy_from_slice(&self.yours.octets());
        bytes[28..34].copy_from_slice(&self.mac);
        bytes[236..].copy_from_slice(&COOKIE);
        let mut put = |code: u8, value: &[u8]| {
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        };
        put(KIND, &[self.kind]);
        for (code, address) in [
            (SERVER, self.server),
            (MASK, self.mask),
            (ROUTER, self.router),
            (WANTED_ADDRESS, self.wanted),
            (LEASE_SECONDS, self.lease_seconds.map(Ipv4Addr::from_bits)),
        ] {
            if let Some(address) = address {
                put(code, &address.octets());
            }
        }
        if !self.name_servers.is_empty() {
            let octets: Vec<_> = self
                .name_servers
                .iter()
                .take(8)
                .map(Ipv4Addr::octets)
                .collect();
            put(NAME_SERVERS, octets.as_flattened());
        }
        if !self.reply {
            put(WANTED_OPTIONS, &[MASK, ROUTER, NAME_SERVERS, LEASE_SECONDS]);
        }
        bytes.push(END);
        bytes.resize(bytes.len().max(LEAST), PAD);
        bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn offer() -> Message {
        Message {
            reply: true,
            broadcast: true,
            yours: Ipv4Addr::new(172, 30, 1, 2),
            mask: Some(Ipv4Addr::new(255, 255, 240, 0)),
            router: Some(Ipv4Addr::new(172, 30, 0, 1)),
            name_servers: vec![Ipv4Addr::new(172, 30, 0, 1), Ipv4Addr::new(9, 9, 9, 9)],
            lease_seconds: Some(3600),
            server: Some(Ipv4Addr::new(172, 30, 0, 1)),
            ..Message::new(OFFER, [1, 2, 3, 4], [0, 0x15, 0x5d, 1, 2, 3])
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = offer().write();
        assert_eq!(bytes.len(), LEAST);
        // The flag is the highest bit of both bytes (RFC 2131 figure 2).
        assert_eq!(bytes[10..12], [0x80, 0]);
        assert_eq!(Message::read(&bytes), Some(offer()));
    }

    #[test]
    fn a_datagram_that_is_cut_off_or_damaged_is_harmless() {
        let bytes = offer().write();
        for length in 0..OPTIONS + 3 {
            assert_eq!(Message::read(&bytes[..length]), None, "{length}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            // Read or refused; no panic.
            let _ = Message::read(&damaged);
        }
    }
}
