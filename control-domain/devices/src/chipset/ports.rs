//! Which device answers at which port.

use super::Chipset;
use crate::acpi_pm;
use crate::bus::{Context, GuestMemory};
use crate::debug_port;
use crate::dec21140;
use crate::dma;
use crate::floppy;
use crate::fw_cfg;
use crate::ide::Ide;
use crate::pci::Pci;
use crate::port_width::{bytes, mask};
use crate::smbus;

/// Bits 1 and 2 of the reset control register: a full reset, and the reset itself, by its edge.
const RESET_CONTROL: u16 = 0xcf9;
const RESET_NOW: u8 = 4;

/// Port ranges that software places, copied from configuration space when it changes.
#[derive(Debug, Default)]
pub struct Decoder {
    ide: [bool; 2],
    bus_master: Option<u16>,
    power_management: Option<u16>,
    smbus: Option<u16>,
    network: Vec<Option<u16>>,
}

/// A device behind a range that software placed, and the offset in it.
enum Placed {
    BusMaster(u16),
    PowerManagement(u16),
    SmBus(u16),
    /// A network card by its number.
    Network(usize, u16),
}

impl Decoder {
    pub fn update(&mut self, pci: &Pci) {
        self.ide = pci.ide.decodes();
        self.bus_master = pci.ide.bus_master_base();
        self.power_management = pci.power_management.base();
        self.smbus = pci.power_management.smbus_base();
        self.network = pci
            .network
            .iter()
            .map(|function| function.ports())
            .collect();
    }

    fn find(&self, port: u16) -> Option<Placed> {
        let offset = |base: Option<u16>, length| {
            base.map(|base| port.wrapping_sub(base))
                .filter(|at| *at < length)
        };
        offset(self.power_management, acpi_pm::PORTS)
            .map(Placed::PowerManagement)
            .or_else(|| offset(self.bus_master, 16).map(Placed::BusMaster))
            .or_else(|| offset(self.smbus, smbus::PORTS).map(Placed::SmBus))
            .or_else(|| {
                self.network.iter().enumerate().find_map(|(card, base)| {
                    let offset = offset(*base, dec21140::REGISTER_BYTES)?;
                    Some(Placed::Network(card, offset))
                })
            })
    }
}

impl Chipset {
    /// `IN` of `size` bytes (1, 2 or 4).
    pub fn port_read(&mut self, port: u16, size: u8, now_ns: u64, memory: &dyn GuestMemory) -> u32 {
        self.tick(now_ns);
        let value = match port {
            0x170..=0x177 | 0x376 | 0x1f0..=0x1f7 | 0x3f6 => self.ide_read(port, size, memory),
            0x1ce..=0x1d0 if size == 2 => self.vga.read_vbe(port).into(),
            fw_cfg::PORT..=0x51b => self.fw_cfg.read(port, size),
            RESET_CONTROL if size == 1 => self.reset_control.into(),
            0xcf8..=0xcff => self.pci.read(port, size),
            _ => match self.decoder.find(port) {
                Some(Placed::PowerManagement(offset)) => {
                    self.acpi_pm.read(offset, size, self.now_ns)
                }
                Some(Placed::BusMaster(offset)) => self.ide.read_bus_master(offset, size),
                Some(Placed::SmBus(offset)) => {
                    bytes(size, |i| self.smbus.read(offset.wrapping_add(i)))
                }
                Some(Placed::Network(card, offset)) => self.network_read(card, offset),
                // All others are eight bits wide; the bus splits what is wider.
                None => bytes(size, |i| self.byte_read(port.wrapping_add(i), memory)),
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
        match port {
            0x170..=0x177 | 0x376 | 0x1f0..=0x1f7 | 0x3f6 => {
                self.ide_write(port, size, value, memory)
            }
            0x1ce..=0x1d0 if size == 2 => {
                self.vga.write_vbe(port, value as u16);
                self.video_changed();
            }
            fw_cfg::PORT..=0x51b => self.fw_cfg.write(port, size, value, memory),
            RESET_CONTROL if size == 1 => {
                let value = value as u8;
                self.outputs.reset |= value & !self.reset_control & RESET_NOW != 0;
                self.reset_control = value & !RESET_NOW;
            }
            0xcf8..=0xcff => {
                let effects = self.pci.write(port, size, value);
                self.apply(effects);
            }
            _ => self.placed_write(port, size, value, memory),
        }
    }

    /// `INS` of elements of `size` bytes, where a device has a quicker way than one after the other.
    pub fn port_read_run(
        &mut self,
        port: u16,
        size: u8,
        data: &mut [u8],
        now_ns: u64,
        memory: &dyn GuestMemory,
    ) -> bool {
        let Some(channel) = self.ide_data_channel(port, size) else {
            return false;
        };
        self.tick(now_ns);
        let (ide, mut context) = self.ide_with_context(memory);
        ide.read_data_run(channel, size, data, &mut context);
        true
    }

    /// `OUTS`, the same the other way.
    pub fn port_write_run(
        &mut self,
        port: u16,
        size: u8,
        data: &[u8],
        now_ns: u64,
        memory: &dyn GuestMemory,
    ) -> bool {
        let Some(channel) = self.ide_data_channel(port, size) else {
            return false;
        };
        self.tick(now_ns);
        let (ide, mut context) = self.ide_with_context(memory);
        ide.write_data_run(channel, size, data, &mut context);
        true
    }

    /// The channel whose data register that is, in words.
    fn ide_data_channel(&self, port: u16, size: u8) -> Option<usize> {
        let channel = Ide::data_channel_of(port)?;
        (size > 1 && self.decoder.ide[channel]).then_some(channel)
    }

    fn ide_with_context<'a>(
        &'a mut self,
        memory: &'a dyn GuestMemory,
    ) -> (&'a mut Ide, Context<'a>) {
        let context = Context {
            memory,
            interrupts: &mut self.interrupts,
        };
        (&mut self.ide, context)
    }

    fn placed_write(&mut self, port: u16, size: u8, value: u32, memory: &dyn GuestMemory) {
        match self.decoder.find(port) {
            Some(Placed::PowerManagement(offset)) => self.acpi_pm.write(
                offset,
                size,
                value,
                self.now_ns,
                &mut self.interrupts,
                &mut self.outputs,
            ),
            Some(Placed::BusMaster(offset)) => {
                let mut context = Context {
                    memory,
                    interrupts: &mut self.interrupts,
                };
                self.ide.write_bus_master(offset, size, value, &mut context);
            }
            Some(Placed::SmBus(offset)) => {
                for (i, byte) in (0..size.into()).zip(value.to_le_bytes()) {
                    self.smbus.write(offset.wrapping_add(i), byte);
                }
            }
            Some(Placed::Network(card, offset)) if size == 4 => {
                self.network_write(card, offset, value, memory);
            }
            Some(Placed::Network(..)) => {}
            None => {
                for (i, byte) in (0..size.into()).zip(value.to_le_bytes()) {
                    self.byte_write(port.wrapping_add(i), byte, memory);
                }
            }
        }
    }

    fn byte_read(&mut self, port: u16, memory: &dyn GuestMemory) -> u8 {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.interrupts.pic.read(port),
            0x40..=0x43 | 0x61 => self.pit.read(port, self.now_ns),
            0x60 | 0x64 | 0x92 => self.i8042.read(port, &mut self.interrupts),
            0x70..=0x73 => self.rtc.read(port, self.now_ns, &mut self.interrupts),
            0xb2 | 0xb3 => self.acpi_pm.read_apm(port),
            0x3f8..=0x3ff => self.uarts[0].read(port & 7, &mut self.interrupts),
            0x2f8..=0x2ff => self.uarts[1].read(port & 7, &mut self.interrupts),
            0x3b0..=0x3df if self.pci.vga.legacy_enabled().0 => {
                self.vga.read_port(port, self.now_ns)
            }
            floppy::DIGITAL_OUTPUT..=floppy::FIFO | floppy::DIGITAL_INPUT => {
                let mut context = Context {
                    memory,
                    interrupts: &mut self.interrupts,
                };
                self.floppy.read(port, &mut context)
            }
            _ if is_dma(port) => self.dma.read(port),
            debug_port::PORT => self.debug_port.read(),
            _ => 0xff,
        }
    }

