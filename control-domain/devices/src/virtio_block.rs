//! A virtio disk as the firmware of a Generation 2 machine sees it: the legacy interface, whose registers
//! are ports, with one queue that is served while the processor waits.
//!
//! Source: virtio 1.1 §4.1.4.8 (legacy registers), §2.6 (split queues), §5.2 (block device). No
//! interrupts: firmware polls. An operating system never sees it.

use crate::block::BlockBackend;
use crate::bus::{GuestMemory, OutsideMemory};
use crate::pci::config_space::{COMMAND, COMMAND_IO, ConfigSpace};

/// Number of ports.
const PORTS: u16 = 64;
const PORTS_BASE: u8 = 0x10;

const QUEUE_SIZE: u16 = 64;
const QUEUE_ALIGNMENT: u64 = 4096;
const DESCRIPTOR_BYTES: u64 = 16;

/// The device tells its block size; it can flush.
const FEATURES: u32 = 1 << 6 | 1 << 9;
/// It can't be written.
const FEATURE_READ_ONLY: u32 = 1 << 5;

const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;
const REQUEST_HEADER_BYTES: u32 = 16;
const TYPE_READ: u32 = 0;
const TYPE_WRITE: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const STATUS_OK: u8 = 0;
const STATUS_FAILED: u8 = 1;
const STATUS_UNSUPPORTED: u8 = 2;
const SECTOR_BYTES: usize = 512;
/// Bytes moved at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// A disk, or a disc in a DVD drive, that firmware can boot from.
pub struct FirmwareDisk {
    /// The disk.
    pub disk: Box<dyn BlockBackend>,
    /// Bytes of its logical sectors: 512, 2048 of a disc, or 4096.
    pub sector_bytes: u32,
    /// Whether it is a disc.
    pub read_only: bool,
}

impl FirmwareDisk {
    fn features(&self) -> u32 {
        match self.read_only {
            true => FEATURES | FEATURE_READ_ONLY,
            false => FEATURES,
        }
    }
}

/// The device.
pub struct VirtioBlock {
    space: ConfigSpace,
    disk: FirmwareDisk,
    driver_features: u32,
    /// Guest-physical address of the queue, in pages; 0: none.
    queue_page: u32,
    queue_selected: u16,
    status: u8,
    /// Requests taken from the queue, and ended.
    next_available: u16,
}

