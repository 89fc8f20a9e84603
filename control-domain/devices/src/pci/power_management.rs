//! PIIX4 function 3: the configuration of the power management block in [`crate::acpi_pm`] and of
//! the SMBus in [`crate::smbus`].
//!
//! Source: Intel 82371AB data sheet (290562) §7.1.

use super::Effects;
use super::config_space::{COMMAND, COMMAND_IO, ConfigSpace};

const BASE: u8 = 0x40;
const DEVICE_ACTIVITY_B: u8 = 0x58;
const MISCELLANEOUS: u8 = 0x80;
const SMBUS_BASE: u8 = 0x90;
const SMBUS_CONFIGURATION: u8 = 0xd2;

/// Function 3.
#[derive(Debug)]
pub struct PowerManagement {
    space: ConfigSpace,
}

impl Default for PowerManagement {
    fn default() -> Self {
        let mut space = ConfigSpace::new(0x8086, 0x7113, [0x06, 0x80, 0x00], 0x03);
        space.allow(COMMAND, &[0x01, 0x00]);
        space.set_u16(0x06, 0x0280);
        space.set(0x3d, 0x01);
        space.set(BASE, 0x01);
        space.allow(BASE, &[0xc0, 0xff]);
        // Timers, general purpose inputs, device resources and activity.
        space.allow(0x44, &[0xff; 0x7c - 0x44]);
        // The system management interrupt on writes to port B2h is on already: firmware takes it as
        // a sign that system management mode is set up. There is none here.
        space.set(DEVICE_ACTIVITY_B + 3, 0x02);
        space.allow(DEVICE_ACTIVITY_B + 3, &[0xfd]);
        space.allow(MISCELLANEOUS, &[0x01]);
        space.set(SMBUS_BASE, 0x01);
        space.allow(SMBUS_BASE, &[0xf0, 0xff]);
        space.allow(SMBUS_CONFIGURATION, &[0x0f, 0xff, 0xff, 0xff]);
        PowerManagement { space }
    }
}

impl PowerManagement {
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

    fn window(&self, register: u8, mask: u16, enabled: bool) -> Option<u16> {
        let base = self.space.get_u32(register) as u16 & mask;
        (enabled && base != 0).then_some(base)
    }

    /// First of the 64 power management ports.
    pub fn base(&self) -> Option<u16> {
        self.window(BASE, 0xffc0, self.space.get(MISCELLANEOUS) & 1 != 0)
    }

    /// First of the 16 SMBus ports. Unlike the block above, they need the command register too.
    pub fn smbus_base(&self) -> Option<u16> {
        let enabled = self.space.get(SMBUS_CONFIGURATION) & 1 != 0;
        self.window(
            SMBUS_BASE,
            0xfff0,
            enabled && self.space.get(COMMAND) & COMMAND_IO != 0,
        )
    }
}
