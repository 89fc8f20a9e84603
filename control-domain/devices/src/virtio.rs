//! What the virtio devices of a Generation 2 machine's firmware have in common: the legacy interface, whose registers
//! are ports, and queues in the guest's memory.
//!
//! Source: virtio 1.1 §4.1.4.8 (legacy registers), §2.6 (split queues). No interrupts: firmware polls. What a queue
//! says is a claim.

use crate::bus::{GuestMemory, OutsideMemory};
use crate::pci::config_space::{COMMAND, COMMAND_IO, ConfigSpace};

/// Number of ports.
const PORTS: u16 = 64;
/// The base address register of the ports.
pub const PORTS_BASE: u8 = 0x10;
/// Offset of the first register that is the device's own.
pub const DEVICE_OFFSET: u16 = 20;
/// Status: the driver is ready.
const DRIVER_OK: u8 = 4;

/// Descriptors of a queue.
pub const QUEUE_SIZE: u16 = 64;
const QUEUE_ALIGNMENT: u64 = 4096;
const DESCRIPTOR_BYTES: u64 = 16;
/// Flag of a descriptor: another one follows.
pub const DESCRIPTOR_NEXT: u16 = 1;
/// Flag of a descriptor: the device writes there.
pub const DESCRIPTOR_WRITE: u16 = 2;

/// The registers that all devices have.
pub struct Registers {
    space: ConfigSpace,
    driver_features: u32,
    queues: Vec<Queue>,
    selected: u16,
    status: u8,
}

impl Registers {
    /// A device at power-on: its numbers on PCI and in virtio, its class, its queues.
    pub fn new(id: u16, kind: u16, class: [u8; 3], queues: usize) -> Self {
        let mut space = ConfigSpace::new(0x1af4, id, class, 0);
        // The subsystem says what kind of device it is.
        space.set_u16(0x2c, 0x1af4);
        space.set_u16(0x2e, kind);
        space.allow(COMMAND, &[0x07, 0x00]);
        space.set(PORTS_BASE, 1);
        let mask = !(PORTS - 1);
        space.allow(PORTS_BASE, &[mask as u8, (mask >> 8) as u8, 0xff, 0xff]);
        Registers {
            space,
            driver_features: 0,
            queues: vec![Queue::default(); queues],
            selected: 0,
            status: 0,
        }
    }

    /// The configuration registers.
    pub fn space(&mut self) -> &mut ConfigSpace {
        &mut self.space
    }

    /// The offset of a port in the device's, if it answers there.
    pub fn offset_of(&self, port: u16) -> Option<u16> {
        let base = self.space.get_u32(PORTS_BASE) & !3;
        let enabled = self.space.get(COMMAND) & COMMAND_IO != 0 && base != 0;
        let offset = u32::from(port).checked_sub(base)?;
        (enabled && offset < PORTS.into()).then_some(offset as u16)
    }

    /// Whether the driver is ready.
    pub fn is_driven(&self) -> bool {
        self.status & DRIVER_OK != 0
    }

    /// A queue that the device has, by its number.
    pub fn queue(&mut self, number: usize) -> &mut Queue {
        &mut self.queues[number]
    }

    /// Reads a register of a device that offers these features.
    pub fn read(&self, offset: u16, size: u8, features: u32) -> u32 {
        let queue = self.queues.get(usize::from(self.selected));
        match (offset, size) {
            (0, 4) => features,
            (4, 4) => self.driver_features,
            (8, 4) => queue.map_or(0, |queue| queue.page),
            (12, 2) => queue.map_or(0, |_| QUEUE_SIZE.into()),
            (14, 2) => self.selected.into(),
            (18, 1) => self.status.into(),
            _ => 0,
        }
    }

