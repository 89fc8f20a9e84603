//! What a device is, and what it is given to talk to its driver.

use crate::bus::Guest;
use crate::doorbell::Doorbell;
use crate::endpoint::OpenChannel;
use crate::gpadl::GpadlId;
use crate::offer::Offer;
use crate::packet::{Outgoing, Packet};
use crate::paged_range::PagedRange;
use crate::ring::{RingError, Sent};
use crate::version::Version;
use guest_memory::GuestMemory;
use std::sync::Arc;

/// A device behind an offer: a state machine that is called, and never waits for the guest.
///
/// All calls of a device come one after the other, but from different threads.
pub trait Device: Send {
    /// What the guest sees. Asked once.
    fn offer(&self) -> Offer;

    /// The bell that has [`Device::on_ring`] called. Given once, before anything else; for devices
    /// whose work ends on other threads.
    fn set_doorbell(&mut self, doorbell: Doorbell) {
        drop(doorbell);
    }

    /// The guest opens a channel (0 is the primary one, see [`Channel::subchannel`]); the device is
    /// as fresh there as after power-on, whatever it did when the channel was open before.
    ///
    /// # Errors
    /// If it does not want to; the guest's driver fails.
    fn open(&mut self, channel: &mut Channel<'_>) -> Result<(), Refused>;

    /// The channel is closed, by the guest or because it was broken. When this returns, nothing of
    /// the device touches guest memory on behalf of it: work under way has ended. May wait for that.
    fn close(&mut self, subchannel: u16);

    /// Something may be to do on an open channel: packets came, the doorbell rang, there is room
    /// again, or the time of [`Device::deadline_ns`] has come. A device that can take no more
    /// leaves packets in the ring.
    ///
    /// # Errors
    /// What the guest did wrong: the channel is closed, and stays so until the guest opens it anew.
    fn on_ring(&mut self, channel: &mut Channel<'_>) -> Result<(), RingError>;

    /// When `on_ring` is to be called next if nothing else happens, as machine time.
    fn deadline_ns(&self) -> Option<u64> {
        None
    }
}

/// A device does not open a channel; why, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// An open channel in the hands of its device, for the time of one call.
pub struct Channel<'a> {
    pub(crate) guest: &'a Guest<'a>,
    pub(crate) open: &'a mut OpenChannel,
    pub(crate) subchannel: u16,
    pub(crate) wanted_subchannels: &'a mut Option<u16>,
}

impl Channel<'_> {
    /// 0: the primary channel.
    pub fn subchannel(&self) -> u16 {
        self.subchannel
    }

    /// What the guest gave the device with its request to open.
    pub fn user_data(&self) -> &[u8; 120] {
        &self.open.user_data
    }

    /// The version of VMBus that the guest speaks.
    pub fn version(&self) -> Version {
        self.open.connection.version
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        self.guest.memory
    }

    /// The machine's time.
    pub fn now_ns(&self) -> u64 {
        self.guest.now_ns
    }

    /// Says something about the guest to whoever reads the log.
    pub fn report(&self, line: &str) {
        self.guest.host.report(line);
    }

    /// The next packet of the guest, if there is one.
    ///
    /// # Errors
    /// What the guest did wrong; pass it on.
    pub fn receive(&mut self) -> Result<Option<Packet>, RingError> {
        if self.open.incoming.should_commit() {
            self.open.commit(self.guest)?;
        }
        let packet = self.open.incoming.receive(self.guest.memory)?;
        self.open.drained = packet.is_none();
        Ok(packet)
    }

    /// Sends a packet. `false`: the ring is full; `on_ring` is called when there is room.
    ///
    /// # Errors
    /// What the guest did wrong; pass it on.
    pub fn send(&mut self, packet: &Outgoing<'_>) -> Result<bool, RingError> {
        match self.open.outgoing.send(self.guest.memory, packet)? {
            Sent::Full => Ok(false),
            Sent::Done { signal } => {
                self.open.signal_owed |= signal;
                Ok(true)
            }
        }
    }

    /// Memory that the guest described for this channel. Whoever keeps it must let go of it when the
    /// device's own protocol says that the guest takes it back.
    pub fn gpadl(&self, id: GpadlId) -> Option<Arc<PagedRange>> {
        self.open.gpadls.get(&id).cloned()
    }

    /// Offers the guest subchannels up to number `count`; those that it has already stay.
    pub fn offer_subchannels(&mut self, count: u16) {
        *self.wanted_subchannels = Some(count);
    }
}