    fn byte_write(&mut self, port: u16, value: u8, memory: &dyn GuestMemory) {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.interrupts.pic.write(port, value),
            0x40..=0x43 | 0x61 => self
                .pit
                .write(port, value, self.now_ns, &mut self.interrupts),
            0x60 | 0x64 | 0x92 => {
                self.i8042
                    .write(port, value, &mut self.interrupts, &mut self.outputs);
            }
            0x70..=0x73 => self
                .rtc
                .write(port, value, self.now_ns, &mut self.interrupts),
            0xb2 | 0xb3 => self.acpi_pm.write_apm(port, value, &mut self.interrupts),
            0x3f8..=0x3ff => self.uarts[0].write(port & 7, value, &mut self.interrupts),
            0x2f8..=0x2ff => self.uarts[1].write(port & 7, value, &mut self.interrupts),
            0x3b0..=0x3df if self.pci.vga.legacy_enabled().0 => {
                self.vga.write_port(port, value);
                self.video_changed();
            }
            floppy::DIGITAL_OUTPUT..=floppy::FIFO | floppy::DIGITAL_INPUT => {
                let mut context = Context {
                    memory,
                    interrupts: &mut self.interrupts,
                };
                self.floppy.write(port, value, &mut self.dma, &mut context);
            }
            _ if is_dma(port) => self.dma.write(port, value),
            debug_port::PORT => self.debug_port.write(value),
            _ => {}
        }
    }

    fn ide_read(&mut self, port: u16, size: u8, memory: &dyn GuestMemory) -> u32 {
        let Some(channel) = Ide::channel_of(port).filter(|channel| self.decoder.ide[*channel])
        else {
            return u32::MAX;
        };
        let (ide, mut context) = self.ide_with_context(memory);
        ide.read(channel, port, size, &mut context)
    }

    fn ide_write(&mut self, port: u16, size: u8, value: u32, memory: &dyn GuestMemory) {
        let Some(channel) = Ide::channel_of(port).filter(|channel| self.decoder.ide[*channel])
        else {
            return;
        };
        let (ide, mut context) = self.ide_with_context(memory);
        ide.write(channel, port, size, value, &mut context);
    }

    fn video_changed(&mut self) {
        self.outputs.layout_changed |= self.vga.take_layout_change();
    }
}

fn is_dma(port: u16) -> bool {
    dma::FIRST.contains(&port) || dma::SECOND.contains(&port) || dma::PAGES.contains(&port)
}
