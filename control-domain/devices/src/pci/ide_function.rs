//! PIIX4 function 1: the configuration of the IDE controller in [`crate::ide`].
//!
//! Source: Intel 82371AB data sheet (290562) §5.

use super::Effects;
use super::config_space::{COMMAND, COMMAND_IO, ConfigSpace};

const BUS_MASTER_BASE: u8 = 0x20;
const TIMING: u8 = 0x40;
const TIMING_DECODE_HIGH: u8 = 0x80;

/// Function 1.
#[derive(Debug)]
pub struct IdeFunction {
    space: ConfigSpace,
}

impl Default for IdeFunction {
    fn default() -> Self {
        // Legacy ports and interrupts, able to master the bus.
        let mut space = ConfigSpace::new(0x8086, 0x7111, [0x01, 0x01, 0x80], 0x01);
        space.allow(COMMAND, &[0x05, 0x00]);
        space.set_u16(0x06, 0x0280);
        space.set(BUS_MASTER_BASE, 1);
        // The data sheet has the upper half read as zero; firmware that sizes windows in 32 bits, as
        // SeaBIOS does, would take that for a window of nearly 4 GiB.
        space.allow(BUS_MASTER_BASE, &[0xf0, 0xff, 0xff, 0xff]);
        // Primary, secondary and slave timing; Ultra DMA control and timing.
        space.allow(TIMING, &[0xff, 0xf3, 0xff, 0xf3, 0xff]);
        space.allow(0x48, &[0x0f, 0, 0x33, 0x33]);
        // The legacy interrupts have no pin and no line of their own.
        space.allow(0x3c, &[0]);
        IdeFunction { space }
    }
}

impl IdeFunction {
    /// The registers.
    pub fn space(&self) -> &ConfigSpace {
        &self.space
    }

    /// A configuration write.
    pub fn write(&mut self, register: u8, size: u8, value: u32) -> Effects {
        self.space.write(register, size, value);
        Effects {
            ports: true,
            ..Effects::NONE
        }
    }

    fn io_enabled(&self) -> bool {
        self.space.get(COMMAND) & COMMAND_IO != 0
    }

    /// Whether the primary and the secondary channel answer at their ports.
    pub fn decodes(&self) -> [bool; 2] {
        [TIMING + 1, TIMING + 3]
            .map(|register| self.io_enabled() && self.space.get(register) & TIMING_DECODE_HIGH != 0)
    }

    /// First of the 16 bus master ports.
    pub fn bus_master_base(&self) -> Option<u16> {
        let base = u16::try_from(self.space.get_u32(BUS_MASTER_BASE) & !0xf).ok()?;
        (self.io_enabled() && base != 0).then_some(base)
    }
}
