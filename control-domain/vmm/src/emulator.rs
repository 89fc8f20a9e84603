//! The instruction behind an access to memory that is not there: decoded by `iced-x86`, executed on
//! the registers that the exit showed, with its memory operands on a [`Bus`].
//!
//! What is absent: instructions that a guest uses on device memory only in theory (vector moves,
//! shifts, far jumps). They end the guest with their bytes and their address in the message.
//!
//! A string instruction is carried out for as many elements as are left, at most
//! [`MOST_ELEMENTS`]; the registers then say where it goes on, as after an interrupt.

mod access;
mod arithmetic;
mod execute;
mod operands;
mod string;

#[cfg(test)]
mod tests;

use guest_memory::{Fault, Paging};
use hypervisor_abi::Registers;
use iced_x86::{Decoder, DecoderOptions, Instruction};

/// Elements of a string instruction carried out at once, so that a stop is never far.
pub const MOST_ELEMENTS: u64 = 1 << 16;

/// Guest-physical memory: RAM, ROM and devices alike.
pub trait Bus {
    /// Reads bytes that don't cross a page: at most 8 where [`is_memory`](Self::is_memory) says no.
    fn read(&mut self, gpa: u64, data: &mut [u8]);
    /// Writes as many.
    fn write(&mut self, gpa: u64, data: &[u8]);
    /// Whether there is plain memory that may be read, or written.
    fn is_memory(&self, gpa: u64, write: bool) -> bool;
    /// Reads memory that is not a device: instructions and page tables. Answers whether it is.
    fn read_memory(&self, gpa: u64, data: &mut [u8]) -> bool;
}

/// Why an instruction was not carried out. No register was changed, but for the elements of a
/// string instruction that came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmulationError {
    /// The guest's own page tables refuse an operand: the guest gets a page fault.
    PageFault(Fault),
    /// The instruction can't be read: it is not in memory, or not mapped.
    Fetch {
        /// Its linear address.
        linear: u64,
    },
    /// The instruction is none that this emulator knows.
    Unknown {
        /// Its linear address.
        linear: u64,
        /// Its bytes, as far as they are known.
        bytes: Vec<u8>,
    },
}

impl core::fmt::Display for EmulationError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::PageFault(fault) => {
                write!(
                    f,
                    "page fault at {:#x}, error code {:#x}",
                    fault.address, fault.error_code
                )
            }
            Self::Fetch { linear } => write!(f, "no instruction can be read at {linear:#x}"),
            Self::Unknown { linear, bytes } => {
                let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(
                    f,
                    "instruction {} at {linear:#x} is not supported on device memory",
                    bytes.join(" ")
                )
            }
        }
    }
}

impl std::error::Error for EmulationError {}

impl From<Fault> for EmulationError {
    fn from(fault: Fault) -> Self {
        Self::PageFault(fault)
    }
}

/// One instruction, with the registers and the memory that it works on.
pub struct Emulator<'a, B> {
    registers: &'a mut Registers,
    bus: &'a mut B,
    paging: Paging,
    user: bool,
    instruction: Instruction,
    /// The page translated last, for reads and for writes: string instructions stay in it.
    last_page: [Option<(u64, u64)>; 2],
}

impl<'a, B: Bus> Emulator<'a, B> {
    /// Fetches and decodes the instruction at the registers' RIP.
    ///
    /// # Errors
    /// If it can't be read, or is no instruction.
    pub fn fetch(registers: &'a mut Registers, bus: &'a mut B) -> Result<Self, EmulationError> {
        let paging = Paging {
            cr0: registers.cr0,
            cr3: registers.cr3,
            cr4: registers.cr4,
            efer: registers.efer,
        };
        let user = registers.ss.attributes >> 5 & 3 == 3;
        let (bits, base) = match (paging.long_mode(), registers.cs.attributes >> 9 & 3) {
            (true, 1 | 3) => (64, 0),
            (_, 2 | 3) => (32, registers.cs.base),
            _ => (16, registers.cs.base),
        };
        let mut this = Self {
            registers,
            bus,
            paging,
            user,
            instruction: Instruction::default(),
            last_page: [None; 2],
        };
        let linear = this.linear(base.wrapping_add(this.registers.rip));
        let mut bytes = [0; 15];
        let available = this.fetch_bytes(linear, &mut bytes);
        if available == 0 {
            return Err(EmulationError::Fetch { linear });
        }
        let bytes = &bytes[..available];
        let mut decoder = Decoder::with_ip(bits, bytes, this.registers.rip, DecoderOptions::NONE);
        this.instruction = decoder.decode();
        if this.instruction.is_invalid() {
            return Err(EmulationError::Unknown {
                linear,
                bytes: bytes.to_vec(),
            });
        }
        Ok(this)
    }

    fn unknown(&mut self) -> EmulationError {
        let linear = self.linear(self.code_base().wrapping_add(self.registers.rip));
        let mut bytes = [0; 15];
        let available = self
            .fetch_bytes(linear, &mut bytes)
            .min(self.instruction.len());
        EmulationError::Unknown {
            linear,
            bytes: bytes[..available].to_vec(),
        }
    }

    fn code_base(&self) -> u64 {
        if self.instruction.code_size() == iced_x86::CodeSize::Code64 {
            0
        } else {
            self.registers.cs.base
        }
    }

    /// Steps behind the instruction.
    fn retire(&mut self) {
        self.registers.rip = match self.instruction.code_size() {
            iced_x86::CodeSize::Code64 => self.instruction.next_ip(),
            iced_x86::CodeSize::Code16 => u64::from(self.instruction.next_ip16()),
            _ => u64::from(self.instruction.next_ip32()),
        };
        self.registers.interrupt_shadow = 0;
    }
}

/// Carries out the instruction at the registers' RIP, or as many of its elements as it may.
///
/// # Errors
/// See [`EmulationError`].
pub fn emulate<B: Bus>(registers: &mut Registers, bus: &mut B) -> Result<(), EmulationError> {
    Emulator::fetch(registers, bus)?.execute()
}

/// Carries out an `INS` or `OUTS` for as many elements as it may; `port` makes the transfers.
///
/// # Errors
/// See [`EmulationError`].
pub fn emulate_port_string<B: Bus>(
    registers: &mut Registers,
    bus: &mut B,
    port: impl FnMut(&mut B, Transfer),
) -> Result<(), EmulationError> {
    Emulator::fetch(registers, bus)?.execute_port_string(port)
}

/// Elements of an `INS` or `OUTS`, one after the other.
#[derive(Debug)]
pub enum Transfer<'v> {
    /// They go to the port.
    Out {
        /// The port.
        port: u16,
        /// Bytes of an element.
        size: u8,
        /// What is written.
        data: &'v [u8],
    },
    /// They come from the port.
    In {
        /// The port.
        port: u16,
        /// Bytes of an element.
        size: u8,
        /// Where what is read goes.
        data: &'v mut [u8],
    },
}
