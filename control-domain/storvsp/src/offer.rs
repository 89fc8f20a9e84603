//! How a storage channel is announced.

/// Where a controller is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A SCSI controller of its own, with the identity of its instance.
    Scsi {
        /// Bytes of a GUID, as they lie in memory.
        instance: [u8; 16],
    },
    /// One disk of the emulated IDE controller, by a shorter way.
    Ide {
        /// 0: primary, 1: secondary.
        channel: u8,
        /// 0: master, 1: slave.
        drive: u8,
    },
}

/// What the announcement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Kind of device, bytes of a GUID as they lie in memory.
    pub interface: [u8; 16],
    /// Which one.
    pub instance: [u8; 16],
    /// For the driver.
    pub user_defined: [u8; 120],
    /// Most subchannels that may follow.
    pub most_subchannels: u16,
}

/// ba6163d9-04a1-4d29-b605-72e2ffb1dc7f.
const SCSI: [u8; 16] = [
    0xd9, 0x63, 0x61, 0xba, 0xa1, 0x04, 0x29, 0x4d, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f,
];
/// 32412632-86cb-44a2-9b5c-50d1417354f5.
const IDE: [u8; 16] = [
    0x32, 0x26, 0x41, 0x32, 0xcb, 0x86, 0xa2, 0x44, 0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5,
];

/// In the user-defined bytes of an IDE disk: bus, target, and this flag. Old Windows looks there, Linux
/// at the bytes of the instance.
const PATH_BYTE: usize = 2;
const TARGET_BYTE: usize = 3;
const FLAGS_BYTE: usize = 8;
const EMULATED_IDE: u8 = 2;

impl Attachment {
    /// The announcement, with room for so many subchannels; an IDE disk has none.
    pub fn offer(&self, most_subchannels: u16) -> Offer {
        match *self {
            Attachment::Scsi { instance } => Offer {
                interface: SCSI,
                instance,
                user_defined: [0; 120],
                most_subchannels,
            },
            Attachment::Ide { channel, drive } => {
                let mut instance = [0; 16];
                (instance[0], instance[4]) = (channel, drive);
                instance[6..8].copy_from_slice(&0x8899u16.to_le_bytes());
                let mut user_defined = [0; 120];
                user_defined[PATH_BYTE] = channel;
                user_defined[TARGET_BYTE] = drive;
                user_defined[FLAGS_BYTE] = EMULATED_IDE;
                Offer {
                    interface: IDE,
                    instance,
                    user_defined,
                    most_subchannels: 0,
                }
            }
        }
    }
}