    /// Writes one. Answers the queue in which the driver has made something available.
    pub fn write(&mut self, offset: u16, size: u8, value: u32, features: u32) -> Option<usize> {
        match (offset, size) {
            (4, 4) => self.driver_features = value & features,
            (8, 4) => {
                if let Some(queue) = self.queues.get_mut(usize::from(self.selected)) {
                    *queue = Queue {
                        page: value,
                        ..Queue::default()
                    };
                }
            }
            (14, 2) => self.selected = value as u16,
            (16, 2) => {
                let queue = self.queues.get(value as usize);
                return queue.is_some_and(Queue::is_set).then_some(value as usize);
            }
            (18, 1) => {
                self.status = value as u8;
                if self.status == 0 {
                    self.driver_features = 0;
                    self.selected = 0;
                    self.queues.fill(Queue::default());
                }
            }
            _ => {}
        }
        None
    }
}

/// A queue.
#[derive(Clone, Default)]
pub struct Queue {
    /// Its guest-physical address, in pages; 0: none.
    page: u32,
    /// Chains taken from it.
    taken: u16,
}

/// A piece of memory.
#[derive(Clone, Copy)]
pub struct Descriptor {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    /// Whether the device writes there; else it reads.
    pub fn is_writable(&self) -> bool {
        self.flags & DESCRIPTOR_WRITE != 0
    }
}

/// Pieces that belong together.
pub struct Chain {
    head: u16,
    /// The pieces.
    pub descriptors: Vec<Descriptor>,
}

impl Queue {
    fn is_set(&self) -> bool {
        self.page != 0
    }

    fn table(&self) -> u64 {
        u64::from(self.page) * QUEUE_ALIGNMENT
    }

    fn available(&self) -> u64 {
        self.table() + u64::from(QUEUE_SIZE) * DESCRIPTOR_BYTES
    }

    /// How many chains the driver has made available; if it claims more than the queue holds, that many.
    pub fn waiting(&self, memory: &dyn GuestMemory) -> Result<u16, OutsideMemory> {
        if !self.is_set() {
            return Ok(0);
        }
        let end = read_u16(memory, self.available() + 2)?;
        Ok(end.wrapping_sub(self.taken).min(QUEUE_SIZE))
    }

    /// The next one of them. One that leads in circles ends where the queue would.
    pub fn take(&mut self, memory: &dyn GuestMemory) -> Result<Chain, OutsideMemory> {
        let slot = u64::from(self.taken % QUEUE_SIZE);
        let head = read_u16(memory, self.available() + 4 + 2 * slot)?;
        let mut descriptors = Vec::new();
        let mut next = head;
        while descriptors.len() < usize::from(QUEUE_SIZE) {
            let mut bytes = [0; DESCRIPTOR_BYTES as usize];
            let at = u64::from(next % QUEUE_SIZE) * DESCRIPTOR_BYTES;
            memory.read(self.table() + at, &mut bytes)?;
            let [address @ .., l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
            let descriptor = Descriptor {
                address: u64::from_le_bytes(address),
                length: u32::from_le_bytes([l0, l1, l2, l3]),
                flags: u16::from_le_bytes([f0, f1]),
                next: u16::from_le_bytes([n0, n1]),
            };
            descriptors.push(descriptor);
            if descriptor.flags & DESCRIPTOR_NEXT == 0 {
                break;
            }
            next = descriptor.next;
        }
        Ok(Chain { head, descriptors })
    }

    /// Gives the chain that was taken last back, with so many bytes written.
    pub fn end(
        &mut self,
        chain: &Chain,
        written: u32,
        memory: &dyn GuestMemory,
    ) -> Result<(), OutsideMemory> {
        let used =
            (self.available() + 6 + 2 * u64::from(QUEUE_SIZE)).next_multiple_of(QUEUE_ALIGNMENT);
        let slot = u64::from(self.taken % QUEUE_SIZE);
        let entry = [u32::from(chain.head).to_le_bytes(), written.to_le_bytes()].concat();
        memory.write(used + 4 + 8 * slot, &entry)?;
        self.taken = self.taken.wrapping_add(1);
        memory.write(used + 2, &self.taken.to_le_bytes())
    }
}

fn read_u16(memory: &dyn GuestMemory, gpa: u64) -> Result<u16, OutsideMemory> {
    let mut bytes = [0; 2];
    memory.read(gpa, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}
