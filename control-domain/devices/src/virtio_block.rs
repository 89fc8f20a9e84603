//! A virtio disk as the firmware of a Generation 2 machine sees it, with one queue that is served while the processor
//! waits. An operating system never sees it.
//!
//! Source: virtio 1.1 §5.2 (block device).

use crate::block::BlockBackend;
use crate::bus::{GuestMemory, OutsideMemory};
use crate::virtio::{Chain, DEVICE_OFFSET, Descriptor, Registers};

/// The device tells its block size; it can flush.
const FEATURES: u32 = 1 << 6 | 1 << 9;
/// It can't be written.
const FEATURE_READ_ONLY: u32 = 1 << 5;

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
    registers: Registers,
    disk: FirmwareDisk,
}

impl VirtioBlock {
    /// A device at power-on.
    pub fn new(disk: FirmwareDisk) -> Self {
        VirtioBlock {
            registers: Registers::new(0x1001, 2, [0x01, 0x00, 0x00], 1),
            disk,
        }
    }

    /// The registers that all devices have.
    pub fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }

    /// Reads a register.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let Some(offset) = offset.checked_sub(DEVICE_OFFSET) else {
            return self.registers.read(offset, size, self.disk.features());
        };
        let capacity = self.disk.disk.size_sectors();
        match (offset, size) {
            (0, 4) => capacity as u32,
            (4, 4) => (capacity >> 32) as u32,
            (20, 4) => self.disk.sector_bytes,
            _ => 0,
        }
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u16, size: u8, value: u32, memory: &dyn GuestMemory) {
        let features = self.disk.features();
        if self.registers.write(offset, size, value, features) == Some(0) {
            // Memory that is none: the driver gets no answer, as from hardware that reaches nothing.
            let _ = self.serve(memory);
        }
    }

    /// Serves what the driver made available.
    fn serve(&mut self, memory: &dyn GuestMemory) -> Result<(), OutsideMemory> {
        for _ in 0..self.registers.queue(0).waiting(memory)? {
            let chain = self.registers.queue(0).take(memory)?;
            let written = self.request(&chain, memory)?;
            self.registers.queue(0).end(&chain, written, memory)?;
        }
        Ok(())
    }

    /// Carries out a request. Answers how many bytes it wrote.
    fn request(&mut self, chain: &Chain, memory: &dyn GuestMemory) -> Result<u32, OutsideMemory> {
        let [header, data @ .., status] = chain.descriptors.as_slice() else {
            return Ok(0);
        };
        if header.length < REQUEST_HEADER_BYTES || !status.is_writable() {
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
                    let to_memory = piece.is_writable();
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

#[cfg(test)]
#[path = "virtio_block/tests.rs"]
mod tests;
