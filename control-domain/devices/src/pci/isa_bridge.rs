//! PIIX4 function 0: the bridge to ISA, with the routing of PCI interrupts.
//!
//! Source: Intel 82371AB data sheet (290562) §4.

use super::Effects;
use super::config_space::ConfigSpace;

const PIRQ_ROUTE: u8 = 0x60;

/// Function 0.
#[derive(Debug)]
pub struct IsaBridge {
    space: ConfigSpace,
}

impl Default for IsaBridge {
    fn default() -> Self {
        let mut space = ConfigSpace::new(0x8086, 0x7110, [0x06, 0x01, 0x00], 0x01);
        space.set(0x0e, 0x80);
        // The bridge can't be turned off: I/O, memory and bus mastering are wired on.
        space.set_u16(0x04, 0x0007);
        space.allow(0x04, &[0x08, 0x01]);
        space.set_u16(0x06, 0x0280);
        // I/O recovery and X-bus chip selects.
        space.set(0x4c, 0x4d);
        space.allow(0x4c, &[0x7f]);
        space.set_u16(0x4e, 0x0003);
        space.allow(0x4e, &[0xff, 0x07]);
        for line in 0..4 {
            space.set(PIRQ_ROUTE + line, 0x80);
        }
        space.allow(PIRQ_ROUTE, &[0x8f; 4]);
        space.set(0x64, 0x10);
        space.allow(0x64, &[0xfc]);
        space.set(0x69, 0x02);
        space.allow(0x69, &[0xfe]);
        space.allow(0x6a, &[0x80, 0x80]);
        // Distributed DMA, chip selects, clock generator and general configuration.
        space.allow(0x76, &[0x8f, 0x8f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        space.allow(0x80, &[0x7f, 0, 0x0f]);
        space.allow(0x90, &[0xff; 6]);
        space.allow(0xb0, &[0xff; 4]);
        space.set(0xcb, 0x21);
        space.allow(0xcb, &[0x3d]);
        IsaBridge { space }
    }
}

impl IsaBridge {
    /// The registers.
    pub fn space(&self) -> &ConfigSpace {
        &self.space
    }

    /// A configuration write.
    pub fn write(&mut self, register: u8, size: u8, value: u32) -> Effects {
        self.space.write(register, size, value);
        Effects {
            routing: register & 0xfc == PIRQ_ROUTE,
            ..Effects::NONE
        }
    }

    /// The IRQ of PCI interrupt line `line` modulo 4, 0 = PIRQA.
    pub fn route(&self, line: u8) -> Option<u8> {
        match self.space.get(PIRQ_ROUTE + (line & 3)) {
            irq @ (3..=7 | 9..=12 | 14 | 15) => Some(irq),
            _ => None,
        }
    }
}
