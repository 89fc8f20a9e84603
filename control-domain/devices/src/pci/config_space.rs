//! The 256 bytes of one function.

/// Offset of the command register.
pub const COMMAND: u8 = 0x04;
/// Command register: I/O windows are decoded.
pub const COMMAND_IO: u8 = 1;
/// Command register: memory windows are decoded.
pub const COMMAND_MEMORY: u8 = 2;
const STATUS: usize = 0x06;
const INTERRUPT_LINE: u8 = 0x3c;

/// Registers, and which of their bits software may change.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; 256],
    writable: [u8; 256],
    /// Bits that a written 1 clears.
    clearable: [u8; 256],
}

impl ConfigSpace {
    /// A function with a header of type 0: identification, class code (class, subclass, interface)
    /// and revision.
    pub fn new(vendor: u16, device: u16, class: [u8; 3], revision: u8) -> Self {
        let mut space = ConfigSpace {
            bytes: [0; 256],
            writable: [0; 256],
            clearable: [0; 256],
        };
        space.set_u16(0x00, vendor);
        space.set_u16(0x02, device);
        space.bytes[0x08] = revision;
        space.bytes[0x09] = class[2];
        space.bytes[0x0a] = class[1];
        space.bytes[0x0b] = class[0];
        space.allow(COMMAND, &[0x47, 0x01]);
        space.clearable[STATUS + 1] = 0xf9;
        space.allow(INTERRUPT_LINE, &[0xff]);
        space
    }

    /// Lets software change these bits from `register` on.
    pub fn allow(&mut self, register: u8, bits: &[u8]) {
        for (register, bits) in (register..=u8::MAX).zip(bits) {
            self.writable[usize::from(register)] = *bits;
        }
    }

    /// Sets a register regardless of what software may change.
    pub fn set(&mut self, register: u8, value: u8) {
        self.bytes[usize::from(register)] = value;
    }

    /// Sets a 16-bit register regardless of what software may change; `register` is even.
    pub fn set_u16(&mut self, register: u8, value: u16) {
        let register = register & 0xfe;
        let [low, high] = value.to_le_bytes();
        self.bytes[usize::from(register)] = low;
        self.bytes[usize::from(register) + 1] = high;
    }

    /// One byte.
    pub fn get(&self, register: u8) -> u8 {
        self.bytes[usize::from(register)]
    }

    /// 32 bits; `register` is a multiple of 4.
    pub fn get_u32(&self, register: u8) -> u32 {
        self.read(register & 0xfc, 4)
    }

    /// What software reads. Bytes beyond the doubleword of `register` read as 0.
    pub fn read(&self, register: u8, size: u8) -> u32 {
        let last = register | 3;
        (register..=last)
            .take(size.into())
            .enumerate()
            .fold(0, |value, (i, register)| {
                value | u32::from(self.get(register)) << (8 * i)
            })
    }

    /// What software writes, the part of it that it may.
    pub fn write(&mut self, register: u8, size: u8, value: u32) {
        let last = register | 3;
        for (register, new) in (register..=last).take(size.into()).zip(value.to_le_bytes()) {
            let i = usize::from(register);
            let old = self.bytes[i];
            self.bytes[i] =
                (old & !self.writable[i] | new & self.writable[i]) & !(new & self.clearable[i]);
        }
    }
}
