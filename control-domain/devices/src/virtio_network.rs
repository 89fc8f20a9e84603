//! A virtio network card as the firmware of a Generation 2 machine sees it, to boot from the network: one queue of frames
//! for it and one of its own, which is served while the processor waits. An operating system never sees it.
//!
//! Source: virtio 1.1 §5.1 (network device), with the header of legacy devices.

use crate::bus::{GuestMemory, OutsideMemory};
use crate::dec21140::{NetworkCard, Reception};
use crate::virtio::{Chain, DEVICE_OFFSET, Registers};

/// The device tells its address, and whether its cable is plugged in.
const FEATURES: u32 = 1 << 5 | 1 << 16;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// Before each frame; all 0: nothing is left to do with it.
const HEADER_BYTES: usize = 10;
/// The longest frame, with a tag, without its checksum; the shortest that has both addresses and a type.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=1518;

/// The device.
pub struct VirtioNetwork {
    registers: Registers,
    card: NetworkCard,
}

impl VirtioNetwork {
    /// A device at power-on.
    pub fn new(card: NetworkCard) -> Self {
        VirtioNetwork {
            registers: Registers::new(0x1000, 1, [0x02, 0x00, 0x00], 2),
            card,
        }
    }

    /// The registers that all devices have.
    pub fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }

    /// Reads a register.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let Some(offset) = offset.checked_sub(DEVICE_OFFSET) else {
            return self.registers.read(offset, size, FEATURES);
        };
        let [a, b, c, d, e, f] = self.card.mac;
        let own = [a, b, c, d, e, f, self.card.plugged.into(), 0];
        let bytes = own.iter().skip(offset.into()).take(size.into());
        bytes
            .enumerate()
            .fold(0, |value, (i, byte)| value | u32::from(*byte) << (8 * i))
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u16, size: u8, value: u32, memory: &dyn GuestMemory) {
        if self.registers.write(offset, size, value, FEATURES) == Some(TRANSMIT) {
            // Memory that is none: the frames stay where they are, as with hardware that reaches nothing.
            let _ = self.transmit(memory);
        }
    }

    /// Sends what the driver made available.
    fn transmit(&mut self, memory: &dyn GuestMemory) -> Result<(), OutsideMemory> {
        for _ in 0..self.registers.queue(TRANSMIT).waiting(memory)? {
            let chain = self.registers.queue(TRANSMIT).take(memory)?;
            let bytes = gather(&chain, memory)?;
            let frame = bytes.get(HEADER_BYTES..).unwrap_or_default();
            if FRAME_BYTES.contains(&frame.len()) {
                self.card.frames.put(frame);
            }
            self.registers.queue(TRANSMIT).end(&chain, 0, memory)?;
        }
        Ok(())
    }

    /// A frame from the network, from its Ethernet header on and without checksum at its end.
    pub fn receive(&mut self, frame: &[u8], memory: &dyn GuestMemory) -> Reception {
        if !self.registers.is_driven() || !FRAME_BYTES.contains(&frame.len()) {
            return Reception::Unwanted;
        }
        let taken = self.give(frame, memory);
        taken.unwrap_or(Reception::Unwanted)
    }

    fn give(&mut self, frame: &[u8], memory: &dyn GuestMemory) -> Result<Reception, OutsideMemory> {
        let queue = self.registers.queue(RECEIVE);
        if queue.waiting(memory)? == 0 {
            return Ok(Reception::NoRoom);
        }
        let chain = queue.take(memory)?;
        let bytes = [&[0; HEADER_BYTES], frame].concat();
        let mut rest = bytes.as_slice();
        for piece in chain.descriptors.iter().filter(|piece| piece.is_writable()) {
            let (now, later) = rest.split_at(rest.len().min(piece.length as usize));
            memory.write(piece.address, now)?;
            rest = later;
        }
        // A frame that does not fit is none.
        let written = if rest.is_empty() { bytes.len() } else { 0 };
        queue.end(&chain, written as u32, memory)?;
        Ok(Reception::Taken)
    }
}

/// What a driver sends, up to the first byte that is too much.
fn gather(chain: &Chain, memory: &dyn GuestMemory) -> Result<Vec<u8>, OutsideMemory> {
    let most = HEADER_BYTES + FRAME_BYTES.end() + 1;
    let mut bytes = Vec::new();
    for piece in chain
        .descriptors
        .iter()
        .filter(|piece| !piece.is_writable())
    {
        let start = bytes.len();
        let length = (piece.length as usize).min(most - start);
        bytes.resize(start + length, 0);
        memory.read(piece.address, &mut bytes[start..])?;
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "virtio_network/tests.rs"]
mod tests;
