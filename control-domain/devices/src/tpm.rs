//! A TPM 2.0 behind the command response buffer interface: its registers and buffer. What answers the
//! commands is a [`TpmBackend`].
//!
//! A guest asks for a locality, makes the TPM ready, writes a command into the buffer, sets *start*, and
//! reads the response from the same place when *start* is clear again.
//! Source: TCG PC Client Platform TPM Profile for TPM 2.0, 1.05, §6.5.3 (CRB); section numbers are its.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Guest-physical address of locality 0.
pub const BASE: u64 = 0xfed4_0000;
/// Localities 0 to 4, a page each.
pub const LENGTH: u64 = LOCALITIES * LOCALITY_BYTES;
/// Guest-physical address of the control area, which ACPI's TPM2 table names.
pub const CONTROL_AREA: u64 = BASE + REQUEST;
/// Bytes of the longest command and response.
pub const BUFFER_BYTES: usize = (LOCALITY_BYTES - BUFFER) as usize;

const LOCALITIES: u64 = 5;
const LOCALITY_BYTES: u64 = 0x1000;

// Registers of a locality.
const LOCALITY_STATE: u64 = 0x00;
const LOCALITY_CONTROL: u64 = 0x08;
const LOCALITY_STATUS: u64 = 0x0c;
const INTERFACE_ID: u64 = 0x30;
const REQUEST: u64 = 0x40;
const STATUS: u64 = 0x44;
const CANCEL: u64 = 0x48;
const START: u64 = 0x4c;
const COMMAND_SIZE: u64 = 0x58;
const COMMAND_ADDRESS: u64 = 0x5c;
const RESPONSE_SIZE: u64 = 0x64;
const RESPONSE_ADDRESS: u64 = 0x68;
const BUFFER: u64 = 0x80;

/// LOC_STATE: nothing was measured dynamically; the register is valid.
const NOT_ESTABLISHED: u32 = 1;
const ASSIGNED: u32 = 2;
const VALID: u32 = 0x80;
/// LOC_CTRL.
const REQUEST_ACCESS: u32 = 1;
const RELINQUISH: u32 = 2;
const SEIZE: u32 = 4;
/// LOC_STS.
const GRANTED: u32 = 1;
/// CRB, version 1, five localities, transfers of 64 bytes, CRB alone and chosen (§6.4.2).
const INTERFACE: u64 = 1 | 1 << 4 | 1 << 8 | 3 << 11 | 1 << 14 | 1 << 17 | 1 << 19;
/// CTRL_REQ.
const COMMAND_READY: u32 = 1;
const GO_IDLE: u32 = 2;
/// CTRL_STS.
const IDLE: u32 = 2;

/// Bytes of a command's header: tag, size, code (TPM 2.0 Library Part 1, §18).
const HEADER_BYTES: usize = 10;
/// TPM_RC_COMMAND_SIZE, as the response to a command whose size is impossible.
const WRONG_SIZE: [u8; HEADER_BYTES] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x42];

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// What executes commands.
pub trait TpmBackend: Send {
    /// Takes a command. Its response goes to [`Tpm::respond`] with the same number.
    fn execute(&mut self, number: u64, locality: u8, command: &[u8]);
    /// Ends the command that is under way soon; it is answered.
    fn cancel(&mut self);
}

/// The registers and the buffer.
pub struct Tpm {
    backend: Box<dyn TpmBackend>,
    active: Option<u8>,
    idle: bool,
    /// A command is under way.
    busy: bool,
    /// The number of the last one. None is used twice: a late response to a TPM of before a reset is nobody's.
    number: u64,
    cancelling: bool,
    buffer: Vec<u8>,
}

