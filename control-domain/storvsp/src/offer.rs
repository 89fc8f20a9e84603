//! How a storage channel is announced.

use uuid::{Uuid, uuid};
use vmbus::Offer;

/// Where a controller is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A SCSI controller of its own.
    Scsi {
        /// Which one; it must stay the same.
        instance: Uuid,
    },
    /// One disk of the emulated IDE controller, by a shorter way.
    Ide {
        /// 0: primary, 1: secondary.
        channel: u8,
        /// 0: master, 1: slave.
        drive: u8,
    },
}

const SCSI: Uuid = uuid!("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
const IDE: Uuid = uuid!("32412632-86cb-44a2-9b5c-50d1417354f5");

/// In the user-defined bytes of an IDE disk: bus, target, and this flag. Old Windows looks there, Linux
/// at the first two numbers of the instance.
const PATH_BYTE: usize = 2;
const TARGET_BYTE: usize = 3;
const FLAGS_BYTE: usize = 8;
const EMULATED_IDE: u8 = 2;

impl Attachment {
    /// The announcement.
    pub fn offer(&self) -> Offer {
        match *self {
            Attachment::Scsi { instance } => Offer::new("SCSI controller", SCSI, instance),
            Attachment::Ide { channel, drive } => {
                let instance = Uuid::from_fields(channel.into(), drive.into(), 0x8899, &[0; 8]);
                let name = format!("IDE disk {channel}:{drive}");
                let mut offer = Offer::new(&name, IDE, instance);
                offer.user_defined[PATH_BYTE] = channel;
                offer.user_defined[TARGET_BYTE] = drive;
                offer.user_defined[FLAGS_BYTE] = EMULATED_IDE;
                offer
            }
        }
    }
}
