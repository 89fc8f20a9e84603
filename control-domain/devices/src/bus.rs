//! What passes between a device and the rest of the machine.

use crate::interrupts::Interrupts;

/// What a bus master sees of the machine during one access.
pub struct Context<'a> {
    /// The guest's memory, for bus masters.
    pub memory: &'a dyn GuestMemory,
    /// The interrupt controllers.
    pub interrupts: &'a mut Interrupts,
}

/// Guest-physical memory as a bus master sees it: RAM, addressed by guest-physical address.
///
/// Methods take `&self`: processors of the guest write to the same memory at the same time.
pub trait GuestMemory {
    /// Fills `data` from `gpa` on.
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), OutsideMemory>;
    /// Stores `data` from `gpa` on.
    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), OutsideMemory>;
}

/// A bus master reached for something that is not RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideMemory {
    /// First guest-physical address of the access.
    pub gpa: u64,
    /// Its length in bytes.
    pub length: usize,
}

impl std::fmt::Display for OutsideMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "bus master access to {} bytes at {:#x}, which is not RAM",
            self.length, self.gpa
        )
    }
}

impl std::error::Error for OutsideMemory {}

/// The memory of the video adapter. It may be mapped into the guest at the same time
/// ([`crate::Target::VideoMemory`]). Accesses beyond its end read as zero and write nothing.
pub trait VideoMemory: Send {
    /// Its size in bytes, a power of two, 512 KiB to 256 MiB.
    fn size(&self) -> u32;
    /// Fills `data` from `offset` on.
    fn read(&self, offset: u32, data: &mut [u8]);
    /// Stores `data` from `offset` on.
    fn write(&mut self, offset: u32, data: &[u8]);
}

/// Video memory that nothing is mapped from.
impl VideoMemory for Vec<u8> {
    fn size(&self) -> u32 {
        self.len() as u32
    }

    fn read(&self, offset: u32, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = self.get(offset as usize + i).copied().unwrap_or(0);
        }
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        for (i, byte) in data.iter().enumerate() {
            if let Some(cell) = self.get_mut(offset as usize + i) {
                *cell = *byte;
            }
        }
    }
}

/// Where the bytes of a serial or debug port go.
pub trait ByteSink: Send {
    /// Takes one byte. Must not block.
    fn put(&mut self, byte: u8);
}

impl<F: FnMut(u8) + Send> ByteSink for F {
    fn put(&mut self, byte: u8) {
        self(byte);
    }
}

/// Where the frames of a network card go.
pub trait FrameSink: Send {
    /// Takes a frame, from its Ethernet header on and without checksum at its end. Must not block.
    fn put(&mut self, frame: &[u8]);
}

impl<F: FnMut(&[u8]) + Send> FrameSink for F {
    fn put(&mut self, frame: &[u8]) {
        self(frame);
    }
}

/// A message-signalled interrupt, for `Call::AssertInterrupt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// As on the bus (SDM vol. 3 §11.11.1).
    pub address: u64,
    /// As on the bus (SDM vol. 3 §11.11.2).
    pub data: u32,
}

/// What the vmm has to do after an access.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Interrupts for the local APICs, in this order.
    pub messages: Vec<Message>,
    /// The guest asked for a reset of the machine.
    pub reset: bool,
    /// The guest asked for power-off.
    pub power_off: bool,
    /// [`crate::Chipset::memory_layout`] answers something new. The vmm must have applied it before
    /// the guest's next instruction.
    pub layout_changed: bool,
}

impl Outputs {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.reset && !self.power_off && !self.layout_changed
    }
}
