//! The configuration of a network card, [`crate::dec21140`], as Hyper-V and Virtual PC have it.
//!
//! Source: Digital Semiconductor 21140A Hardware Reference Manual §3.1. Subsystem and revision are what
//! Windows's driver for the emulated card looks for.

use super::Effects;
use super::config_space::{COMMAND, COMMAND_IO, COMMAND_MEMORY, ConfigSpace};
use crate::dec21140::REGISTER_BYTES;

const PORTS: u8 = 0x10;
const WINDOW: u8 = 0x14;
/// Bytes of the window in memory: a whole page, through which the registers repeat.
pub const WINDOW_BYTES: u64 = 0x1000;
const COMMAND_MASTER: u8 = 4;

/// Bus 0, from device 10 on, function 0.
#[derive(Debug)]
pub struct NetworkFunction {
    space: ConfigSpace,
}

impl Default for NetworkFunction {
    fn default() -> Self {
        let mut space = ConfigSpace::new(0x1011, 0x0009, [0x02, 0x00, 0x00], 0x20);
        space.set_u16(0x06, 0x0280);
        // Size of a cache line, latency timer.
        space.allow(0x0c, &[0xff, 0xff]);
        space.set(PORTS, 1);
        let ports = !u32::from(REGISTER_BYTES - 1);
        space.allow(PORTS, &ports.to_le_bytes());
        let window = !(WINDOW_BYTES as u32 - 1);
        space.allow(WINDOW, &window.to_le_bytes());
        space.set_u16(0x2c, 0x0a00);
        space.set_u16(0x2e, 0x2114);
        // Pin A, and how often it wants the bus for how long.
        space.set(0x3d, 1);
        space.set(0x3e, 0x14);
        space.set(0x3f, 0x28);
        // For the driver's own use; sleep and snooze change nothing.
        space.allow(0x40, &[0, 0xff, 0, 0xc0]);
        NetworkFunction { space }
    }
}

impl NetworkFunction {
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

    fn enabled(&self, bit: u8) -> bool {
        self.space.get(COMMAND) & bit != 0
    }

    /// First port of the registers.
    pub fn ports(&self) -> Option<u16> {
        let base = u16::try_from(self.space.get_u32(PORTS) & !0x7f).ok()?;
        (self.enabled(COMMAND_IO) && base != 0).then_some(base)
    }

    /// Where the registers are in memory.
    pub fn window(&self) -> Option<u64> {
        let base = u64::from(self.space.get_u32(WINDOW) & !0xf);
        (self.enabled(COMMAND_MEMORY) && base != 0).then_some(base)
    }

    /// Whether the card may reach memory.
    pub fn masters(&self) -> bool {
        self.enabled(COMMAND_MASTER)
    }
}
