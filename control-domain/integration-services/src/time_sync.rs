//! Time: what the host's clock says, together with the guest's own reference counter.

use crate::session::Session;
use crate::wire::{self, Version, kind};
use uuid::Uuid;
use vmbus::{Channel, Device, Offer, Refused, RingError};
use zerocopy::IntoBytes;

/// The kind of device.
pub const INTERFACE: Uuid = Uuid::from_u128(0x9527e630_d0ae_497b_adce_e80ab0175caf);
const INSTANCE: Uuid = Uuid::from_u128(0x2dd1ce17_079e_403c_b352_a1921ee207ee);
const WITH_REFERENCE: Version = Version::new(4, 0);
const VERSIONS: [Version; 3] = [Version::new(1, 0), Version::new(3, 0), WITH_REFERENCE];
const INTERVAL_NS: u64 = 5_000_000_000;
/// Flag: set the clock to this.
pub const FLAG_SYNC: u8 = 1;
/// Flag: steer the clock by this.
pub const FLAG_SAMPLE: u8 = 2;
/// Better than an unsynchronized clock; the host's own is not asked.
const STRATUM: u8 = 1;
/// From 1601 to 1970 in units of 100 ns.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// The host's clock: nanoseconds since 1970, UTC.
pub type Clock = Box<dyn Fn() -> u64 + Send>;

/// The device.
pub struct TimeSync {
    session: Session,
    clock: Clock,
    set: bool,
    next_ns: u64,
}

impl TimeSync {
    /// The device, with the clock that it tells the guest.
    pub fn new(clock: Clock) -> Self {
        Self {
            session: Session::new(kind::TIME_SYNC, &VERSIONS),
            clock,
            set: false,
            next_ns: 0,
        }
    }
}

impl Device for TimeSync {
    fn offer(&self) -> Offer {
        Offer::message_pipe("time synchronization", INTERFACE, INSTANCE)
    }

    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused> {
        self.session.reset();
        self.set = false;
        self.next_ns = channel.now_ns();
        Ok(())
    }

    fn close(&mut self, _: u16) {
        self.session.reset();
    }

    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError> {
        while self.session.receive(channel)?.is_some() {}
        let now = channel.now_ns();
        let Some(version) = self.session.version() else {
            self.next_ns = now + INTERVAL_NS;
            return Ok(());
        };
        if self.set && now < self.next_ns {
            return Ok(());
        }
        self.next_ns = now + INTERVAL_NS;
        let host_time = (self.clock)() / 100 + UNIX_EPOCH;
        let flags = if self.set { FLAG_SAMPLE } else { FLAG_SYNC };
        let sent = if version == WITH_REFERENCE {
            let message = wire::TimeReference {
                host_time: host_time.into(),
                reference_time: (now / 100).into(),
                flags,
                leap: 0,
                stratum: STRATUM,
                reserved: [0; 3],
            };
            self.session.request(channel, message.as_bytes())?
        } else {
            let message = wire::TimeSample {
                host_time: host_time.into(),
                guest_time: 0.into(),
                round_trip: 0.into(),
                flags,
            };
            self.session.request(channel, message.as_bytes())?
        };
        self.set |= sent;
        Ok(())
    }

    fn deadline_ns(&self) -> Option<u64> {
        Some(self.next_ns)
    }
}
