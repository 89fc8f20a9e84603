//! The IDE controller of the PIIX4: two channels at their legacy ports and interrupts, and its bus
//! master.
//!
//! Commands are synchronous: a transfer by bus master is complete when the write that started it
//! returns, and its interrupt is raised by then.
//! Source: Intel 82371AB data sheet (290562) §5.2; Programming Interface for Bus Master IDE
//! Controller 1.0.

mod bus_master;
mod channel;
mod disk;
mod drive;
mod dvd;
mod identify;

use crate::bus::Context;
use bus_master::BusMaster;
use channel::Channel;
use disk::Disk;
use drive::Device;
pub use drive::{Disc, Drive};
use dvd::DvdDrive;

const IRQS: [u8; 2] = [14, 15];
/// First command block port of each channel; its control port is 206h above.
const COMMAND_PORTS: [u16; 2] = [0x1f0, 0x170];
const CONTROL_OFFSET: u16 = 0x206;

/// The controller.
#[derive(Default)]
pub struct Ide {
    channels: [Channel; 2],
    masters: [BusMaster; 2],
}

impl Ide {
    /// A controller with these drives: primary master and slave, secondary master and slave.
    pub fn new(drives: [Option<Drive>; 4]) -> Self {
        let mut ide = Ide::default();
        for (i, drive) in drives.into_iter().enumerate() {
            let serial = format!("{:020}", i + 1);
            let device = drive.map(|drive| match drive {
                Drive::Disk(backend) => Device::Disk(Disk::new(backend, serial)),
                Drive::Dvd(medium) => Device::Dvd(DvdDrive::new(medium, serial)),
            });
            ide.channels[i / 2].set_device(i % 2, device);
        }
        ide.reset_devices();
        ide
    }

    /// Puts another disc into the DVD drive at `place`, 0 to 3, or none. Answers what was in it.
    ///
    /// # Errors
    /// The disc, if no DVD drive is there.
    pub fn insert_disc(
        &mut self,
        place: usize,
        disc: Option<Disc>,
    ) -> Result<Option<Disc>, Option<Disc>> {
        let channel = self.channels.get_mut(place / 2);
        match channel.and_then(|channel| channel.device(place % 2)) {
            Some(Device::Dvd(drive)) => Ok(drive.insert(disc)),
            Some(Device::Disk(_)) | None => Err(disc),
        }
    }

    /// Its state, for people.
    pub fn inspect(&self) -> String {
        let channels = self.channels.each_ref().map(Channel::inspect);
        format!("primary: {}; secondary: {}", channels[0], channels[1])
    }

    /// A reset of the machine.
    pub fn reset(&mut self, context: &mut Context<'_>) {
        self.masters = Default::default();
        self.reset_devices();
        self.signal(0, context);
        self.signal(1, context);
    }

    fn reset_devices(&mut self) {
        for channel in &mut self.channels {
            channel.reset();
        }
    }

    /// Which channel answers at a legacy port, if any.
    pub fn channel_of(port: u16) -> Option<usize> {
        COMMAND_PORTS
            .iter()
            .position(|base| port & !7 == *base || port == base + CONTROL_OFFSET)
    }

    /// Which channel's data register is at a port, if any.
    pub fn data_channel_of(port: u16) -> Option<usize> {
        COMMAND_PORTS.iter().position(|base| port == *base)
    }

    /// Reads the data register again and again, in words of `size` bytes.
    pub fn read_data_run(
        &mut self,
        channel: usize,
        size: u8,
        data: &mut [u8],
        context: &mut Context<'_>,
    ) {
        let mut rest = data;
        while !rest.is_empty() {
            let words = self.channels[channel].words_in_block(size.into(), rest.len());
            let (block, behind) = rest.split_at_mut(words);
            if self.channels[channel].read_data(block) {
                self.signal(channel, context);
            }
            rest = behind;
        }
    }

    /// Writes the data register again and again, in words of `size` bytes.
    pub fn write_data_run(
        &mut self,
        channel: usize,
        size: u8,
        data: &[u8],
        context: &mut Context<'_>,
    ) {
        let mut rest = data;
        while !rest.is_empty() {
            let words = self.channels[channel].words_in_block(size.into(), rest.len());
            let (block, behind) = rest.split_at(words);
            self.channels[channel].write_data(block);
            self.run(channel, context);
            rest = behind;
        }
    }

    /// Reads a port of `channel`.
    pub fn read(&mut self, channel: usize, port: u16, size: u8, context: &mut Context<'_>) -> u32 {
        let Some(unit) = self.channels.get_mut(channel) else {
            return u32::MAX;
        };
        let value = match port & 0x207 {
            0 => return self.read_data(channel, size, context),
            0x206 => unit.alternate_status().into(),
            offset => unit.read(offset as u8 & 7).into(),
        };
        self.signal(channel, context);
        value
    }

    /// Writes a port of `channel`.
    pub fn write(
        &mut self,
        channel: usize,
        port: u16,
        size: u8,
        value: u32,
        context: &mut Context<'_>,
    ) {
        let Some(unit) = self.channels.get_mut(channel) else {
            return;
        };
        match port & 0x207 {
            0 => {
                unit.write_data(&value.to_le_bytes()[..usize::from(size.clamp(2, 4))]);
            }
            0x206 => unit.write_control(value as u8),
            offset => unit.write(offset as u8 & 7, value as u8),
        }
        self.run(channel, context);
    }

    fn read_data(&mut self, channel: usize, size: u8, context: &mut Context<'_>) -> u32 {
        let mut word = [0; 4];
        let width = usize::from(size.clamp(2, 4));
        if self.channels[channel].read_data(&mut word[..width]) {
            self.signal(channel, context);
        }
        u32::from_le_bytes(word)
    }

    /// Reads from the bus master, `offset` 0 to 15.
    pub fn read_bus_master(&mut self, offset: u16, size: u8) -> u32 {
        let master = &self.masters[usize::from(offset >> 3 & 1)];
        (0..size).fold(0, |value, i| {
            value | u32::from(master.read((offset as u8 & 7) + i)) << (8 * i)
        })
    }

    /// Writes to the bus master, `offset` 0 to 15.
    pub fn write_bus_master(
        &mut self,
        offset: u16,
        size: u8,
        value: u32,
        context: &mut Context<'_>,
    ) {
        let channel = usize::from(offset >> 3 & 1);
        for (i, byte) in (0..size).zip(value.to_le_bytes()) {
            self.masters[channel].write((offset as u8 & 7) + i, byte);
        }
        self.run(channel, context);
    }

    /// Starts a transfer for which both the disk and the bus master are ready.
    fn run(&mut self, channel: usize, context: &mut Context<'_>) {
        let (unit, master) = (&mut self.channels[channel], &mut self.masters[channel]);
        if let Some(transfer) = unit.dma()
            && master.active()
        {
            let result = master.transfer(transfer, unit.selected_disk(), context.memory);
            unit.finish_dma(result);
        }
        if master.active()
            && let Some(data) = unit.packet_data()
        {
            let result = master.give(data, context.memory);
            unit.finish_packet_dma(result);
        }
        self.signal(channel, context);
    }

    fn signal(&mut self, channel: usize, context: &mut Context<'_>) {
        let unit = &mut self.channels[channel];
        let high = unit.interrupt();
        if high && unit.take_edge() {
            self.masters[channel].interrupted();
            // A command that ends after another without its interrupt having been seen is an edge
            // of its own.
            context.interrupts.set_isa(IRQS[channel], false);
        }
        context.interrupts.set_isa(IRQS[channel], high);
    }
}

#[cfg(test)]
#[path = "ide/tests.rs"]
mod tests;