#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl VirtioBlock {
    /// A device at power-on.
    pub fn new(disk: FirmwareDisk) -> Self {
        let mut space = ConfigSpace::new(0x1af4, 0x1001, [0x01, 0x00, 0x00], 0);
        // The subsystem says what kind of device it is: 2 is a disk.
        space.set_u16(0x2c, 0x1af4);
        space.set_u16(0x2e, 2);
        space.allow(COMMAND, &[0x07, 0x00]);
        space.set(PORTS_BASE, 1);
        let mask = !(PORTS - 1);
        space.allow(PORTS_BASE, &[mask as u8, (mask >> 8) as u8, 0xff, 0xff]);
        VirtioBlock {
            space,
            disk,
            driver_features: 0,
            queue_page: 0,
            queue_selected: 0,
            status: 0,
            next_available: 0,
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

    /// Reads a register.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let queue = self.queue_selected == 0;
        let capacity = self.disk.disk.size_sectors();
        match (offset, size) {
            (0, 4) => self.disk.features(),
            (4, 4) => self.driver_features,
            (8, 4) if queue => self.queue_page,
            (12, 2) if queue => QUEUE_SIZE.into(),
            (14, 2) => self.queue_selected.into(),
            (18, 1) => self.status.into(),
            (20, 4) => capacity as u32,
            (24, 4) => (capacity >> 32) as u32,
            (40, 4) => self.disk.sector_bytes,
            _ => 0,
        }
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u16, size: u8, value: u32, memory: &dyn GuestMemory) {
        match (offset, size) {
            (4, 4) => self.driver_features = value & self.disk.features(),
            (8, 4) if self.queue_selected == 0 => {
                self.queue_page = value;
                self.next_available = 0;
            }
            (14, 2) => self.queue_selected = value as u16,
            // Memory that is none: the driver gets no answer, as from hardware that reaches nothing.
            (16, 2) if value == 0 && self.queue_page != 0 => {
                let _ = self.serve(memory);
            }
            (18, 1) => {
                self.status = value as u8;
                if self.status == 0 {
                    self.driver_features = 0;
                    self.queue_page = 0;
                    self.queue_selected = 0;
                    self.next_available = 0;
                }
            }
            _ => {}
        }
    }

    /// Serves what the driver made available.
    fn serve(&mut self, memory: &dyn GuestMemory) -> Result<(), OutsideMemory> {
        let table = u64::from(self.queue_page) * QUEUE_ALIGNMENT;
        let available = table + u64::from(QUEUE_SIZE) * DESCRIPTOR_BYTES;
        let used = (available + 6 + 2 * u64::from(QUEUE_SIZE)).next_multiple_of(QUEUE_ALIGNMENT);
        let end = read_u16(memory, available + 2)?;
        // A driver that claims more than the queue holds gets that much.
        let waiting = end.wrapping_sub(self.next_available).min(QUEUE_SIZE);
        for _ in 0..waiting {
            let slot = u64::from(self.next_available % QUEUE_SIZE);
            let head = read_u16(memory, available + 4 + 2 * slot)?;
            let written = self.request(table, head, memory)?;
            let entry = [u32::from(head).to_le_bytes(), written.to_le_bytes()].concat();
            memory.write(used + 4 + 8 * slot, &entry)?;
            self.next_available = self.next_available.wrapping_add(1);
            memory.write(used + 2, &self.next_available.to_le_bytes())?;
        }
        Ok(())
    }

    /// Carries out the request whose first descriptor is `head`. Answers how many bytes it wrote.
    fn request(
        &mut self,
        table: u64,
        head: u16,
        memory: &dyn GuestMemory,
    ) -> Result<u32, OutsideMemory> {
        let chain = chain(table, head, memory)?;
        let [header, data @ .., status] = chain.as_slice() else {
            return Ok(0);
        };
        if header.length < REQUEST_HEADER_BYTES || status.flags & DESCRIPTOR_WRITE == 0 {
            return Ok(0);
        }
        let mut bytes = [0; REQUEST_HEADER_BYTES as usize];
        memory.read(header.address, &mut bytes)?;
        let [a, b, c, d, _, _, _, _, sector @ ..] = bytes;
        let mut sector = u64::from_le_bytes(sector);
        let kind = u32::from_le_bytes([a, b, c, d]);
        let (mut outcome, mut written) = (STATUS_OK, 1u32);
        match kind {
            TYPE_FLUSH => {
                if self.disk.disk.flush().is_err() {
                    outcome = STATUS_FAILED;
                }
            }
            TYPE_WRITE if self.disk.read_only => outcome = STATUS_FAILED,
            TYPE_READ | TYPE_WRITE => {
                for piece in data {
                    let to_memory = piece.flags & DESCRIPTOR_WRITE != 0;
                    let good = to_memory == (kind == TYPE_READ)
                        && (piece.length as usize).is_multiple_of(SECTOR_BYTES);
                    if !good || !self.transfer(&mut sector, piece, to_memory, memory)? {
                        outcome = STATUS_FAILED;
                        break;
                    }
                    if to_memory {
                        written = written.saturating_add(piece.length);
                    }
                }
            }
            _ => outcome = STATUS_UNSUPPORTED,
        }
        memory.write(status.address, &[outcome])?;
        Ok(written)
    }

    /// Moves a piece from or to the sectors from `sector` on. `false`: the disk can't.
    fn transfer(
        &mut self,
        sector: &mut u64,
        piece: &Descriptor,
        to_memory: bool,
        memory: &dyn GuestMemory,
    ) -> Result<bool, OutsideMemory> {
        let disk = &mut self.disk.disk;
        let sectors = u64::from(piece.length) / SECTOR_BYTES as u64;
        let end = sector.checked_add(sectors);
        if end.is_none_or(|end| end > disk.size_sectors()) {
            return Ok(false);
        }
        let mut buffer = vec![0; CHUNK_BYTES.min(piece.length as usize)];
        let mut done = 0;
        while done < piece.length {
            let length = buffer.len().min((piece.length - done) as usize);
            let chunk = &mut buffer[..length];
            let gpa = piece.address.wrapping_add(done.into());
            let result = if to_memory {
                disk.read(*sector, chunk)
            } else {
                memory.read(gpa, chunk)?;
                disk.write(*sector, chunk)
            };
            if result.is_err() {
                return Ok(false);
            }
            if to_memory {
                memory.write(gpa, chunk)?;
            }
            *sector += (length / SECTOR_BYTES) as u64;
            done += length as u32;
        }
        Ok(true)
    }
}

fn read_u16(memory: &dyn GuestMemory, gpa: u64) -> Result<u16, OutsideMemory> {
    let mut bytes = [0; 2];
    memory.read(gpa, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

/// The descriptors of a request; a chain that leads in circles ends where the queue would.
fn chain(
    table: u64,
    head: u16,
    memory: &dyn GuestMemory,
) -> Result<Vec<Descriptor>, OutsideMemory> {
    let mut found = Vec::new();
    let mut next = head;
    while found.len() < usize::from(QUEUE_SIZE) {
        let mut bytes = [0; DESCRIPTOR_BYTES as usize];
        let at = u64::from(next % QUEUE_SIZE) * DESCRIPTOR_BYTES;
        memory.read(table + at, &mut bytes)?;
        let [address @ .., l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
        let descriptor = Descriptor {
            address: u64::from_le_bytes(address),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        };
        found.push(descriptor);
        if descriptor.flags & DESCRIPTOR_NEXT == 0 {
            break;
        }
        next = descriptor.next;
    }
    Ok(found)
}

#[cfg(test)]
#[path = "virtio_block/tests.rs"]
mod tests;
