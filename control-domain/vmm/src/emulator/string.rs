//! String instructions, whole runs of them at once.

use super::arithmetic::{ARITHMETIC, DF, ZF, mask, subtract};
use super::{Bus, EmulationError, Emulator, MOST_ELEMENTS, Transfer};
use iced_x86::{Mnemonic as M, OpKind, Register};

/// The index registers and the counter, by the instruction's address size.
#[derive(Clone, Copy)]
struct Indices {
    source: Register,
    destination: Register,
    counter: Register,
}

impl<B: Bus> Emulator<'_, B> {
    fn indices(&self) -> Indices {
        let kind = |n: u32| (n < self.instruction.op_count()).then(|| self.instruction.op_kind(n));
        let [a, b] = [kind(0), kind(1)];
        let is = |k: OpKind| a == Some(k) || b == Some(k);
        if is(OpKind::MemorySegRSI) || is(OpKind::MemoryESRDI) {
            Indices {
                source: Register::RSI,
                destination: Register::RDI,
                counter: Register::RCX,
            }
        } else if is(OpKind::MemorySegESI) || is(OpKind::MemoryESEDI) {
            Indices {
                source: Register::ESI,
                destination: Register::EDI,
                counter: Register::ECX,
            }
        } else {
            Indices {
                source: Register::SI,
                destination: Register::DI,
                counter: Register::CX,
            }
        }
    }

    fn advance(&mut self, register: Register, size: usize) {
        let value = self.register(register).unwrap_or(0);
        let step = size as u64;
        let next = if self.registers.rflags & DF != 0 {
            value.wrapping_sub(step)
        } else {
            value.wrapping_add(step)
        };
        self.set_register(register, next & mask(register.size()));
    }

    /// Calls `element` once, or as often as the prefix says; `element` answers whether a REPE or
    /// REPNE goes on.
    fn repeat(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<bool, EmulationError>,
    ) -> Result<(), EmulationError> {
        let mut element = element;
        let counter = self.indices().counter;
        if !self.instruction.has_rep_prefix() && !self.instruction.has_repne_prefix() {
            element(self)?;
            self.retire();
            return Ok(());
        }
        for _ in 0..MOST_ELEMENTS {
            let left = self.register(counter).unwrap_or(0);
            if left == 0 {
                self.retire();
                return Ok(());
            }
            let goes_on = element(self)?;
            self.set_register(counter, left - 1);
            if !goes_on {
                self.retire();
                return Ok(());
            }
        }
        // Not done: the same instruction again, as after an interrupt.
        Ok(())
    }

    /// Carries out MOVS, STOS, LODS, CMPS or SCAS.
    pub fn execute_string(mut self) -> Result<(), EmulationError> {
        let size = self.size(if self.is_memory(0) { 0 } else { 1 });
        let Indices {
            source,
            destination,
            ..
        } = self.indices();
        let accumulator = [Register::AL, Register::AX, Register::EAX, Register::RAX]
            [(size.trailing_zeros() as usize).min(3)];
        match self.instruction.mnemonic() {
            M::Movsb | M::Movsw | M::Movsd | M::Movsq => self.repeat(|this| {
                let from = this.operand_place(1, false)?;
                let to = this.operand_place(0, true)?;
                let value = this.load(from);
                this.store(to, value);
                this.advance(source, size);
                this.advance(destination, size);
                Ok(true)
            }),
            M::Stosb | M::Stosw | M::Stosd | M::Stosq => self.repeat(|this| {
                let to = this.operand_place(0, true)?;
                let value = this.registers.gpr[0];
                this.store(to, value);
                this.advance(destination, size);
                Ok(true)
            }),
            M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => self.repeat(|this| {
                let from = this.operand_place(1, false)?;
                let value = this.load(from);
                this.set_register(accumulator, value);
                this.advance(source, size);
                Ok(true)
            }),
            M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => self.repeat(|this| {
                let (from, to) = (this.operand_place(0, false)?, this.operand_place(1, false)?);
                let (a, b) = (this.load(from), this.load(to));
                this.advance(source, size);
                this.advance(destination, size);
                Ok(this.compare(a, b, size))
            }),
            M::Scasb | M::Scasw | M::Scasd | M::Scasq => self.repeat(|this| {
                let to = this.operand_place(1, false)?;
                let (a, b) = (this.registers.gpr[0], this.load(to));
                this.advance(destination, size);
                Ok(this.compare(a, b, size))
            }),
            _ => Err(self.unknown()),
        }
    }

    /// Sets the flags of a comparison; answers whether the instruction's prefix goes on.
    fn compare(&mut self, a: u64, b: u64, size: usize) -> bool {
        let (_, flags) = subtract(a, b, false, size);
        self.registers.rflags = self.registers.rflags & !ARITHMETIC | flags;
        (flags & ZF != 0) != self.instruction.has_repne_prefix()
    }

    /// Carries out INS or OUTS.
    pub fn execute_port_string(
        mut self,
        mut port: impl FnMut(&mut B, Transfer),
    ) -> Result<(), EmulationError> {
        let number = self.registers.gpr[2] as u16;
        let Indices {
            source,
            destination,
            ..
        } = self.indices();
        let size = self.instruction.memory_size().size();
        match self.instruction.mnemonic() {
            M::Insb | M::Insw | M::Insd => self.repeat(|this| {
                // Before the port is read: reading may have an effect that can't be undone.
                let to = this.operand_place(0, true)?;
                let mut value = 0;
                port(
                    this.bus,
                    Transfer::In {
                        port: number,
                        size: size as u8,
                        value: &mut value,
                    },
                );
                this.store(to, value.into());
                this.advance(destination, size);
                Ok(true)
            }),
            M::Outsb | M::Outsw | M::Outsd => self.repeat(|this| {
                let from = this.operand_place(1, false)?;
                let value = this.load(from) as u32;
                port(
                    this.bus,
                    Transfer::Out {
                        port: number,
                        size: size as u8,
                        value,
                    },
                );
                this.advance(source, size);
                Ok(true)
            }),
            _ => Err(self.unknown()),
        }
    }
}
