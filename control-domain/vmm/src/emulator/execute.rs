//! What each instruction does.

use super::arithmetic::{ARITHMETIC, CF, add, logic, subtract};
use super::{Bus, EmulationError, Emulator};
use iced_x86::Mnemonic as M;
use iced_x86::Register;

type Done = Result<(), EmulationError>;

impl<B: Bus> Emulator<'_, B> {
    /// Carries the instruction out.
    pub fn execute(mut self) -> Done {
        if self.instruction.is_string_instruction() {
            return self.execute_string();
        }
        match self.instruction.mnemonic() {
            M::Mov | M::Movnti | M::Movzx => self.assign(|value, _| value)?,
            M::Movsx | M::Movsxd => self.assign(sign_extend)?,
            M::Xchg => self.exchange()?,
            M::Add => self.arithmetic(|a, b, _, size| add(a, b, false, size), true)?,
            M::Adc => self.arithmetic(add, true)?,
            M::Sub => self.arithmetic(|a, b, _, size| subtract(a, b, false, size), true)?,
            M::Sbb => self.arithmetic(subtract, true)?,
            M::Cmp => self.arithmetic(|a, b, _, size| subtract(a, b, false, size), false)?,
            M::And => self.arithmetic(|a, b, _, size| (a & b, logic(a & b, size)), true)?,
            M::Or => self.arithmetic(|a, b, _, size| (a | b, logic(a | b, size)), true)?,
            M::Xor => self.arithmetic(|a, b, _, size| (a ^ b, logic(a ^ b, size)), true)?,
            M::Test => self.arithmetic(|a, b, _, size| (a & b, logic(a & b, size)), false)?,
            M::Inc => self.step(|a, size| add(a, 1, false, size))?,
            M::Dec => self.step(|a, size| subtract(a, 1, false, size))?,
            M::Not => self.change(|_, a| Some(!a))?,
            M::Neg => self.negate()?,
            M::Xadd => self.exchange_add()?,
            M::Cmpxchg => self.compare_exchange()?,
            M::Bt => self.bit(None)?,
            M::Bts => self.bit(Some(|value, bit| value | bit))?,
            M::Btr => self.bit(Some(|value, bit| value & !bit))?,
            M::Btc => self.bit(Some(|value, bit| value ^ bit))?,
            // Prefetches and flushes of a line that is no memory.
            M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Clflush
            | M::Clflushopt => {}
            _ => return Err(self.unknown()),
        }
        self.retire();
        Ok(())
    }

    fn set_flags(&mut self, which: u64, flags: u64) {
        self.registers.rflags = self.registers.rflags & !which | flags & which;
    }

    fn assign(&mut self, f: impl FnOnce(u64, usize) -> u64) -> Done {
        let size = self.size(1);
        if self.is_memory(0) {
            let place = self.operand_place(0, true)?;
            let value = self.value(1)?;
            self.store(place, f(value, size));
        } else if self.instruction.op0_register().is_gpr() {
            let value = self.value(1)?;
            self.set_register(self.instruction.op0_register(), f(value, size));
        } else {
            return Err(self.unknown());
        }
        Ok(())
    }

    fn exchange(&mut self) -> Done {
        // One operand is a register, in either place.
        let (memory, register) = if self.is_memory(0) { (0, 1) } else { (1, 0) };
        let register = self.instruction.op_register(register);
        let Some(value) = self.register(register).filter(|_| self.is_memory(memory)) else {
            return Err(self.unknown());
        };
        let place = self.operand_place(memory, true)?;
        let old = self.load(place);
        self.store(place, value);
        self.set_register(register, old);
        Ok(())
    }

    fn arithmetic(
        &mut self,
        f: impl FnOnce(u64, u64, bool, usize) -> (u64, u64),
        write: bool,
    ) -> Done {
        let size = self.size(0);
        let carry = self.registers.rflags & CF != 0;
        // What is only compared need not be writable.
        if !write {
            let a = self.value(0)?;
            let b = self.value(1)?;
            self.set_flags(ARITHMETIC, f(a, b, carry, size).1);
            return Ok(());
        }
        let b = self.value(1)?;
        self.change(|this, a| {
            let (result, flags) = f(a, b, carry, size);
            this.set_flags(ARITHMETIC, flags);
            Some(result)
        })
    }

    /// INC and DEC leave CF alone.
    fn step(&mut self, f: impl FnOnce(u64, usize) -> (u64, u64)) -> Done {
        let size = self.size(0);
        self.change(|this, a| {
            let (result, flags) = f(a, size);
            this.set_flags(ARITHMETIC & !CF, flags);
            Some(result)
        })
    }

    fn negate(&mut self) -> Done {
        let size = self.size(0);
        self.change(|this, a| {
            let (result, flags) = subtract(0, a, false, size);
            this.set_flags(ARITHMETIC, flags);
            Some(result)
        })
    }

    fn exchange_add(&mut self) -> Done {
        let (size, register) = (self.size(0), self.instruction.op1_register());
        let b = self.value(1)?;
        self.change(|this, a| {
            let (result, flags) = add(a, b, false, size);
            this.set_flags(ARITHMETIC, flags);
            this.set_register(register, a);
            Some(result)
        })
    }

    fn compare_exchange(&mut self) -> Done {
        let size = self.size(0);
        let accumulator = match size {
            1 => Register::AL,
            2 => Register::AX,
            4 => Register::EAX,
            _ => Register::RAX,
        };
        let new = self.value(1)?;
        self.change(|this, a| {
            let (difference, flags) =
                subtract(this.register(accumulator).unwrap_or(0), a, false, size);
            this.set_flags(ARITHMETIC, flags);
            if difference == 0 {
                Some(new)
            } else {
                this.set_register(accumulator, a);
                // The processor writes the old value back.
                Some(a)
            }
        })
    }

    fn bit(&mut self, f: Option<fn(u64, u64) -> u64>) -> Done {
        let size = self.size(0);
        if !self.is_memory(0) {
            return Err(self.unknown());
        }
        let index = self.value(1)?;
        let Some(mut address) = self.address(0) else {
            return Err(self.unknown());
        };
        let width = 8 * size as u64;
        if !matches!(self.instruction.op1_kind(), iced_x86::OpKind::Immediate8) {
            // A bit string: the index is signed and reaches beyond the operand.
            let signed = sign_extend(index, size) as i64;
            address = self
                .linear(address.wrapping_add_signed(signed.div_euclid(width as i64) * size as i64));
        }
        let bit = 1 << (index % width);
        let place = self.place(address, size, f.is_some())?;
        let value = self.load(place);
        if let Some(f) = f {
            self.store(place, f(value, bit));
        }
        // OF, SF, AF and PF are undefined, ZF is kept: all stay.
        self.set_flags(CF, if value & bit != 0 { CF } else { 0 });
        Ok(())
    }
}

/// Sign-extends a value of `size` bytes to 64 bits.
pub fn sign_extend(value: u64, size: usize) -> u64 {
    let shift = 64 - 8 * size.clamp(1, 8) as u32;
    ((value << shift) as i64 >> shift) as u64
}
