//! String instructions, whole runs of them at once.

use super::access::Place;
use super::arithmetic::{ARITHMETIC, DF, ZF, mask, subtract};
use super::{Bus, EmulationError, Emulator, MOST_ELEMENTS, Transfer};
use iced_x86::{Mnemonic as M, OpKind, Register};

/// Bytes that an INS or OUTS moves at once: a sector.
const RUN_BYTES: usize = 512;

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

    /// How many elements can be moved at once: behind each other, without the index wrapping round.
    fn elements_in_a_row(&self, place: Place, index: Register, size: usize, write: bool) -> usize {
        if self.registers.rflags & DF != 0 {
            return 1;
        }
        let value = self.register(index).unwrap_or(0);
        let before_wrap = ((mask(index.size()) - value) / size as u64).saturating_add(1);
        let in_page = self.run_length(place, write).min(RUN_BYTES / size);
        in_page.min(usize::try_from(before_wrap).unwrap_or(usize::MAX))
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
            counter,
        } = self.indices();
        let size = self.instruction.memory_size().size();
        let (input, operand, index) = match self.instruction.mnemonic() {
            M::Insb | M::Insw | M::Insd => (true, 0, destination),
            M::Outsb | M::Outsw | M::Outsd => (false, 1, source),
            _ => return Err(self.unknown()),
        };
        let repeated = self.instruction.has_rep_prefix() || self.instruction.has_repne_prefix();
        let mut most = MOST_ELEMENTS;
        while most > 0 {
            let left = match repeated {
                true => self.register(counter).unwrap_or(0),
                false => 1,
            };
            if left == 0 {
                self.retire();
                return Ok(());
            }
            // Before the port is read: reading may have an effect that can't be undone.
            let place = self.operand_place(operand, input)?;
            let in_a_row = self.elements_in_a_row(place, index, size, input);
            let count = left.min(most).min(in_a_row as u64);
            let mut data = [0; RUN_BYTES];
            let data = &mut data[..count as usize * size];
            if input {
                port(
                    self.bus,
                    Transfer::In {
                        port: number,
                        size: size as u8,
                        data,
                    },
                );
                self.store_run(place, data);
            } else {
                self.load_run(place, data);
                port(
                    self.bus,
                    Transfer::Out {
                        port: number,
                        size: size as u8,
                        data,
                    },
                );
            }
            self.advance(index, data.len());
            if !repeated {
                self.retire();
                return Ok(());
            }
            self.set_register(counter, left - count);
            most -= count;
        }
        // Not done: the same instruction again, as after an interrupt.
        Ok(())
    }
}
