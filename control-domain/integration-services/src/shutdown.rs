//! Shutdown: the guest is asked to end in good order.

use crate::session::Session;
use crate::wire::{self, Version, kind};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;
use vmbus::{Channel, Device, Doorbell, Offer, Refused, RingError};
use zerocopy::IntoBytes;

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0x0e0b6031_5213_4934_818b_38d90ced39db);
const INSTANCE: Uuid = Uuid::from_u128(0xb6650ff7_33bc_4840_8048_e0676786f393);
/// 3.0 and 3.1 only add restart and hibernation, which are asked for by flags.
const VERSIONS: [Version; 4] = [
    Version::new(1, 0),
    Version::new(3, 0),
    Version::new(3, 1),
    Version::new(3, 2),
];
/// Planned, as Windows counts reasons.
const REASON: u32 = 0x8000_0000;
/// Programs are not asked.
const FORCE: u32 = 1;
const TEXT_BYTES: usize = 2048;
/// Time that programs get, for guests that count it.
const TIMEOUT_SECONDS: u32 = 60;

/// The vmm's end: how a shutdown is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    ready: bool,
    wanted: bool,
    doorbell: Option<Doorbell>,
}

impl Request {
    /// Asks the guest to power off. `false`: it has no driver for that, ask in another way.
    pub fn power_off(&self) -> bool {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.wanted |= shared.ready;
        if let Some(bell) = &shared.doorbell {
            bell.ring();
        }
        shared.ready
    }
}

/// The device.
#[derive(Debug)]
pub struct Shutdown {
    session: Session,
    request: Request,
}

impl Shutdown {
    /// The device, which does what is requested. The request's device before it, of a machine that
    /// was reset, has no say any more.
    pub fn new(request: Request) -> Self {
        let mut device = Self {
            session: Session::new(kind::SHUTDOWN, &VERSIONS),
            request,
        };
        device.reset();
        device
    }

    fn with_shared<R>(&self, f: impl FnOnce(&mut Shared) -> R) -> R {
        f(&mut self
            .request
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    fn reset(&mut self) {
        self.session.reset();
        self.with_shared(|shared| (shared.ready, shared.wanted) = (false, false));
    }
}

impl Device for Shutdown {
    fn offer(&self) -> Offer {
        Offer::message_pipe("shutdown", INTERFACE, INSTANCE)
    }

    fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.with_shared(|shared| shared.doorbell = Some(doorbell));
    }

    fn open(&mut self, _: &mut Channel<'_>) -> Result<(), Refused> {
        self.reset();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.reset();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while let Some(response) = self.session.receive(channel)? {
            match response.status {
                0 => channel.report("shutdown: the guest powers off"),
                status => channel.report(&format!("shutdown: the guest refuses, {status:#x}")),
            }
        }
        let ready = self.session.version().is_some();
        let wanted = self.with_shared(|shared| {
            shared.ready = ready;
            shared.wanted
        });
        if !wanted || !self.session.is_idle() {
            return Ok(());
        }
        let message = wire::Shutdown {
            reason: REASON.into(),
            timeout_seconds: TIMEOUT_SECONDS.into(),
            flags: FORCE.into(),
        };
        let mut body = message.as_bytes().to_vec();
        body.resize(body.len() + TEXT_BYTES, 0);
        if self.session.request(channel, &body)? {
            self.with_shared(|shared| shared.wanted = false);
        }
        Ok(())
    }
}
