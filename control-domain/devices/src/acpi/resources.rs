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

/// `length` ports from `base` on.
pub fn ports(base: u16, length: u8) -> acpi_tables::aml::IO {
    acpi_tables::aml::IO::new(base, base, 1, length)
}
