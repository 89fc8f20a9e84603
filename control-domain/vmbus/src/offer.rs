//! What a guest is told about a device.

use uuid::Uuid;

/// Flags of an offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfferFlags(pub u16);

impl OfferFlags {
    /// The guest shows the device to its drivers.
    pub const ENUMERATE: Self = Self(1);
    /// Packets carry a pipe header; the first four user-defined bytes say which kind.
    pub const NAMED_PIPE: Self = Self(0x10);

    /// A connection of a socket (hv_sock), which ends with the guest's own.
    pub const SOCKET: Self = Self(0x2000);

    /// Are all of these among them?
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Bytes of an offer, and of a request to open, that belong to the device.
pub const USER_DEFINED_BYTES: usize = 120;

/// The first user-defined bytes of a pipe that carries whole messages.
const PIPE_OF_MESSAGES: u32 = 4;

/// A device as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What people call it, in the log.
    pub name: String,
    /// The kind of device: which driver.
    pub interface: Uuid,
    /// Which of its kind; no two offers have the same. It must stay the same over restarts.
    pub instance: Uuid,
    /// Flags.
    pub flags: OfferFlags,
    /// Guest-physical address space that the device wants, in MiB.
    pub mmio_mib: u16,
    /// What the device tells its driver.
    pub user_defined: [u8; USER_DEFINED_BYTES],
}

impl Offer {
    /// A device whose packets are its own affair.
    pub fn new(name: &str, interface: Uuid, instance: Uuid) -> Self {
        Self {
            name: name.into(),
            interface,
            instance,
            flags: OfferFlags::ENUMERATE,
            mmio_mib: 0,
            user_defined: [0; USER_DEFINED_BYTES],
        }
    }

    /// A device whose packets carry a pipe header, each a whole message.
    pub fn message_pipe(name: &str, interface: Uuid, instance: Uuid) -> Self {
        let mut offer = Self::new(name, interface, instance);
        offer.flags = offer.flags.with(OfferFlags::NAMED_PIPE);
        offer.user_defined[..4].copy_from_slice(&PIPE_OF_MESSAGES.to_le_bytes());
        offer
    }

    /// A connection of a socket: a pipe of bytes. `from_host`: the guest listens, for `interface`, and `instance`
    /// is the host's end; else `interface` is what the guest connects to, and `instance` is its own end.
    pub fn socket(name: &str, interface: Uuid, instance: Uuid, from_host: bool) -> Self {
        let mut offer = Self::new(name, interface, instance);
        let pipe = offer.flags.with(OfferFlags::NAMED_PIPE);
        offer.flags = pipe.with(OfferFlags::SOCKET);
        offer.user_defined[4] = from_host.into();
        offer
    }
}
