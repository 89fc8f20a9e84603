//! Where frames go to and come from.

use crate::offload::{Frame, Verified, Vlan};
use vmbus::Doorbell;

/// A frame for the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// From its Ethernet header on, without tag and without checksum at its end.
    pub bytes: Vec<u8>,
    /// The tag that it had.
    pub vlan: Option<Vlan>,
    /// What was found right.
    pub verified: Verified,
}

/// A network: a tap device, a switch, a test.
pub trait Network: Send {
    /// The bell to ring when [`Network::next`] has something.
    fn set_doorbell(&mut self, doorbell: Doorbell) {
        drop(doorbell);
    }

    /// Takes a frame of the guest, or drops it.
    fn transmit(&mut self, frame: Frame);

    /// The next frame for the guest. It is not asked for while the guest has no room.
    fn next(&mut self) -> Option<Arrived>;
}
