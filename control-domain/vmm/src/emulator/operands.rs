//! Registers and operands as an instruction names them.

use super::access::Place;
use super::arithmetic::mask;
use super::{Bus, EmulationError, Emulator};
use hypervisor_abi::Segment;
use iced_x86::{OpKind, Register};

impl<B: Bus> Emulator<'_, B> {
    fn segment(&self, register: Register) -> Option<&Segment> {
        Some(match register {
            Register::ES => &self.registers.es,
            Register::CS => &self.registers.cs,
            Register::SS => &self.registers.ss,
            Register::DS => &self.registers.ds,
            Register::FS => &self.registers.fs,
            Register::GS => &self.registers.gs,
            _ => return None,
        })
    }

    /// Value of a register: the selector of a segment register. None for others than these two kinds.
    pub fn register(&self, register: Register) -> Option<u64> {
        if let Some(segment) = self.segment(register) {
            return Some(segment.selector.into());
        }
        if !register.is_gpr() {
            return None;
        }
        let full = self.registers.gpr[register.full_register().number()];
        let shift = if is_high_byte(register) { 8 } else { 0 };
        Some(full >> shift & mask(register.size()))
    }

    /// Changes a general register; a 32-bit value clears the upper half.
    pub fn set_register(&mut self, register: Register, value: u64) {
        if !register.is_gpr() {
            return;
        }
        let full = &mut self.registers.gpr[register.full_register().number()];
        let size = register.size();
        *full = match size {
            8 => value,
            4 => value & mask(4),
            _ if is_high_byte(register) => *full & !0xff00 | (value & 0xff) << 8,
            _ => *full & !mask(size) | value & mask(size),
        };
    }

    /// Whether operand `n` lies in memory.
    pub fn is_memory(&self, n: u32) -> bool {
        !matches!(
            self.instruction.op_kind(n),
            OpKind::Register
                | OpKind::Immediate8
                | OpKind::Immediate8_2nd
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to16
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64
        )
    }

    /// Size of operand `n` in bytes.
    pub fn size(&self, n: u32) -> usize {
        match self.instruction.op_kind(n) {
            OpKind::Register => self.instruction.op_register(n).size(),
            _ => self.instruction.memory_size().size(),
        }
    }

    /// Linear address of operand `n`.
    pub fn address(&self, n: u32) -> Option<u64> {
        let long = self.instruction.code_size() == iced_x86::CodeSize::Code64;
        let address = self.instruction.virtual_address(n, 0, |register, _, _| {
            match self.segment(register) {
                Some(_) if long && !matches!(register, Register::FS | Register::GS) => Some(0),
                Some(segment) => Some(segment.base),
                None => self.register(register),
            }
        })?;
        Some(self.linear(address))
    }

    /// Translates memory operand `n`.
    pub fn operand_place(&mut self, n: u32, write: bool) -> Result<Place, EmulationError> {
        let size = self.size(n);
        let Some(address) = self.address(n).filter(|_| (1..=8).contains(&size)) else {
            return Err(self.unknown());
        };
        Ok(self.place(address, size, write)?)
    }

    /// Value of operand `n`, whatever it is.
    pub fn value(&mut self, n: u32) -> Result<u64, EmulationError> {
        match self.instruction.op_kind(n) {
            OpKind::Register => match self.register(self.instruction.op_register(n)) {
                Some(value) => Ok(value),
                None => Err(self.unknown()),
            },
            _ if self.is_memory(n) => {
                let place = self.operand_place(n, false)?;
                Ok(self.load(place))
            }
            _ => match self.instruction.try_immediate(n) {
                Ok(value) => Ok(value),
                Err(_) => Err(self.unknown()),
            },
        }
    }

    /// Changes operand 0 by `f`, which gets its value and answers the new one, or nothing if the
    /// operand is only compared.
    pub fn change(
        &mut self,
        f: impl FnOnce(&mut Self, u64) -> Option<u64>,
    ) -> Result<(), EmulationError> {
        if self.is_memory(0) {
            let place = self.operand_place(0, true)?;
            let old = self.load(place);
            if let Some(new) = f(self, old) {
                self.store(place, new);
            }
        } else {
            let register = self.instruction.op0_register();
            let Some(old) = self.register(register) else {
                return Err(self.unknown());
            };
            if let Some(new) = f(self, old) {
                self.set_register(register, new);
            }
        }
        Ok(())
    }
}

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    )
}
