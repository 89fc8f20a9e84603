//! One cable: two positions for drives, the task file, programmed I/O.
//!
//! Source: ATA/ATAPI-7 (T13/1532D) volumes 1 and 2.

mod command;
mod packet;

use super::bus_master::Outcome;
use super::disk::{Disk, Geometry, SECTOR_BYTES};
use super::drive::Device;
use packet::Packet;

const STATUS_BUSY: u8 = 0x80;
const STATUS_READY: u8 = 0x40;
const STATUS_SEEK_COMPLETE: u8 = 0x10;
const STATUS_DATA_REQUEST: u8 = 0x08;
const STATUS_ERROR: u8 = 0x01;
const IDLE: u8 = STATUS_READY | STATUS_SEEK_COMPLETE;

const ERROR_UNCORRECTABLE: u8 = 0x40;
const ERROR_NOT_FOUND: u8 = 0x10;
const ERROR_ABORTED: u8 = 0x04;
/// Diagnostic code in the error register: device passed.
const DIAGNOSTIC_PASSED: u8 = 0x01;

const DEVICE_LBA: u8 = 0x40;
const DEVICE_SLAVE: u8 = 0x10;
const CONTROL_PREVIOUS: u8 = 0x80;
const CONTROL_RESET: u8 = 0x04;
const CONTROL_NO_INTERRUPT: u8 = 0x02;

/// A cable without a disk: the pull-down of bit 7 says "not busy".
const FLOATING: u8 = 0x7f;

/// A transfer that waits for the bus master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dma {
    /// From memory to disk.
    pub write: bool,
    /// First sector.
    pub lba: u64,
    /// Number of sectors.
    pub count: u32,
}

/// Registers that software writes, each with the value before for 48-bit commands.
#[derive(Clone, Copy, Debug, Default)]
struct TaskFile {
    features: [u8; 2],
    count: [u8; 2],
    lba: [[u8; 3]; 2],
}

impl TaskFile {
    /// Writes register 1 to 5.
    fn write(&mut self, register: u8, value: u8) {
        let push = |pair: &mut [u8; 2]| *pair = [value, pair[0]];
        match register {
            1 => push(&mut self.features),
            2 => push(&mut self.count),
            _ => {
                let i = usize::from(register.saturating_sub(3)).min(2);
                self.lba[1][i] = self.lba[0][i];
                self.lba[0][i] = value;
            }
        }
    }
}

/// Sectors that move through the data register.
#[derive(Clone, Copy, Debug)]
struct Pio {
    write: bool,
    lba: u64,
    /// Sectors after those in the buffer.
    left: u32,
    /// Sectors per interrupt.
    block: u32,
}

/// The channel. Registers are written in both devices at once and read from the selected one.
#[derive(Default)]
pub struct Channel {
    devices: [Option<Device>; 2],
    tasks: [TaskFile; 2],
    device: u8,
    control: u8,
    status: [u8; 2],
    error: [u8; 2],
    interrupt: bool,
    edge: bool,
    pio: Option<Pio>,
    buffer: Vec<u8>,
    position: usize,
    dma: Option<Dma>,
    packet: Option<Packet>,
}

impl Channel {
    /// Plugs a drive into position 0 or 1.
    pub fn set_device(&mut self, unit: usize, device: Option<Device>) {
        self.devices[unit & 1] = device;
    }

    /// The drive in position 0 or 1.
    pub fn device(&mut self, unit: usize) -> Option<&mut Device> {
        self.devices[unit & 1].as_mut()
    }

    /// Its registers, for people.
    pub fn inspect(&self) -> String {
        format!(
            "device {:#04x} status {:02x?} error {:02x?} interrupt {} transfer {}",
            self.device,
            self.status,
            self.error,
            self.interrupt,
            self.pio.is_some() || self.dma.is_some()
        )
    }

    fn unit(&self) -> usize {
        usize::from(self.device & DEVICE_SLAVE != 0)
    }

    /// The disk that commands go to, if it is one.
    pub fn selected_disk(&mut self) -> Option<&mut Disk> {
        match self.device(self.unit()) {
            Some(Device::Disk(disk)) => Some(disk),
            Some(Device::Dvd(_)) | None => None,
        }
    }

    /// Registers of the selected device.
    fn task(&mut self) -> &mut TaskFile {
        let unit = self.unit();
        &mut self.tasks[unit]
    }

