//! Interrupt messages between local APICs, and who they are for (SDM vol. 3 §11.6.2, §11.12.10).
//!
//! A sender matches destinations against [`Identity`] snapshots, which fit in one word, so that
//! it never needs to lock the target.

/// What an interrupt message does at its destination (SDM vol. 3 §11.6.1, field 10:8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// An interrupt with a vector, at every destination.
    Fixed,
    /// An interrupt with a vector, at one of the destinations.
    LowestPriority,
    /// System management interrupt; a guest has none, so it is dropped.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// Start-up; the vector names the page.
    StartUp,
    /// The 8259s supply the vector.
    ExtInt,
}

impl DeliveryMode {
    /// Decodes the three-bit field; 3 is reserved.
    pub const fn from_field(field: u32) -> Option<Self> {
        Some(match field & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            7 => Self::ExtInt,
            _ => return None,
        })
    }
}

/// Whom a message addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The APIC with this id; `0xff` from xAPIC senders and `0xffff_ffff` from x2APIC senders is
    /// every APIC and appears as [`Destination::All`].
    Physical(u32),
    /// APICs whose logical id matches this message destination address of 8 bits.
    LogicalXapic(u8),
    /// APICs whose logical id matches this message destination address of 32 bits.
    LogicalX2apic(u32),
    /// The sender.
    Myself,
    /// Every APIC.
    All,
    /// Every APIC but the sender.
    Others,
}

/// An interrupt message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// What it does.
    pub mode: DeliveryMode,
    /// Its vector; the start-up page for [`DeliveryMode::StartUp`].
    pub vector: u8,
    /// Level-triggered: the end of this interrupt is broadcast to the IOAPIC.
    pub level: bool,
    /// For whom.
    pub destination: Destination,
}

impl Ipi {
    /// A message-signalled interrupt from a device or the IOAPIC (SDM vol. 3 §11.11). `None`: the
    /// address is not that of the local APICs, or the mode is reserved.
    pub fn from_msi(address: u64, data: u64) -> Option<Self> {
        if address >> 20 != 0xfee {
            return None;
        }
        let id = (address >> 12) as u8;
        let destination = match (address & 4 != 0, id) {
            (true, _) => Destination::LogicalXapic(id),
            (false, 0xff) => Destination::All,
            (false, _) => Destination::Physical(u32::from(id)),
        };
        let mode = DeliveryMode::from_field((data >> 8) as u32)?;
        let redirect =
            address & 8 != 0 && mode == DeliveryMode::Fixed && destination != Destination::All;
        Some(Self {
            // The redirection hint asks for one of the destinations.
            mode: if redirect {
                DeliveryMode::LowestPriority
            } else {
                mode
            },
            vector: data as u8,
            level: data & 1 << 15 != 0,
            destination,
        })
    }

    /// The processors this message goes to, as a mask of their indices. `sender` is the index of
    /// the sending processor, `None` for devices; `identities` gives each live processor's index
    /// and [`Identity`]. A lowest-priority message goes to one of the enabled matches, spread by
    /// vector.
    pub fn targets(
        &self,
        sender: Option<usize>,
        identities: impl Iterator<Item = (usize, Identity)>,
    ) -> u64 {
        let mut mask = 0u64;
        for (index, identity) in identities.filter(|(index, _)| *index < 64) {
            let hit = match self.destination {
                Destination::Myself => sender == Some(index),
                Destination::All => true,
                Destination::Others => sender != Some(index),
                destination => identity.matches(destination),
            };
            let usable = self.mode != DeliveryMode::LowestPriority || identity.enabled;
            if hit && usable {
                mask |= 1 << index;
            }
        }
        if self.mode == DeliveryMode::LowestPriority {
            pick_one(mask, self.vector)
        } else {
            mask
        }
    }
}

/// One bit of `mask`, chosen by `vector`, so that different vectors spread over processors and
/// one vector always goes to the same.
fn pick_one(mask: u64, vector: u8) -> u64 {
    if mask == 0 {
        return 0;
    }
    let mut rest = mask;
    for _ in 0..u32::from(vector) % mask.count_ones() {
        rest &= rest - 1;
    }
    rest & rest.wrapping_neg()
}

/// What a sender must know of a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// APIC id.
    pub apic_id: u32,
    /// Bits 31:24 of the logical destination register in xAPIC mode.
    pub logical_id: u8,
    /// The destination format register says flat, else cluster (xAPIC mode only).
    pub flat: bool,
    /// In x2APIC mode.
    pub x2apic: bool,
    /// Enabled by the spurious-interrupt register.
    pub enabled: bool,
}

impl Identity {
    /// As one word, for an atomic that senders read.
    pub const fn pack(self) -> u64 {
        self.apic_id as u64
            | (self.logical_id as u64) << 32
            | (self.flat as u64) << 40
            | (self.x2apic as u64) << 41
            | (self.enabled as u64) << 42
    }

    /// The opposite of [`Identity::pack`].
    pub const fn unpack(word: u64) -> Self {
        Self {
            apic_id: word as u32,
            logical_id: (word >> 32) as u8,
            flat: word >> 40 & 1 != 0,
            x2apic: word >> 41 & 1 != 0,
            enabled: word >> 42 & 1 != 0,
        }
    }

    /// The logical id in x2APIC mode: cluster in 31:16, one bit in 15:0 (SDM vol. 3 §11.12.10.2).
    pub const fn x2apic_logical_id(apic_id: u32) -> u32 {
        (apic_id >> 4) << 16 | 1 << (apic_id & 15)
    }

    fn matches(&self, destination: Destination) -> bool {
        match destination {
            Destination::Physical(id) => self.apic_id == id,
            Destination::LogicalXapic(mda) if self.x2apic => self.matches_cluster(u32::from(mda)),
            Destination::LogicalX2apic(mda) if self.x2apic => self.matches_cluster(mda),
            Destination::LogicalX2apic(mda) => {
                u8::try_from(mda).is_ok_and(|mda| self.matches_xapic(mda))
            }
            Destination::LogicalXapic(mda) => self.matches_xapic(mda),
            Destination::Myself | Destination::All | Destination::Others => false,
        }
    }

    fn matches_cluster(&self, mda: u32) -> bool {
        let own = Self::x2apic_logical_id(self.apic_id);
        own >> 16 == mda >> 16 && own & mda & 0xffff != 0
    }

    fn matches_xapic(&self, mda: u8) -> bool {
        if self.flat {
            return self.logical_id & mda != 0;
        }
        // Cluster model: 4 bits cluster, 4 bits members; cluster 15 addresses all clusters.
        (mda >> 4 == 15 || mda >> 4 == self.logical_id >> 4) && mda & self.logical_id & 15 != 0
    }
}

/// What a message did to the processor that it reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing: masked off, software-disabled or meaningless here.
    Nothing,
    /// An interrupt or NMI is pending: enter or wake the processor.
    Pending,
    /// INIT: the caller resets the processor's registers; it waits for start-up afterwards.
    Init,
    /// Start-up: the caller sets CS:IP to this page (address >> 12); the processor runs.
    StartUp(u8),
}

impl Arrival {
    /// What the processor's registers are to be reset for: INIT (`None`) or a start-up vector.
    pub fn restart(self) -> Option<Option<u8>> {
        match self {
            Arrival::Nothing | Arrival::Pending => None,
            Arrival::Init => Some(None),
            Arrival::StartUp(page) => Some(Some(page)),
        }
    }
}
