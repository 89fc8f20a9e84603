//! The interrupt lines, from the devices to the two kinds of controllers.
//!
//! As on a PIIX4 board with an I/O APIC: each IRQ goes to the 8259s and to the I/O APIC pin of the
//! same number, IRQ 0 to pin 2. The four PCI lines are routed onto IRQs by the PIIX4's PIRQ
//! registers and shared there with the ISA devices' lines.

use crate::bus::Message;
use crate::ioapic::IoApic;
use crate::pic::Pic;

/// The system control interrupt of ACPI, hard-wired in the PIIX4.
pub const SCI_IRQ: u8 = 9;

/// The interrupt controllers and the lines that lead to them.
#[derive(Debug, Default)]
pub struct Interrupts {
    /// The 8259 pair.
    pub pic: Pic,
    /// The I/O APIC.
    pub ioapic: IoApic,
    /// Messages of the I/O APIC that the vmm has not taken yet.
    pub messages: Vec<Message>,
    /// Bit per IRQ: an ISA device asserts it.
    isa: u16,
    /// Bit per PCI line: a PCI function asserts it.
    pci: u8,
    /// The IRQ that each PCI line is routed to.
    routes: [Option<u8>; 4],
    sci: bool,
    /// What the controllers were told last.
    driven: u16,
}

impl Interrupts {
    /// An ISA device drives its line.
    pub fn set_isa(&mut self, irq: u8, high: bool) {
        let bit = 1u16.checked_shl(irq.into()).unwrap_or(0);
        if high {
            self.isa |= bit;
        } else {
            self.isa &= !bit;
        }
        self.drive();
    }

    /// A PCI function drives PIRQ `line` modulo 4: 0 = A.
    pub fn set_pci(&mut self, line: u8, asserted: bool) {
        let bit = 1 << (line & 3);
        if asserted {
            self.pci |= bit;
        } else {
            self.pci &= !bit;
        }
        self.drive();
    }

    /// The power management block drives the system control interrupt.
    pub fn set_sci(&mut self, asserted: bool) {
        self.sci = asserted;
        self.drive();
    }

    /// The PIIX4 routes PIRQ `line` modulo 4 to an IRQ, or nowhere.
    pub fn route(&mut self, line: u8, irq: Option<u8>) {
        self.routes[usize::from(line & 3)] = irq;
        self.drive();
    }

    fn drive(&mut self) {
        let mut wanted = self.isa | u16::from(self.sci) << SCI_IRQ;
        for (line, route) in self.routes.iter().enumerate() {
            if let Some(irq) = route
                && self.pci & 1 << line != 0
            {
                wanted |= 1 << (irq & 15);
            }
        }
        let mut changed = wanted ^ self.driven;
        self.driven = wanted;
        while changed != 0 {
            let irq = changed.trailing_zeros() as u8;
            changed &= changed - 1;
            let high = wanted & 1 << irq != 0;
            self.pic.set_line(irq, high);
            match irq {
                0 => self.ioapic.set_line(2, high, &mut self.messages),
                2 => {}
                _ => self.ioapic.set_line(irq, high, &mut self.messages),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmask(interrupts: &mut Interrupts, pin: u8, entry: u32) {
        interrupts
            .ioapic
            .write(0, (0x10 + 2 * pin).into(), &mut interrupts.messages);
        interrupts
            .ioapic
            .write(0x10, entry, &mut interrupts.messages);
    }

    #[test]
    fn timer_reaches_pin_2() {
        let mut interrupts = Interrupts::default();
        unmask(&mut interrupts, 2, 0x30);
        interrupts.set_isa(0, true);
        assert_eq!(interrupts.messages.len(), 1);
        interrupts.set_isa(0, true);
        assert_eq!(interrupts.messages.len(), 1, "no change, no edge");
    }

    #[test]
    fn shared_line_falls_with_its_last_source() {
        let mut interrupts = Interrupts::default();
        unmask(&mut interrupts, 10, 0x8040);
        interrupts.route(0, Some(10));
        interrupts.route(1, Some(10));
        interrupts.set_pci(0, true);
        interrupts.set_pci(1, true);
        assert_eq!(interrupts.messages.len(), 1);
        interrupts.set_pci(0, false);
        interrupts
            .ioapic
            .end_of_interrupt(0x40, &mut interrupts.messages);
        assert_eq!(interrupts.messages.len(), 2, "line B still asserts it");
        interrupts.set_pci(1, false);
        interrupts
            .ioapic
            .end_of_interrupt(0x40, &mut interrupts.messages);
        assert_eq!(interrupts.messages.len(), 2);
    }
}
