//! What all services have in common: the host says which versions it knows, the guest picks, and from
//! then on the host makes one request at a time.

use crate::wire::{self, Header, Negotiate, PipeHeader, Version, kind};
use vmbus::{Channel, Outgoing, RingError};
use zerocopy::{FromBytes, IntoBytes};

/// Versions of the framework, oldest first.
const FRAMEWORKS: [Version; 2] = [Version::new(1, 0), Version::new(3, 0)];

/// One open channel of a service.
#[derive(Debug)]
pub struct Session {
    kind: u16,
    versions: &'static [Version],
    state: State,
    transaction: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Closed, or open and silent.
    New,
    Negotiating,
    Ready {
        framework: Version,
        version: Version,
        waits: bool,
    },
    /// The guest knows none of our versions.
    Refused,
}

/// The guest's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// An HRESULT: 0 is success.
    pub status: u32,
    /// The message, as the guest changed it.
    pub body: Vec<u8>,
}

impl Session {
    /// A service, and the versions of it that we speak, oldest first.
    pub fn new(kind: u16, versions: &'static [Version]) -> Self {
        Self {
            kind,
            versions,
            state: State::New,
            transaction: 0,
        }
    }

    /// The channel was opened or closed: all begins anew.
    pub fn reset(&mut self) {
        self.state = State::New;
    }

    /// The version agreed upon, once there is one.
    pub fn version(&self) -> Option<Version> {
        match self.state {
            State::Ready { version, .. } => Some(version),
            _ => None,
        }
    }

    /// May a request be made now?
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Ready { waits: false, .. })
    }

    /// Negotiates if that is due; then takes the guest's next answer.
    pub fn receive(&mut self, channel: &mut Channel<'_>) -> Result<Option<Response>, RingError> {
        if self.state == State::New && self.negotiate(channel)? {
            self.state = State::Negotiating;
        }
        while let Some(packet) = channel.receive()? {
            let bytes = packet.data.as_slice();
            let (pipe, rest) = PipeHeader::read_from_prefix(bytes).map_err(|_| SHORT)?;
            let length = pipe.length.get() as usize;
            let message = rest.get(..length).ok_or(SHORT)?;
            let (header, rest) = Header::read_from_prefix(message).map_err(|_| SHORT)?;
            let body = rest.get(..header.length.get().into()).ok_or(SHORT)?;
            if header.flags & wire::RESPONSE == 0 {
                continue;
            }
            if header.kind.get() == kind::NEGOTIATE {
                self.negotiated(body)?;
                continue;
            }
            if let State::Ready { waits, .. } = &mut self.state
                && header.transaction == self.transaction
                && std::mem::take(waits)
            {
                return Ok(Some(Response {
                    status: header.status.get(),
                    body: body.to_vec(),
                }));
            }
        }
        Ok(None)
    }

    fn negotiate(&mut self, channel: &mut Channel<'_>) -> Result<bool, RingError> {
        let counts = Negotiate {
            framework_count: (FRAMEWORKS.len() as u16).into(),
            version_count: (self.versions.len() as u16).into(),
            reserved: 0.into(),
        };
        let mut body = counts.as_bytes().to_vec();
        body.extend_from_slice(FRAMEWORKS.as_bytes());
        body.extend_from_slice(self.versions.as_bytes());
        let first = FRAMEWORKS[0];
        self.send(channel, kind::NEGOTIATE, [first, first], &body)
    }

    fn negotiated(&mut self, body: &[u8]) -> Result<(), RingError> {
        if self.state != State::Negotiating {
            return Ok(());
        }
        let (counts, rest) = Negotiate::read_from_prefix(body).map_err(|_| SHORT)?;
        if counts.framework_count != 1 || counts.version_count != 1 {
            self.state = State::Refused;
            return Ok(());
        }
        let ([framework, version], _) =
            <[Version; 2]>::read_from_prefix(rest).map_err(|_| SHORT)?;
        if !FRAMEWORKS.contains(&framework) || !self.versions.contains(&version) {
            return Err(RingError::Protocol("a version that was not offered"));
        }
        self.state = State::Ready {
            framework,
            version,
            waits: false,
        };
        Ok(())
    }

    /// Makes a request. `false`: not now, there is another or no room.
    pub fn request(&mut self, channel: &mut Channel<'_>, body: &[u8]) -> Result<bool, RingError> {
        let State::Ready {
            framework,
            version,
            waits: false,
        } = self.state
        else {
            return Ok(false);
        };
        self.transaction = self.transaction.wrapping_add(1);
        let sent = self.send(channel, self.kind, [framework, version], body)?;
        self.state = State::Ready {
            framework,
            version,
            waits: sent,
        };
        Ok(sent)
    }

    fn send(
        &self,
        channel: &mut Channel<'_>,
        kind: u16,
        [framework, version]: [Version; 2],
        body: &[u8],
    ) -> Result<bool, RingError> {
        let header = Header {
            framework,
            kind: kind.into(),
            version,
            length: (body.len() as u16).into(),
            status: 0.into(),
            transaction: self.transaction,
            flags: wire::REQUEST,
            reserved: [0; 2],
        };
        let pipe = PipeHeader {
            kind: wire::PIPE_DATA.into(),
            length: ((size_of::<Header>() + body.len()) as u32).into(),
        };
        let packet = [pipe.as_bytes(), header.as_bytes(), body].concat();
        channel.send(&Outgoing::in_band(0, &packet))
    }
}

const SHORT: RingError = RingError::Protocol("a message that is shorter than it says");
