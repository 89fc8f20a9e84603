//! The flash memory in which UEFI firmware keeps its variables: one byte wide, blocks of 4 KiB, the
//! Intel command set.
//!
//! While the array is readable, it is mapped into the guest and only writes come here. A command opens
//! another mode, in which the mapping is taken away ([`Flash::is_mapped`]) and reads come here too.
//!
//! What is durable when: a run of programmed bytes as soon as another command follows it, which the
//! firmware's "read array" after each piece does, and an erased block at once. In this order, so that a
//! power cut leaves what it would leave in a flash chip: everything up to some piece, and of that piece any
//! part. The firmware's variable store is made for that.
//!
//! Source: Intel 28F640J3 data sheet (290667) §10. One thing is not as there: the ready bit is clear between
//! "clear status" and the next operation, by which stock OVMF knows a flash from memory
//! (`OvmfPkg/QemuFlashFvbServicesRuntimeDxe`), since QEMU's does so.

/// Bytes of a block that is erased at once.
pub const BLOCK_BYTES: u32 = 4096;

/// The bytes of a flash. Mapped into the guest at the same time, read only.
pub trait FlashMemory: Send {
    /// Its size in bytes, whole blocks. Does not change.
    fn size(&self) -> u32;
    /// Fills `data` from `offset` on; both lie within the size.
    fn read(&self, offset: u32, data: &mut [u8]);
    /// Changes the bytes from `offset` on; all lie within the size.
    fn write(&mut self, offset: u32, data: &[u8]);
    /// Returns when everything written so far survives a power cut. `false`: it may not.
    fn flush(&mut self) -> bool;
}

const PROGRAM: u8 = 0x40;
const PROGRAM_ALTERNATE: u8 = 0x10;
const ERASE: u8 = 0x20;
const ERASE_CONFIRM: u8 = 0xd0;
const CLEAR_STATUS: u8 = 0x50;
const READ_STATUS: u8 = 0x70;

const READY: u8 = 0x80;
const ERASE_FAILED: u8 = 0x20;
const PROGRAM_FAILED: u8 = 0x10;
const ERASED: u8 = 0xff;

/// What the next access means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Reads give the array, writes are commands.
    Array,
    /// Reads give the status, writes are commands.
    Status,
    /// The next write is the byte to program.
    Program,
    /// The next write confirms an erasure.
    Erase,
}

/// The chip.
pub struct Flash {
    memory: Box<dyn FlashMemory>,
    mode: Mode,
    status: u8,
    /// Bytes were programmed that may not be durable yet.
    unsaved: bool,
}

impl std::fmt::Debug for Flash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mode, status) = (self.mode, self.status);
        write!(f, "{mode:?}, status {status:#x}, unsaved {}", self.unsaved)
    }
}

impl Flash {
    /// A chip at power-on.
    pub fn new(memory: Box<dyn FlashMemory>) -> Self {
        Flash {
            memory,
            mode: Mode::Array,
            status: READY,
            unsaved: false,
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u32 {
        self.memory.size()
    }

    /// Whether reads give the array.
    pub fn is_mapped(&self) -> bool {
        self.mode == Mode::Array
    }

    /// Reads from `offset` on. Bytes behind the end read as erased.
    pub fn read(&self, offset: u32, data: &mut [u8]) {
        if self.mode != Mode::Array {
            return data.fill(self.status);
        }
        data.fill(ERASED);
        let within = self.size().saturating_sub(offset) as usize;
        let length = data.len().min(within);
        if length > 0 {
            self.memory.read(offset, &mut data[..length]);
        }
    }

    /// Writes from `offset` on: one bus cycle a byte.
    pub fn write(&mut self, offset: u32, data: &[u8]) {
        for (offset, byte) in (offset..self.size()).zip(data) {
            self.cycle(offset, *byte);
        }
    }

    fn cycle(&mut self, offset: u32, value: u8) {
        match self.mode {
            Mode::Program => self.program(offset, value),
            Mode::Erase if value == ERASE_CONFIRM => self.erase(offset),
            Mode::Erase => {
                // An improper command sequence.
                self.status = READY | ERASE_FAILED | PROGRAM_FAILED;
                self.mode = Mode::Status;
            }
            Mode::Array | Mode::Status => self.command(value),
        }
    }

    fn command(&mut self, command: u8) {
        if matches!(command, PROGRAM | PROGRAM_ALTERNATE) {
            self.mode = Mode::Program;
            return;
        }
        self.save();
        self.mode = match command {
            ERASE => Mode::Erase,
            READ_STATUS => Mode::Status,
            CLEAR_STATUS => {
                self.status = 0;
                Mode::Array
            }
            // "Read array", and what this chip does not know.
            _ => Mode::Array,
        };
    }

    /// Programming clears bits; only erasure sets them.
    fn program(&mut self, offset: u32, value: u8) {
        let mut byte = [0];
        self.memory.read(offset, &mut byte);
        if byte[0] & value != byte[0] {
            self.memory.write(offset, &[byte[0] & value]);
            self.unsaved = true;
        }
        self.status |= READY;
        self.mode = Mode::Status;
    }

    fn erase(&mut self, offset: u32) {
        let start = offset / BLOCK_BYTES * BLOCK_BYTES;
        self.memory.write(start, &[ERASED; BLOCK_BYTES as usize]);
        self.status |= READY;
        if !self.memory.flush() {
            self.status |= ERASE_FAILED;
        }
        self.mode = Mode::Status;
    }

    fn save(&mut self) {
        if std::mem::take(&mut self.unsaved) && !self.memory.flush() {
            self.status |= PROGRAM_FAILED;
        }
    }
}

/// A machine that ends in good order keeps what it programmed last.
impl Drop for Flash {
    fn drop(&mut self) {
        self.save();
    }
}

#[cfg(test)]
#[path = "flash/tests.rs"]
mod tests;
