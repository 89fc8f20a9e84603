//! Resource descriptors that the `acpi_tables` crate has no words for.

use acpi_tables::{Aml, AmlSink};

/// An interrupt of the ISA bus in the short form, edge-triggered and active high (ACPI 6.4
/// §6.4.2.1): the form that operating systems of every age parse.
pub struct IsaInterrupt(pub u8);

impl Aml for IsaInterrupt {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1 << (self.0 & 15));
    }
}

/// A channel of the ISA bus's DMA controllers, without special timing (ACPI 6.4 §6.4.2.2).
pub struct IsaDma(pub u8);

impl Aml for IsaDma {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x2a);
        sink.byte(1 << (self.0 & 7));
        // Bits 1:0: bytes, or words over the second controller.
        sink.byte(if self.0 < 4 { 0 } else { 2 });
    }
}

/// `length` ports from `base` on.
pub fn ports(base: u16, length: u8) -> acpi_tables::aml::IO {
    acpi_tables::aml::IO::new(base, base, 1, length)
}
