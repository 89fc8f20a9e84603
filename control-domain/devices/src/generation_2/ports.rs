//! Which device of a Generation 2 machine answers at which port.

use super::{Chipset, PM_BASE, RESET_PORT, RESET_VALUE};
use crate::acpi_pm;
use crate::bus::GuestMemory;
use crate::debug_port;
use crate::fw_cfg;
use crate::port_width::{bytes, mask, within};

/// The reset control register, by which the firmware resets the machine, before and after the hand-over.
const RESET_CONTROL: u16 = 0xcf9;
const RESET_NOW: u8 = 4;
/// The timer in the power management block.
const TIMER: std::ops::Range<u16> = 8..12;

impl Chipset {
    /// `IN` of `size` bytes (1, 2 or 4).
    pub fn port_read(&mut self, port: u16, size: u8, now_ns: u64) -> u32 {
        self.tick(now_ns);
        let value = match within(port, PM_BASE, acpi_pm::PORTS) {
            Some(offset) => {
                self.touch_power_management(offset);
                self.acpi_pm.read(offset, size, self.now_ns)
            }
            None => match self.firmware_read(port, size) {
                Some(value) => value,
                None => bytes(size, |i| self.byte_read(port.wrapping_add(i))),
            },
        };
        value & mask(size)
    }

    /// `OUT` of `size` bytes (1, 2 or 4).
    pub fn port_write(
        &mut self,
        port: u16,
        size: u8,
        value: u32,
        now_ns: u64,
        memory: &dyn GuestMemory,
    ) {
        self.tick(now_ns);
        let value = value & mask(size);
        if port == RESET_PORT && size == 1 {
            self.outputs.reset |= value as u8 == RESET_VALUE;
        } else if port == RESET_CONTROL && size == 1 {
            self.outputs.reset |= value as u8 & RESET_NOW != 0;
        } else if let Some(offset) = within(port, PM_BASE, acpi_pm::PORTS) {
            self.touch_power_management(offset);
            self.power_management_write(offset, size, value);
        } else if !self.firmware_write(port, size, value, memory) {
            for (i, byte) in (0..size.into()).zip(value.to_le_bytes()) {
                self.byte_write(port.wrapping_add(i), byte);
            }
        }
    }

    /// An access by way of the ACPI tables: the operating system's. The timer alone is read by boot loaders
    /// too, to measure the processor's clock.
    fn touch_power_management(&mut self, offset: u16) {
        if !TIMER.contains(&offset)
            && let Some(mut firmware) = self.firmware.take()
        {
            firmware.i8042.reset(&mut self.interrupts);
            self.interrupts.set_isa(0, false);
        }
    }

    fn power_management_write(&mut self, offset: u16, size: u8, value: u32) {
        self.acpi_pm.write(
            offset,
            size,
            value,
            self.now_ns,
            &mut self.interrupts,
            &mut self.outputs,
        );
    }

    /// What only the firmware's devices know. `None`: another device's port, or nobody's.
    fn firmware_read(&mut self, port: u16, size: u8) -> Option<u32> {
        let firmware = self.firmware.as_mut()?;
        if let Some(value) = firmware.read_virtio(port, size) {
            return Some(value);
        }
        let base = firmware.power_management_base();
        if let Some(offset) = base.and_then(|base| within(port, base, acpi_pm::PORTS)) {
            return Some(self.acpi_pm.read(offset, size, self.now_ns));
        }
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                let pic = &mut self.interrupts.pic;
                Some(bytes(size, |i| pic.read(port.wrapping_add(i))))
            }
            0x40..=0x43 | 0x61 => Some(firmware.pit.read(port, self.now_ns).into()),
            0x60 | 0x64 => Some(firmware.i8042.read(port, &mut self.interrupts).into()),
            0x1ce..=0x1d0 if size == 2 => Some(self.screen.read_vbe(port).into()),
            0x3b0..=0x3df if firmware.screen_ports() => {
                let (screen, now_ns) = (&mut self.screen, self.now_ns);
                Some(bytes(size, |i| {
                    screen.read_port(port.wrapping_add(i), now_ns)
                }))
            }
            debug_port::PORT => Some(firmware.debug_port.read().into()),
            fw_cfg::PORT..=0x51b => Some(firmware.fw_cfg.read(port, size)),
            0xcf8..=0xcff => Some(firmware.read_pci(port, size)),
            _ => None,
        }
    }

    /// The same for writes. `false`: another device's port, or nobody's.
    fn firmware_write(
        &mut self,
        port: u16,
        size: u8,
        value: u32,
        memory: &dyn GuestMemory,
    ) -> bool {
        let Some(firmware) = &mut self.firmware else {
            return false;
        };
        if firmware.write_virtio(port, size, value, memory) {
            return true;
        }
        let base = firmware.power_management_base();
        if let Some(offset) = base.and_then(|base| within(port, base, acpi_pm::PORTS)) {
            self.power_management_write(offset, size, value);
            return true;
        }
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                for (i, byte) in (0..size.into()).zip(value.to_le_bytes()) {
                    self.interrupts.pic.write(port.wrapping_add(i), byte);
                }
            }
            0x40..=0x43 | 0x61 => {
                let interrupts = &mut self.interrupts;
                let byte = value as u8;
                firmware.pit.write(port, byte, self.now_ns, interrupts);
            }
            0x60 | 0x64 => {
                let (interrupts, outputs) = (&mut self.interrupts, &mut self.outputs);
                let byte = value as u8;
                firmware.i8042.write(port, byte, interrupts, outputs);
            }
            0x1ce..=0x1d0 if size == 2 => self.screen.write_vbe(port, value as u16),
            0x3b0..=0x3df if firmware.screen_ports() => {
                for (i, byte) in (0..size.into()).zip(value.to_le_bytes()) {
                    self.screen.write_port(port.wrapping_add(i), byte);
                }
            }
            debug_port::PORT => firmware.debug_port.write(value as u8),
            fw_cfg::PORT..=0x51b => firmware.fw_cfg.write(port, size, value, memory),
            0xcf8..=0xcff => {
                firmware.write_pci(port, size, value);
                let frame_buffer = firmware.frame_buffer();
                self.outputs.layout_changed |= frame_buffer != self.frame_buffer;
                self.frame_buffer = frame_buffer;
            }
            _ => return false,
        }
        true
    }

    fn byte_read(&mut self, port: u16) -> u8 {
        match port {
            0x70..=0x73 => self.rtc.read(port, self.now_ns, &mut self.interrupts),
            0x3f8..=0x3ff => self.uarts[0].read(port & 7, &mut self.interrupts),
            0x2f8..=0x2ff => self.uarts[1].read(port & 7, &mut self.interrupts),
            _ => 0xff,
        }
    }

    fn byte_write(&mut self, port: u16, value: u8) {
        match port {
            0x70..=0x73 => self
                .rtc
                .write(port, value, self.now_ns, &mut self.interrupts),
            0x3f8..=0x3ff => self.uarts[0].write(port & 7, value, &mut self.interrupts),
            0x2f8..=0x2ff => self.uarts[1].write(port & 7, value, &mut self.interrupts),
            _ => {}
        }
    }
}
