//! Which device answers at a guest-physical address where no memory is mapped.

use super::Chipset;
use crate::bus::GuestMemory;
use crate::ioapic;
use crate::pci::host_bridge::{SHADOW_END, SHADOW_START};
use crate::vga;

impl Chipset {
    /// A read of 1 to 8 bytes at a guest-physical address that is not mapped.
    pub fn mmio_read(&mut self, gpa: u64, data: &mut [u8], now_ns: u64) {
        self.tick(now_ns);
        data.fill(0xff);
        if let Some(offset) = ioapic::offset(gpa) {
            self.interrupts.ioapic.read_bytes(offset, data);
        } else if let Some(offset) = offset(gpa, vga::LEGACY_WINDOW, vga::LEGACY_LENGTH)
            && self.pci.vga.legacy_enabled().1
        {
            for (i, byte) in (0..).zip(data) {
                *byte = self.vga.read_memory(offset as u32 + i);
            }
        } else if let Some((card, offset)) = self.network_window(gpa) {
            let value = self.network_read(card, offset).to_le_bytes();
            data.iter_mut()
                .zip(value)
                .for_each(|(byte, value)| *byte = value);
        }
    }

    /// A write of 1 to 8 bytes at a guest-physical address that is not mapped, or mapped read only.
    pub fn mmio_write(&mut self, gpa: u64, data: &[u8], now_ns: u64, memory: &dyn GuestMemory) {
        self.tick(now_ns);
        if let Some(offset) = ioapic::offset(gpa) {
            self.interrupts
                .ioapic
                .write_bytes(offset, data, &mut self.interrupts.messages);
        } else if let Some(offset) = offset(gpa, vga::LEGACY_WINDOW, vga::LEGACY_LENGTH) {
            if self.pci.vga.legacy_enabled().1 {
                for (i, byte) in (0..).zip(data) {
                    self.vga.write_memory(offset as u32 + i, *byte);
                }
            }
        } else if let Some((card, offset)) = self.network_window(gpa) {
            if let Ok(bytes) = data.try_into() {
                self.network_write(card, offset, u32::from_le_bytes(bytes), memory);
            }
        } else if (SHADOW_START..SHADOW_END).contains(&gpa)
            && self.pci.host_bridge.shadow(gpa).write_ram
        {
            // RAM is behind the whole shadow area, so this can't fail; if it does, the bytes are
            // lost as on a board without that RAM.
            let _ = memory.write(gpa, data);
        }
    }
}

fn offset(gpa: u64, base: u64, length: u64) -> Option<u64> {
    gpa.checked_sub(base).filter(|offset| *offset < length)
}
