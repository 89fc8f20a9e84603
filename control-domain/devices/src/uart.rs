//! A 16550A serial port.
//!
//! Bytes sent leave at once: the transmitter is always empty by the next access. Bytes received
//! wait in a queue, of which the guest sees the first 16 as its FIFO, so none is lost to an overrun.
//! Source: National Semiconductor PC16550D data sheet.

use crate::bus::ByteSink;
use crate::interrupts::Interrupts;
use std::collections::VecDeque;

const FIFO_BYTES: usize = 16;
/// Bytes received that the guest has not read; what the other end sends beyond it must wait.
const BACKLOG_BYTES: usize = 4096;

const IER_RECEIVED: u8 = 1;
const IER_TRANSMITTER_EMPTY: u8 = 2;
const IER_LINE_STATUS: u8 = 4;
const IER_MODEM_STATUS: u8 = 8;
const LCR_DIVISOR: u8 = 0x80;
const MCR_OUT2: u8 = 8;
const MCR_LOOPBACK: u8 = 0x10;
const LSR_DATA: u8 = 1;
const LSR_OVERRUN: u8 = 2;
const LSR_TRANSMITTER_EMPTY: u8 = 0x60;
/// The other end is always there: carrier, data set ready, clear to send.
const CONNECTED: u8 = 0xb0;
const RING: u8 = 0x40;

/// The port.
pub struct Uart {
    irq: u8,
    sink: Option<Box<dyn ByteSink>>,
    received: VecDeque<u8>,
    divisor: u16,
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    overrun: bool,
    /// The transmitter became empty and nobody has seen it in the interrupt register.
    transmitter_event: bool,
    modem_status: u8,
    scratch: u8,
}

impl Uart {
    /// A port that raises `irq` and sends to `sink`, or nowhere.
    pub fn new(irq: u8, sink: Option<Box<dyn ByteSink>>) -> Self {
        Uart {
            irq,
            sink,
            received: VecDeque::new(),
            divisor: 12,
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 0,
            overrun: false,
            transmitter_event: false,
            modem_status: CONNECTED,
            scratch: 0,
        }
    }

    /// Its registers, for people.
    pub fn inspect(&self) -> String {
        format!(
            "IER {:#04x} FCR {:#04x} LCR {:#04x} MCR {:#04x} divisor {} received {}",
            self.interrupt_enable,
            self.fifo_control,
            self.line_control,
            self.modem_control,
            self.divisor,
            self.received.len()
        )
    }

    /// A reset of the machine.
    pub fn reset(&mut self, interrupts: &mut Interrupts) {
        let sink = self.sink.take();
        *self = Uart::new(self.irq, sink);
        self.signal(interrupts);
    }

    /// Bytes from the other end. Answers how many were taken.
    pub fn receive(&mut self, bytes: &[u8], interrupts: &mut Interrupts) -> usize {
        if self.modem_control & MCR_LOOPBACK != 0 {
            return bytes.len();
        }
        let taken = bytes
            .len()
            .min(BACKLOG_BYTES.saturating_sub(self.received.len()));
        self.received.extend(&bytes[..taken]);
        self.signal(interrupts);
        taken
    }

    fn fifo_enabled(&self) -> bool {
        self.fifo_control & 1 != 0
    }

    /// The interrupt identification register; bit 0 clear says that there is one.
    fn identification(&self) -> u8 {
        let enabled = self.interrupt_enable;
        let trigger = match self.fifo_control >> 6 {
            _ if !self.fifo_enabled() => 1,
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        };
        let cause = if enabled & IER_LINE_STATUS != 0 && self.overrun {
            0x06
        } else if enabled & IER_RECEIVED != 0 && self.received.len() >= trigger {
            0x04
        } else if enabled & IER_RECEIVED != 0 && !self.received.is_empty() {
            // Time passes between the bytes of a person or a pipe: the timeout has come already.
            0x0c
        } else if enabled & IER_TRANSMITTER_EMPTY != 0 && self.transmitter_event {
            0x02
        } else if enabled & IER_MODEM_STATUS != 0 && self.modem_status & 0x0f != 0 {
            0x00
        } else {
            0x01
        };
        cause | if self.fifo_enabled() { 0xc0 } else { 0 }
    }

