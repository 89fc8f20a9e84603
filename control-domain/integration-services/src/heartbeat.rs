//! Heartbeat: a number every two seconds, which the guest counts up.

use crate::session::{Response, Session};
use crate::wire::{self, Version, kind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;
use vmbus::{Channel, Device, Offer, Refused, RingError};
use zerocopy::{FromBytes, IntoBytes};

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0x57164f39_9115_4e78_ab55_382f3bd5422d);
const INSTANCE: Uuid = Uuid::from_u128(0xfd149e91_82e0_4a7d_afa6_2a4166cbd7c0);
const VERSIONS: [Version; 2] = [Version::new(1, 0), Version::new(3, 0)];
const INTERVAL_NS: u64 = 2_000_000_000;
/// Without an answer for so long, the guest is not well.
const PATIENCE_NS: u64 = 5 * INTERVAL_NS;

/// How the guest is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No driver has connected.
    #[default]
    NoContact,
    /// It answers.
    Alive,
    /// It has answered before, and does not any more.
    Lost,
}

/// What is told of a change.
type Listener = Arc<dyn Fn(Health) + Send + Sync>;

/// What the vmm looks at.
#[derive(Clone, Default)]
pub struct Status {
    now: Arc<Mutex<Health>>,
    listener: Option<Listener>,
}

impl Status {
    /// A status that tells each change.
    pub fn telling(listener: impl Fn(Health) + Send + Sync + 'static) -> Self {
        Self {
            now: Arc::default(),
            listener: Some(Arc::new(listener)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the guest is.
    pub fn health(&self) -> Health {
        *self.lock()
    }

    fn set(&self, health: Health) -> bool {
        let changed = std::mem::replace(&mut *self.lock(), health) != health;
        if let Some(listener) = self.listener.as_ref().filter(|_| changed) {
            listener(health);
        }
        changed
    }
}

/// The device.
pub struct Heartbeat {
    session: Session,
    status: Status,
    sequence: u64,
    next_ns: u64,
    /// When the guest answered, or when it was first asked.
    heard_ns: u64,
}

impl Heartbeat {
    /// The device, which keeps the status up to date.
    pub fn new(status: Status) -> Self {
        status.set(Health::NoContact);
        Self {
            session: Session::new(kind::HEARTBEAT, &VERSIONS),
            status,
            sequence: 0,
            next_ns: 0,
            heard_ns: 0,
        }
    }

    fn answered(&mut self, response: &Response, channel: &Channel<'_>) {
        let Ok((beat, _)) = wire::Heartbeat::read_from_prefix(&response.body) else {
            return;
        };
        if beat.sequence.get() == self.sequence.wrapping_add(1) {
            self.sequence = self.sequence.wrapping_add(1);
            self.heard_ns = channel.now_ns();
            if self.status.set(Health::Alive) {
                channel.report("heartbeat: the guest is alive");
            }
        }
    }
}

impl Device for Heartbeat {
    fn offer(&self) -> Offer {
        Offer::message_pipe("heartbeat", INTERFACE, INSTANCE)
    }

    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        self.session.reset();
        self.heard_ns = channel.now_ns();
        self.next_ns = channel.now_ns();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.session.reset();
        self.status.set(Health::NoContact);
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while let Some(response) = self.session.receive(channel)? {
            self.answered(&response, channel);
        }
        let now = channel.now_ns();
        if now < self.next_ns {
            return Ok(());
        }
        self.next_ns = now + INTERVAL_NS;
        let silent = self.session.version().is_some() && now > self.heard_ns + PATIENCE_NS;
        if silent && self.status.set(Health::Lost) {
            channel.report("heartbeat: the guest does not answer");
        }
        let beat = wire::Heartbeat {
            sequence: self.sequence.into(),
            applications: 0.into(),
            reserved: Default::default(),
        };
        self.session.request(channel, beat.as_bytes()).map(drop)
    }

    fn deadline_ns(&self) -> Option<u64> {
        Some(self.next_ns)
    }
}