    fn empty(&self) -> bool {
        self.devices.iter().all(Option::is_none)
    }

    /// Power-on or hardware reset.
    pub fn reset(&mut self) {
        for device in self.devices.iter_mut().flatten() {
            match device {
                Device::Disk(disk) => disk.geometry = Geometry::default_for(disk.size_sectors),
                Device::Dvd(drive) => drive.reset(),
            }
        }
        self.control = 0;
        self.device = 0;
        self.interrupt = false;
        self.edge = false;
        self.end_transfer();
        self.sign();
    }

    /// Signatures, and the result of diagnostics.
    fn sign(&mut self) {
        self.device &= DEVICE_SLAVE;
        for unit in 0..2 {
            self.sign_unit(unit);
            self.error[unit] = DIAGNOSTIC_PASSED;
        }
    }

    /// The signature by which software tells what a device is (ATA/ATAPI-7 volume 1 §5.15).
    fn sign_unit(&mut self, unit: usize) {
        let (status, cylinder) = match self.devices[unit] {
            Some(Device::Disk(_)) => (IDLE, [0, 0]),
            // Not ready until its first command.
            Some(Device::Dvd(_)) => (0, [0x14, 0xeb]),
            None => (0, [0, 0]),
        };
        self.status[unit] = status;
        self.tasks[unit] = TaskFile {
            count: [1, 0],
            lba: [[1, cylinder[0], cylinder[1]], [0; 3]],
            ..TaskFile::default()
        };
    }

    fn end_transfer(&mut self) {
        self.pio = None;
        self.dma = None;
        self.packet = None;
        self.buffer.clear();
        self.position = 0;
    }

    /// The interrupt line.
    pub fn interrupt(&self) -> bool {
        self.interrupt && self.control & CONTROL_NO_INTERRUPT == 0
    }

    /// Whether the line has risen since the last time this was asked.
    pub fn take_edge(&mut self) -> bool {
        std::mem::take(&mut self.edge)
    }

    fn raise(&mut self) {
        self.interrupt = true;
        self.edge = true;
    }

    /// Status without its side effect.
    pub fn alternate_status(&self) -> u8 {
        if self.empty() {
            FLOATING
        } else {
            self.status[self.unit()]
        }
    }

    /// Reads command block register 1 to 7.
    pub fn read(&mut self, register: u8) -> u8 {
        if self.empty() {
            return FLOATING;
        }
        let age = usize::from(self.control & CONTROL_PREVIOUS != 0);
        match register {
            1 => self.error[self.unit()],
            2 => self.task().count[age],
            3..=5 => self.task().lba[age][usize::from(register - 3)],
            6 => self.device | 0xa0,
            _ => {
                self.interrupt = false;
                self.status[self.unit()]
            }
        }
    }

    /// Writes command block register 1 to 7.
    pub fn write(&mut self, register: u8, value: u8) {
        if self.empty() {
            return;
        }
        self.control &= !CONTROL_PREVIOUS;
        match register {
            6 => self.device = value,
            7 => self.command(value),
            _ => self
                .tasks
                .iter_mut()
                .for_each(|task| task.write(register, value)),
        }
    }

    /// Writes the device control register.
    pub fn write_control(&mut self, value: u8) {
        let was_reset = self.control & CONTROL_RESET != 0;
        self.control = value;
        if value & CONTROL_RESET != 0 {
            self.end_transfer();
            self.interrupt = false;
            self.status = [STATUS_BUSY; 2];
        } else if was_reset {
            self.device = 0;
            self.sign();
        }
    }

    /// How many of `most` bytes the data register takes or gives, in words of `size`, before something happens.
    pub fn words_in_block(&self, size: usize, most: usize) -> usize {
        let left = match &self.packet {
            // Of packets' data and commands one word at a time.
            Some(_) => size,
            None => self.buffer.len() - self.position,
        };
        // A word that reaches beyond a block's end is one of its own.
        (left / size * size).max(size).min(most)
    }

