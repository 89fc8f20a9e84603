//! The board of a test payload: RAM, a serial port to write to, and a port to end at.

use crate::board::Board;
use crate::memory::BusMemory;
use devices::{ByteSink, Outputs, Region, Target};

/// The payload writes text here: the transmitter of COM1.
pub const SERIAL_PORT: u16 = 0x3f8;
/// The line status register of COM1: always ready to take a byte.
pub const SERIAL_STATUS_PORT: u16 = 0x3fd;
/// The payload ends the machine by a write here; the value becomes the vmm's exit code.
pub const END_PORT: u16 = 0xf4;
/// A read answers the number written to this port before, plus one: proof of a round trip.
pub const ECHO_PORT: u16 = 0xf8;

/// The SINT at which the payload gets its own messages and events back; the connection's number is
/// the processor's.
pub const ECHO_SINT: u32 = 2;

/// The board.
pub struct TestBoard {
    memory_bytes: u64,
    serial: Box<dyn ByteSink>,
    echo: u32,
    end: Option<u8>,
    outputs: Outputs,
}

impl TestBoard {
    /// RAM from address 0 on, and where the serial port sends to.
    pub fn new(memory_bytes: u64, serial: Box<dyn ByteSink>) -> Self {
        Self {
            memory_bytes,
            serial,
            echo: 0,
            end: None,
            outputs: Outputs::default(),
        }
    }
}

impl Board for TestBoard {
    fn port_read(&mut self, port: u16, _: u8, _: u64, _: &BusMemory) -> u32 {
        match port {
            SERIAL_STATUS_PORT => 0x60,
            ECHO_PORT => self.echo.wrapping_add(1),
            _ => u32::MAX,
        }
    }

    fn port_write(&mut self, port: u16, _: u8, value: u32, _: u64, _: &BusMemory) {
        match port {
            SERIAL_PORT => self.serial.put(value as u8),
            ECHO_PORT => self.echo = value,
            END_PORT => {
                self.end = Some(value as u8);
                self.outputs.power_off = true;
            }
            _ => {}
        }
    }

    fn mmio_read(&mut self, _: u64, data: &mut [u8], _: u64) {
        data.fill(0xff);
    }

    fn mmio_write(&mut self, _: u64, _: &[u8], _: u64, _: &BusMemory) {}

    fn end_of_interrupt(&mut self, _: u8) {}

    fn interrupt_pending(&self) -> bool {
        false
    }

    fn acknowledge_interrupt(&mut self) -> u8 {
        // What a pair of 8259s answers when it has nothing: IRQ 7 of the first.
        7
    }

    fn advance(&mut self, _: u64) {}

    fn next_deadline_ns(&self) -> Option<u64> {
        None
    }

    fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    fn take_outputs(&mut self) -> Outputs {
        std::mem::take(&mut self.outputs)
    }

    fn memory_layout(&self) -> Vec<Region> {
        vec![Region {
            start: 0,
            length: self.memory_bytes,
            target: Target::Ram,
        }]
    }

    fn echo(&self, connection: u32) -> Option<(u32, u32)> {
        (connection < 64).then_some((connection, ECHO_SINT))
    }

    fn exit_code(&self) -> u8 {
        self.end.unwrap_or(0)
    }
}
