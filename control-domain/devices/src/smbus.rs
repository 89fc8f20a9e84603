//! The SMBus host controller of the PIIX4, with nothing on its wires.
//!
//! Source: Intel 82371AB data sheet (290562) §7.3.

/// Number of ports.
pub const PORTS: u16 = 16;

const STATUS: u16 = 0;
const CONTROL: u16 = 2;
const CONTROL_START: u8 = 0x40;
const STATUS_INTERRUPT: u8 = 0x02;
const STATUS_DEVICE_ERROR: u8 = 0x04;
const STATUS_EVENTS: u8 = 0x1e;

/// The controller.
#[derive(Debug, Default)]
pub struct SmBus {
    registers: [u8; PORTS as usize],
}

impl SmBus {
    /// Reads the byte at `offset`.
    pub fn read(&self, offset: u16) -> u8 {
        self.registers
            .get(usize::from(offset))
            .copied()
            .unwrap_or(0)
    }

    /// Writes the byte at `offset`. A transaction ends at once: no device acknowledges its address.
    pub fn write(&mut self, offset: u16, value: u8) {
        let status = &mut self.registers[usize::from(STATUS)];
        match offset {
            STATUS => *status &= !(value & STATUS_EVENTS),
            CONTROL => {
                if value & CONTROL_START != 0 {
                    *status |= STATUS_INTERRUPT | STATUS_DEVICE_ERROR;
                }
                self.registers[usize::from(CONTROL)] = value & !CONTROL_START;
            }
            _ => {
                if let Some(register) = self.registers.get_mut(usize::from(offset)) {
                    *register = value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_answers() {
        let mut bus = SmBus::default();
        bus.write(4, 0xa1);
        bus.write(CONTROL, 0x48);
        assert_eq!(bus.read(STATUS), 0x06);
        assert_eq!(bus.read(CONTROL), 0x08, "the start bit reads as 0");
        bus.write(STATUS, 0xff);
        assert_eq!(bus.read(STATUS), 0);
    }
}