    /// Reads the data register into `word`, or into words of the same block. Answers whether the transfer moved on to a new block
    /// or its end, that is, whether the interrupt may have changed.
    pub fn read_data(&mut self, word: &mut [u8]) -> bool {
        if self.packet.is_some() {
            return self.read_packet_data(word);
        }
        let reading = self.pio.is_some_and(|pio| !pio.write);
        if !reading {
            word.fill(0xff);
            return false;
        }
        let end = (self.position + word.len()).min(self.buffer.len());
        let bytes = &self.buffer[self.position..end];
        word[..bytes.len()].copy_from_slice(bytes);
        self.position = end;
        let drained = end == self.buffer.len();
        if drained {
            self.fill();
        }
        drained
    }

    /// Writes `word`, or words of the same block, to the data register.
    pub fn write_data(&mut self, word: &[u8]) {
        if self.packet.is_some() {
            return self.write_packet_data(word);
        }
        if !self.pio.is_some_and(|pio| pio.write) {
            return;
        }
        let end = (self.position + word.len()).min(self.buffer.len());
        let length = end - self.position;
        self.buffer[self.position..end].copy_from_slice(&word[..length]);
        self.position = end;
        if end == self.buffer.len() {
            self.drain();
        }
    }

    /// Fetches the next block of a read, or ends it.
    fn fill(&mut self) {
        let unit = self.unit();
        if self.pio.is_some_and(|pio| pio.left == 0) {
            self.end_transfer();
            self.status[unit] = IDLE;
            return;
        }
        let (Some(pio), Some(Device::Disk(disk))) =
            (self.pio.as_mut(), self.devices[unit].as_mut())
        else {
            return;
        };
        let sectors = pio.left.min(pio.block);
        self.buffer.resize(sectors as usize * SECTOR_BYTES, 0);
        self.position = 0;
        let lba = pio.lba;
        pio.lba += u64::from(sectors);
        pio.left -= sectors;
        if disk.backend.read(lba, &mut self.buffer).is_err() {
            self.fail(ERROR_UNCORRECTABLE, Some(lba));
        } else {
            self.status[unit] = IDLE | STATUS_DATA_REQUEST;
            self.raise();
        }
    }

    /// Opens the buffer for the next block of a write.
    fn open(&mut self) {
        let unit = self.unit();
        if let Some(pio) = self.pio.as_mut() {
            let sectors = pio.left.min(pio.block);
            self.buffer.resize(sectors as usize * SECTOR_BYTES, 0);
            self.position = 0;
            self.status[unit] = IDLE | STATUS_DATA_REQUEST;
        }
    }

    /// Stores a block of a write that is complete.
    fn drain(&mut self) {
        let unit = self.unit();
        let (Some(pio), Some(Device::Disk(disk))) =
            (self.pio.as_mut(), self.devices[unit].as_mut())
        else {
            return;
        };
        let sectors = (self.buffer.len() / SECTOR_BYTES) as u32;
        let lba = pio.lba;
        pio.lba += u64::from(sectors);
        pio.left = pio.left.saturating_sub(sectors);
        let left = pio.left;
        if disk.write(lba, &self.buffer).is_err() {
            self.fail(ERROR_UNCORRECTABLE, Some(lba));
        } else if left > 0 {
            self.open();
            self.raise();
        } else {
            self.end_transfer();
            self.succeed();
        }
    }

    /// The transfer that the bus master is to run.
    pub fn dma(&self) -> Option<Dma> {
        self.dma
    }

    /// The bus master is through.
    pub fn finish_dma(&mut self, outcome: Outcome) {
        match outcome {
            // The disk goes on waiting for data until it is reset.
            Outcome::Short => {}
            Outcome::Done => {
                self.end_transfer();
                self.succeed();
            }
            Outcome::DiskError(lba) => self.fail(ERROR_UNCORRECTABLE, Some(lba)),
            Outcome::MemoryError => self.fail(ERROR_ABORTED, None),
        }
    }

    fn succeed(&mut self) {
        let unit = self.unit();
        self.status[unit] = IDLE;
        self.error[unit] = 0;
        self.raise();
    }

    fn fail(&mut self, error: u8, lba: Option<u64>) {
        let unit = self.unit();
        self.end_transfer();
        self.status[unit] = IDLE | STATUS_ERROR;
        self.error[unit] = error;
        if let Some(lba) = lba {
            let [a, b, c, d, e, f, ..] = lba.to_le_bytes();
            self.task().lba = [[a, b, c], [d, e, f]];
        }
        self.raise();
    }
}
