//! The network cards among the devices: where their registers are, which line they interrupt by.

use super::Chipset;
use crate::bus::GuestMemory;
use crate::dec21140::{REGISTER_BYTES, Reception};
use crate::pci::{NETWORK_WINDOW_BYTES, network_line};

impl Chipset {
    /// A frame from the network for a card, from its Ethernet header on, without checksum at its end.
    pub fn receive_frame(
        &mut self,
        card: usize,
        frame: &[u8],
        memory: &dyn GuestMemory,
    ) -> Reception {
        let (Some(device), Some(function)) =
            (self.network.get_mut(card), self.pci.network.get(card))
        else {
            return Reception::Unwanted;
        };
        let result = device.receive(frame, function.masters().then_some(memory));
        self.network_changed(card);
        result
    }

    /// The card whose window in memory this is, and the offset in it.
    pub(super) fn network_window(&self, gpa: u64) -> Option<(usize, u16)> {
        let mut functions = self.pci.network.iter().enumerate();
        functions.find_map(|(card, function)| {
            let offset = gpa.checked_sub(function.window()?)?;
            let within = offset < NETWORK_WINDOW_BYTES;
            within.then_some((card, offset as u16 % REGISTER_BYTES))
        })
    }

    /// Reads up to four bytes of a card's registers.
    pub(super) fn network_read(&self, card: usize, offset: u16) -> u32 {
        let value = self
            .network
            .get(card)
            .map_or(u32::MAX, |card| card.read(offset));
        // Between the registers is nothing.
        match offset & 7 {
            byte @ 0..=3 => value >> (8 * byte),
            _ => u32::MAX,
        }
    }

    /// Writes a register of a card, which takes longwords alone.
    pub(super) fn network_write(
        &mut self,
        card: usize,
        offset: u16,
        value: u32,
        memory: &dyn GuestMemory,
    ) {
        if let (Some(device), Some(function)) =
            (self.network.get_mut(card), self.pci.network.get(card))
            && offset & 7 == 0
        {
            let memory = function.masters().then_some(memory);
            device.write(offset, value, self.now_ns, memory);
            self.network_changed(card);
        }
    }

    /// Brings a card's interrupt to its line.
    pub(super) fn network_changed(&mut self, card: usize) {
        let interrupt = self.network.get(card).is_some_and(|card| card.interrupt());
        self.interrupts.set_pci(network_line(card), interrupt);
    }
}
