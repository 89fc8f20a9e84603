//! The host bridge of a 440BX and what decides who answers below 1 MiB.
//!
//! Source: Intel 82443BX data sheet (290633) §3.3: PAM 59h to 5Fh, SMRAM 72h.

use super::Effects;
use super::config_space::ConfigSpace;

const PAM: u8 = 0x59;
const READ: u8 = 1;
const WRITE: u8 = 2;

/// First address that the PAM registers rule.
pub const SHADOW_START: u64 = 0xc_0000;
/// First address that they don't.
pub const SHADOW_END: u64 = 0x10_0000;

/// Who answers in a piece of the shadow area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Reads go to RAM, else to the ROM behind it.
    pub read_ram: bool,
    /// Writes go to RAM, else nowhere.
    pub write_ram: bool,
}

/// Bus 0, device 0, function 0.
#[derive(Debug)]
pub struct HostBridge {
    space: ConfigSpace,
    identity_flip: bool,
}

impl HostBridge {
    /// The bridge at power-on, as the 440FX bridge that stock SeaBIOS knows how to unlock, with the
    /// subsystem that tells it to look for its configuration at the fw_cfg ports.
    ///
    /// With `identity_flip`, the bridge shows itself as Hyper-V's, 8086:7192, from the moment when
    /// the BIOS locks its shadow, the last thing it does before it boots, until the next reset.
    pub fn new(identity_flip: bool) -> Self {
        let mut space = ConfigSpace::new(0x8086, 0x1237, [0x06, 0x00, 0x00], 0x02);
        space.set_u16(0x2c, 0x1af4);
        space.set_u16(0x2e, 0x1100);
        space.allow(PAM, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
        // DRAM row boundaries and types, which firmware of other boards would fill in.
        space.allow(0x60, &[0xff; 8]);
        // There is no system management mode, so what SMRAM opens is never seen.
        space.set(0x72, 0x02);
        space.allow(0x72, &[0x78]);
        HostBridge {
            space,
            identity_flip,
        }
    }

    /// The registers.
    pub fn space(&self) -> &ConfigSpace {
        &self.space
    }

    /// A reset of the machine.
    pub fn reset(&mut self) {
        *self = HostBridge::new(self.identity_flip);
    }

    /// A configuration write.
    pub fn write(&mut self, register: u8, size: u8, value: u32) -> Effects {
        let before = self.pam();
        self.space.write(register, size, value);
        let after = self.pam();
        let locked = before[0] == 0x30 && after[0] == 0x10;
        if self.identity_flip && locked {
            self.space.set_u16(0x02, 0x7192);
            self.space.set(0x08, 0x03);
            self.space.set_u16(0x2c, 0);
            self.space.set_u16(0x2e, 0);
        }
        Effects {
            layout: before != after,
            ..Effects::NONE
        }
    }

    fn pam(&self) -> [u8; 7] {
        std::array::from_fn(|i| self.space.get(PAM + i as u8))
    }

    /// Who answers at `address`, from [`SHADOW_START`] up to [`SHADOW_END`].
    pub fn shadow(&self, address: u64) -> Shadow {
        let attributes = if address >= 0xf_0000 {
            self.space.get(PAM) >> 4
        } else {
            // 16 KiB each, two to a register, the lower one in the lower half.
            let piece = (address.saturating_sub(SHADOW_START) >> 14) as u8;
            self.space.get(PAM + 1 + piece / 2) >> (4 * (piece & 1))
        };
        Shadow {
            read_ram: attributes & READ != 0,
            write_ram: attributes & WRITE != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_rules_its_piece() {
        let mut bridge = HostBridge::new(false);
        assert_eq!(
            bridge.shadow(0xf_ffff),
            Shadow {
                read_ram: false,
                write_ram: false
            }
        );
        assert!(bridge.write(0x59, 1, 0x30).layout);
        assert_eq!(
            bridge.shadow(0xf_0000),
            Shadow {
                read_ram: true,
                write_ram: true
            }
        );
        assert!(!bridge.shadow(0xe_ffff).read_ram);
        bridge.write(0x5c, 4, 0x0000_2100);
        assert_eq!(
            bridge.shadow(0xd_8000),
            Shadow {
                read_ram: true,
                write_ram: false
            }
        );
        assert_eq!(
            bridge.shadow(0xd_c000),
            Shadow {
                read_ram: false,
                write_ram: true
            }
        );
        assert!(!bridge.shadow(0xd_4000).read_ram);
        assert!(!bridge.write(0x5d, 1, 0x21).layout, "nothing new");
    }

    #[test]
    fn identity_flips_when_the_shadow_is_locked() {
        let mut bridge = HostBridge::new(true);
        bridge.write(0x58, 4, 0x3333_3000);
        assert_eq!(bridge.space().get_u32(0), 0x1237_8086);
        bridge.write(0x58, 4, 0x1111_1000);
        assert_eq!(bridge.space().get_u32(0), 0x7192_8086);
        bridge.reset();
        assert_eq!(bridge.space().get_u32(0), 0x1237_8086);
    }
}