    fn signal(&mut self, interrupts: &mut Interrupts) {
        // OUT2 gates the interrupt onto the bus of a PC. In loopback it is disconnected.
        let gate = self.modem_control & (MCR_OUT2 | MCR_LOOPBACK) == MCR_OUT2;
        interrupts.set_isa(self.irq, gate && self.identification() & 1 == 0);
    }

    /// Reads register `offset`, 0 to 7.
    pub fn read(&mut self, offset: u16, interrupts: &mut Interrupts) -> u8 {
        let divisor = self.line_control & LCR_DIVISOR != 0;
        let value = match offset {
            0 if divisor => self.divisor as u8,
            1 if divisor => (self.divisor >> 8) as u8,
            0 => self.received.pop_front().unwrap_or(0),
            1 => self.interrupt_enable,
            2 => {
                let value = self.identification();
                if value & 0x0f == 0x02 {
                    self.transmitter_event = false;
                }
                value
            }
            3 => self.line_control,
            4 => self.modem_control,
            5 => {
                let overrun = if std::mem::take(&mut self.overrun) {
                    LSR_OVERRUN
                } else {
                    0
                };
                let data = if self.received.is_empty() {
                    0
                } else {
                    LSR_DATA
                };
                LSR_TRANSMITTER_EMPTY | overrun | data
            }
            6 => {
                let value = self.modem_status;
                self.modem_status &= 0xf0;
                value
            }
            _ => self.scratch,
        };
        self.signal(interrupts);
        value
    }

    /// Writes register `offset`, 0 to 7.
    pub fn write(&mut self, offset: u16, value: u8, interrupts: &mut Interrupts) {
        let divisor = self.line_control & LCR_DIVISOR != 0;
        match offset {
            0 if divisor => self.divisor = self.divisor & 0xff00 | u16::from(value),
            1 if divisor => self.divisor = self.divisor & 0xff | u16::from(value) << 8,
            0 => self.send(value, interrupts),
            1 => {
                // Enabling it while the transmitter is empty raises it again.
                if value & !self.interrupt_enable & IER_TRANSMITTER_EMPTY != 0 {
                    self.transmitter_event = true;
                }
                self.interrupt_enable = value & 0x0f;
            }
            2 => {
                if (value ^ self.fifo_control) & 1 != 0 || value & 3 == 3 {
                    self.received.clear();
                }
                self.fifo_control = if value & 1 != 0 { value & 0xc9 } else { 0 };
            }
            3 => self.line_control = value,
            4 => {
                self.modem_control = value & 0x1f;
                self.update_modem_status();
            }
            // Line and modem status are read only.
            5 | 6 => {}
            _ => self.scratch = value,
        }
        self.signal(interrupts);
    }

    fn send(&mut self, byte: u8, interrupts: &mut Interrupts) {
        // The byte is taken, which ends the request, and is gone, which raises it again: an edge.
        self.transmitter_event = false;
        self.signal(interrupts);
        self.transmitter_event = true;
        if self.modem_control & MCR_LOOPBACK != 0 {
            let room = if self.fifo_enabled() { FIFO_BYTES } else { 1 };
            if self.received.len() < room {
                self.received.push_back(byte);
            } else {
                self.overrun = true;
            }
        } else if let Some(sink) = &mut self.sink {
            sink.put(byte);
        }
    }

    fn update_modem_status(&mut self) {
        let lines = if self.modem_control & MCR_LOOPBACK != 0 {
            // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
            let control = self.modem_control;
            (control & 1) << 5 | (control & 2) << 3 | (control & 4) << 4 | (control & 8) << 4
        } else {
            CONNECTED
        };
        let changed = (lines ^ self.modem_status) & 0xf0;
        let mut delta = (changed & !RING) >> 4;
        if self.modem_status & RING != 0 && lines & RING == 0 {
            delta |= 4;
        }
        self.modem_status = lines | self.modem_status & 0x0f | delta;
    }
}

#[cfg(test)]
#[path = "uart/tests.rs"]
mod tests;
