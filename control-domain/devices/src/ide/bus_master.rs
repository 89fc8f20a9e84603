//! One channel of the bus master.

use super::channel::Dma;
use super::disk::{Disk, SECTOR_BYTES};
use crate::bus::GuestMemory;

const START: u8 = 1;
/// Direction: to memory, that is, the disk is read.
const TO_MEMORY: u8 = 8;

const STATUS_ACTIVE: u8 = 1;
const STATUS_ERROR: u8 = 2;
const STATUS_INTERRUPT: u8 = 4;
/// Which drives firmware has set up for DMA; the controller only remembers it.
const STATUS_CAPABLE: u8 = 0x60;

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of a whole table at most: it must not cross a 64 KiB boundary.
const TABLE_BYTES: u64 = 64 << 10;
const END_OF_TABLE: u32 = 1 << 31;

/// How a transfer ended for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was moved.
    Done,
    /// The table was too short: the disk still waits.
    Short,
    /// The disk failed at this sector.
    DiskError(u64),
    /// Memory that the table names is not there.
    MemoryError,
}

/// Its registers.
#[derive(Clone, Debug, Default)]
pub struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
}

impl BusMaster {
    /// Reads the byte at `offset`, 0 to 7.
    pub fn read(&self, offset: u8) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[usize::from(offset & 3)],
            _ => 0,
        }
    }

    /// Writes the byte at `offset`, 0 to 7.
    pub fn write(&mut self, offset: u8, value: u8) {
        match offset {
            0 => {
                let started = value & !self.command & START != 0;
                self.command = value & (START | TO_MEMORY);
                if started {
                    self.status |= STATUS_ACTIVE;
                } else if value & START == 0 {
                    self.status &= !STATUS_ACTIVE;
                }
            }
            2 => {
                let cleared = value & (STATUS_ERROR | STATUS_INTERRUPT);
                self.status = self.status & !STATUS_CAPABLE & !cleared | value & STATUS_CAPABLE;
            }
            4..=7 => {
                let shift = 8 * u32::from(offset & 3);
                self.table = (self.table & !(0xff << shift) | u32::from(value) << shift) & !3;
            }
            _ => {}
        }
    }

    /// Started and not at its end.
    pub fn active(&self) -> bool {
        self.status & STATUS_ACTIVE != 0
    }

    /// The disk raised its interrupt.
    pub fn interrupted(&mut self) {
        self.status |= STATUS_INTERRUPT;
    }

    /// Moves the data of `transfer` between `disk` and the memory that the table names.
    pub fn transfer(
        &mut self,
        transfer: Dma,
        disk: Option<&mut Disk>,
        memory: &dyn GuestMemory,
    ) -> Outcome {
        let Some(disk) = disk else {
            return Outcome::MemoryError;
        };
        // A direction that contradicts the command would move nothing on the wire.
        if transfer.write == (self.command & TO_MEMORY != 0) {
            return Outcome::Short;
        }
        let mut pieces = self.pieces(memory);
        let outcome = move_sectors(transfer, disk, &mut pieces);
        self.end(outcome, &pieces)
    }

    /// Moves `data`, the answer to a PACKET command, to the memory that the table names.
    pub fn give(&mut self, data: &mut [u8], memory: &dyn GuestMemory) -> Outcome {
        if self.command & TO_MEMORY == 0 {
            return Outcome::Short;
        }
        let mut pieces = self.pieces(memory);
        let outcome = match pieces.move_bytes(data, false) {
            Ok(()) => Outcome::Done,
            Err(outcome) => outcome,
        };
        self.end(outcome, &pieces)
    }

    fn pieces<'a>(&self, memory: &'a dyn GuestMemory) -> Pieces<'a> {
        Pieces {
            memory,
            next: self.table.into(),
            base: self.table.into(),
            piece: (0, 0),
            last: false,
        }
    }

    fn end(&mut self, outcome: Outcome, pieces: &Pieces<'_>) -> Outcome {
        match outcome {
            Outcome::Done => {
                // Still active if the table has more to offer.
                if pieces.finished() {
                    self.status &= !STATUS_ACTIVE;
                }
            }
            Outcome::Short | Outcome::DiskError(_) => self.status &= !STATUS_ACTIVE,
            Outcome::MemoryError => {
                self.status &= !STATUS_ACTIVE;
                self.status |= STATUS_ERROR;
            }
        }
        outcome
    }
}

fn move_sectors(transfer: Dma, disk: &mut Disk, pieces: &mut Pieces<'_>) -> Outcome {
    let mut buffer = vec![0; CHUNK_BYTES.min(transfer.count as usize * SECTOR_BYTES)];
    let mut lba = transfer.lba;
    let mut left = u64::from(transfer.count);
    while left > 0 {
        let sectors = left.min((CHUNK_BYTES / SECTOR_BYTES) as u64);
        let chunk = &mut buffer[..sectors as usize * SECTOR_BYTES];
        if !transfer.write && disk.backend.read(lba, chunk).is_err() {
            return Outcome::DiskError(lba);
        }
        if let Err(outcome) = pieces.move_bytes(chunk, transfer.write) {
            return outcome;
        }
        if transfer.write && disk.write(lba, chunk).is_err() {
            return Outcome::DiskError(lba);
        }
        lba += sectors;
        left -= sectors;
    }
    Outcome::Done
}

/// The physical region descriptors, one after the other.
struct Pieces<'a> {
    memory: &'a dyn GuestMemory,
    base: u64,
    next: u64,
    /// Address and length of what is left of the current one.
    piece: (u64, usize),
    last: bool,
}

impl Pieces<'_> {
    /// Moves all of `data`, from memory or to it.
    fn move_bytes(&mut self, data: &mut [u8], from_memory: bool) -> Result<(), Outcome> {
        let mut done = 0;
        while done < data.len() {
            let (gpa, length) = match self.take(data.len() - done) {
                Ok(Some(piece)) => piece,
                Ok(None) => return Err(Outcome::Short),
                Err(()) => return Err(Outcome::MemoryError),
            };
            let part = &mut data[done..done + length];
            let result = if from_memory {
                self.memory.read(gpa, part)
            } else {
                self.memory.write(gpa, part)
            };
            result.map_err(|_| Outcome::MemoryError)?;
            done += length;
        }
        Ok(())
    }

    /// At most `limit` bytes of contiguous memory; `None` at the end of the table.
    fn take(&mut self, limit: usize) -> Result<Option<(u64, usize)>, ()> {
        if self.piece.1 == 0 {
            if self.last || self.next - self.base >= TABLE_BYTES {
                return Ok(None);
            }
            let mut descriptor = [0; 8];
            self.memory
                .read(self.next, &mut descriptor)
                .map_err(|_| ())?;
            self.next += 8;
            let [a, b, c, d, e, f, g, h] = descriptor;
            let count = u32::from_le_bytes([e, f, g, h]);
            self.last = count & END_OF_TABLE != 0;
            let length = match count & 0xfffe {
                0 => 0x1_0000,
                length => length as usize,
            };
            self.piece = (u64::from(u32::from_le_bytes([a, b, c, d]) & !1), length);
        }
        let (gpa, left) = self.piece;
        let length = left.min(limit);
        self.piece = (gpa + length as u64, left - length);
        Ok(Some((gpa, length)))
    }

    fn finished(&self) -> bool {
        self.last && self.piece.1 == 0
    }
}