impl Tpm {
    /// A TPM at power-on.
    pub fn new(backend: Box<dyn TpmBackend>) -> Self {
        Self {
            backend,
            active: None,
            idle: true,
            busy: false,
            number: 0,
            cancelling: false,
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Takes the response to a command.
    pub fn respond(&mut self, number: u64, response: &[u8]) {
        if number != self.number || !self.busy {
            return;
        }
        let length = response.len().min(BUFFER_BYTES);
        self.buffer[..length].copy_from_slice(&response[..length]);
        (self.busy, self.cancelling) = (false, false);
    }

    /// Its registers, for people.
    pub fn inspect(&self) -> String {
        let locality = self
            .active
            .map_or("none".into(), |active| active.to_string());
        let state = match (self.busy, self.idle) {
            (true, _) => "busy",
            (false, true) => "idle",
            (false, false) => "ready",
        };
        format!("locality {locality}, {state}")
    }

    /// A read at an offset from [`BASE`].
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let (locality, first) = split(offset);
        for (at, byte) in (first..).zip(data) {
            *byte = match at.checked_sub(BUFFER) {
                Some(at) if self.active == Some(locality) => {
                    self.buffer.get(at as usize).copied().unwrap_or(0xff)
                }
                // Nobody else's business.
                Some(_) => 0xff,
                None => {
                    let word = self.register(locality, at & !3);
                    word.to_le_bytes()[(at & 3) as usize]
                }
            };
        }
    }

    fn register(&self, locality: u8, at: u64) -> u32 {
        let is_active = self.active == Some(locality);
        let buffer = BASE + u64::from(locality) * LOCALITY_BYTES + BUFFER;
        match at {
            LOCALITY_STATE => {
                let active = self.active;
                let assigned = active.map_or(0, |active| ASSIGNED | u32::from(active) << 2);
                VALID | NOT_ESTABLISHED | assigned
            }
            LOCALITY_STATUS => u32::from(is_active) * GRANTED,
            INTERFACE_ID => INTERFACE as u32,
            0x34 => (INTERFACE >> 32) as u32,
            STATUS => u32::from(self.idle) * IDLE,
            CANCEL => self.cancelling.into(),
            START => self.busy.into(),
            COMMAND_SIZE | RESPONSE_SIZE => BUFFER_BYTES as u32,
            COMMAND_ADDRESS | RESPONSE_ADDRESS => buffer as u32,
            _ => 0,
        }
    }

    /// A write at an offset from [`BASE`].
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let (locality, at) = split(offset);
        if at >= BUFFER {
            if self.active == Some(locality) && !self.busy && !self.idle {
                let cells = self.buffer.iter_mut().skip((at - BUFFER) as usize);
                cells.zip(data).for_each(|(cell, byte)| *cell = *byte);
            }
            return;
        }
        let mut word = [0; 4];
        word.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        let value = u32::from_le_bytes(word);
        if at == LOCALITY_CONTROL {
            self.control_locality(locality, value);
        } else if self.active == Some(locality) {
            self.control(locality, at, value);
        }
    }

    fn control_locality(&mut self, locality: u8, value: u32) {
        let is_active = self.active == Some(locality);
        if value & RELINQUISH != 0 && is_active && !self.busy {
            self.active = None;
        }
        let seizes = value & SEIZE != 0 && self.active.is_some_and(|active| active < locality);
        if value & REQUEST_ACCESS != 0 && self.active.is_none() || seizes && !self.busy {
            self.active = Some(locality);
        }
    }

    fn control(&mut self, locality: u8, at: u64, value: u32) {
        match at {
            REQUEST if value & COMMAND_READY != 0 && !self.busy => self.idle = false,
            REQUEST if value & GO_IDLE != 0 && !self.busy => self.idle = true,
            CANCEL if value == 1 && self.busy && !self.cancelling => {
                self.cancelling = true;
                self.backend.cancel();
            }
            START if value == 1 && !self.busy && !self.idle => self.start(locality),
            _ => {}
        }
    }

    fn start(&mut self, locality: u8) {
        self.number = NEXT_NUMBER.fetch_add(1, Relaxed);
        let size = self.buffer.iter().skip(2).take(4);
        let size = size.fold(0, |size, byte| size << 8 | usize::from(*byte));
        match self.buffer.get(..size) {
            Some(command) if size >= HEADER_BYTES => {
                self.busy = true;
                self.backend.execute(self.number, locality, command);
            }
            _ => self.buffer[..HEADER_BYTES].copy_from_slice(&WRONG_SIZE),
        }
    }
}

/// The offset from [`BASE`] of a guest-physical address in there.
pub fn offset(gpa: u64) -> Option<u64> {
    gpa.checked_sub(BASE).filter(|offset| *offset < LENGTH)
}

/// The locality, and the offset in its page.
fn split(offset: u64) -> (u8, u64) {
    let locality = (offset / LOCALITY_BYTES).min(LOCALITIES - 1);
    (locality as u8, offset % LOCALITY_BYTES)
}

#[cfg(test)]
mod tests;
