//! One connection.
//!
//! Each packet is a pipe header and up to 16 KiB; one without bytes is the end of its direction.

use crate::inbox::Inbox;
use crate::service::Service;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use uuid::Uuid;
use vmbus::{
    Channel, Device, Doorbell, Offer, Outgoing, PIPE_DATA, PipeHeader, Refused, RingError,
};
use zerocopy::IntoBytes;

/// Most bytes that a packet of the guest carries.
const MOST_BYTES: usize = 16 << 10;
/// Bytes that we put into a packet: with its header a page, which fits every guest's ring several times.
const PACKET_BYTES: usize = 4096 - size_of::<PipeHeader>();
/// When a program that does not read is looked at again.
const RETRY_NS: u64 = 5_000_000;

/// How far a connection is. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<AtomicU8>);

const OFFERED: u8 = 0;
const OPEN: u8 = 1;
const ENDED: u8 = 2;

impl Life {
    /// Has the guest taken it?
    pub fn was_opened(&self) -> bool {
        self.0.load(SeqCst) != OFFERED
    }

    /// Is it over? Its device can be taken off the bus.
    pub fn has_ended(&self) -> bool {
        self.0.load(SeqCst) == ENDED
    }
}

/// The device.
pub struct Connection {
    stream: UnixStream,
    offer: Offer,
    life: Life,
    doorbell: Doorbell,
    inbox: Inbox,
    /// What the guest has sent and the program has not taken; first of all, what it is told at the start.
    outbox: Vec<u8>,
    /// The guest sends nothing more.
    guest_ended: bool,
    /// The guest knows that the program sends nothing more.
    host_ended: bool,
    /// The program takes nothing more.
    deaf: bool,
    retry_ns: Option<u64>,
}

impl Connection {
    /// A connection that the guest asked for: its own end, and the service that the stream leads to.
    pub fn from_guest(stream: UnixStream, endpoint: Uuid, service: Service) -> Self {
        let name = format!("socket to host {service}");
        let offer = Offer::socket(&name, service.0, endpoint, false);
        Self::new(stream, offer, Vec::new())
    }

    /// A connection to a service of the guest; `endpoint` is our end, which no other connection has. The program
    /// reads `greeting` first, once the guest has taken the connection.
    pub fn to_guest(stream: UnixStream, endpoint: Uuid, service: Service, greeting: &str) -> Self {
        let name = format!("socket to guest {service}");
        let offer = Offer::socket(&name, service.0, endpoint, true);
        Self::new(stream, offer, greeting.into())
    }

    fn new(stream: UnixStream, offer: Offer, outbox: Vec<u8>) -> Self {
        Self {
            stream,
            offer,
            life: Life::default(),
            doorbell: Doorbell::default(),
            inbox: Inbox::default(),
            outbox,
            guest_ended: false,
            host_ended: false,
            deaf: false,
            retry_ns: None,
        }
    }

    /// How far it is.
    pub fn life(&self) -> Life {
        self.life.clone()
    }

    fn end(&self) {
        self.life.0.store(ENDED, SeqCst);
        self.inbox.close();
        // One that is shut down already is what is wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Gives the program what it takes without waiting. `false`: it takes no more now.
    fn flush(&mut self) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while !self.outbox.is_empty() && !self.deaf {
            match send(&self.stream, &self.outbox, flags) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => self.deaf = true,
            }
        }
        self.outbox.clear();
        true
    }

    fn pass_to_host(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        self.retry_ns = None;
        loop {
            if !self.flush() {
                self.retry_ns = Some(channel.now_ns().saturating_add(RETRY_NS));
                return Ok(());
            }
            let Some(packet) = channel.receive()? else {
                return Ok(());
            };
            let data = PipeHeader::data_of(&packet.data).ok_or(SHORT)?;
            if packet.data[..4] != PIPE_DATA.to_le_bytes() || data.len() > MOST_BYTES {
                return Err(RingError::Protocol("a packet of a socket that is none"));
            }
            if self.guest_ended {
                return Err(RingError::Protocol("bytes behind the end of a socket"));
            }
            if data.is_empty() {
                self.guest_ended = true;
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            self.outbox.extend_from_slice(data);
        }
    }

    fn pass_to_guest(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while !self.host_ended
            && let Some(bytes) = self.inbox.peek(PACKET_BYTES)
        {
            let header = PipeHeader::of(bytes.len());
            let packet = [header.as_bytes(), &bytes].concat();
            if !channel.send(&Outgoing::in_band(0, &packet))? {
                return Ok(());
            }
            self.inbox.consume(bytes.len());
            self.host_ended = bytes.is_empty();
        }
        Ok(())
    }
}

const SHORT: RingError = RingError::Protocol("a packet of a socket that is shorter than it says");

impl Device for Connection {
    fn offer(&self) -> Offer {
        self.offer.clone()
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.doorbell = doorbell;
    }

    fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
        if self.life.was_opened() {
            return Err(Refused("a socket is opened once".into()));
        }
        let stream = self.stream.try_clone();
        let filling = stream.and_then(|s| self.inbox.fill_from(s, self.doorbell.clone()));
        filling.map_err(|error| Refused(format!("no thread for it: {error}")))?;
        self.life.0.store(OPEN, SeqCst);
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.flush();
        self.end();
        self.doorbell.ring();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        self.pass_to_host(channel)?;
        self.pass_to_guest(channel)?;
        let guest_done = self.guest_ended && self.outbox.is_empty();
        if self.host_ended && (guest_done || self.deaf) {
            self.end();
        }
        Ok(())
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.retry_ns
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
    }
}
