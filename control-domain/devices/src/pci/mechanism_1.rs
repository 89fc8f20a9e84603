//! Configuration mechanism 1: the address register and what it selects (PCI Local Bus Specification 2.1
//! §3.7.4). There is bus 0 alone.

const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;

/// Device and function number as in bits 15:8 of the configuration address.
pub const fn slot(device: u8, function: u8) -> u8 {
    device << 3 | function
}

/// The address register.
#[derive(Debug, Default)]
pub struct Address(u32);

impl Address {
    /// Function and register that an access to `port` is for, if it is for the data ports, the mechanism is
    /// enabled and it is on bus 0.
    pub fn selected(&self, port: u16) -> Option<(u8, u8)> {
        let on_bus_0 = port >= DATA_PORT && self.0 & 0x80ff_0000 == 0x8000_0000;
        on_bus_0.then_some(((self.0 >> 8) as u8, self.0 as u8 & 0xfc | (port & 3) as u8))
    }

    /// Reads what [`Address::selected`] finds nobody for.
    pub fn read(&self, port: u16, size: u8) -> u32 {
        match (port, size) {
            (ADDRESS_PORT, 4) => self.0,
            _ => u32::MAX,
        }
    }

    /// Writes likewise.
    pub fn write(&mut self, port: u16, size: u8, value: u32) {
        if port == ADDRESS_PORT && size == 4 {
            self.0 = value & 0x80ff_fffc;
        }
    }
}
