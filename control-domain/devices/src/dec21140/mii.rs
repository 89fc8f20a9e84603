//! The transceiver on the MII port, behind CSR9's other lines: full duplex at 100 Mbit/s, for as long as the
//! cable is plugged in. Source: IEEE 802.3 §22.2.4; §3.2.2.9 of the manual.

/// The transceiver's number on its bus.
pub const NUMBER: u8 = 1;

/// CSR9: the lines.
const CLOCK: u32 = 1 << 16;
const DATA_TO: u32 = 1 << 17;
const LISTENS: u32 = 1 << 18;
const DATA_FROM: u32 = 1 << 19;

/// Behind the start, 01: operation, transceiver, register.
const HEADER_BITS: u32 = 12;
/// Behind that, of a write: turnaround and value.
const WRITE_BITS: u32 = 18;
/// Of a read: a zero as the end of the turnaround, the value.
const ANSWER_BITS: u32 = 17;
const READ: u32 = 0b10;
const WRITE: u32 = 0b01;

const CONTROL: u32 = 0;
const STATUS: u32 = 1;
const IDENTIFIERS: [u32; 2] = [2, 3];
const ADVERTISED: u32 = 4;
const PARTNER: u32 = 5;
const EXPANSION: u32 = 6;

/// Control: a reset, which is over at once.
const CONTROL_RESET: u16 = 1 << 15;
/// Control: negotiation begins anew, and has ended at once.
const CONTROL_RESTART: u16 = 1 << 9;
/// Negotiation is on, with 100 Mbit/s and full duplex as its outcome.
const CONTROL_AT_RESET: u16 = 0x3100;
/// All kinds of 10 and 100 Mbit/s over twisted pairs, negotiation; no preamble is needed.
const STATUS_FIXED: u16 = 0x7849;
/// Negotiation is complete; there is a link.
const STATUS_LINK: u16 = 0x0024;
/// All of it.
const ABILITIES: u16 = 0x01e1;
const PARTNER_ACKNOWLEDGES: u16 = 0x4000;

/// Where a frame on the management lines is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Idle,
    /// A zero came: half of a start.
    Started,
    /// Bits so far and their number, behind a start.
    Header(u32, u32),
    /// The register, bits so far and their number.
    Write(u32, u32, u32),
    /// Bits that are left to be said, and their number.
    Answer(u32, u32),
}

/// The transceiver.
#[derive(Debug)]
pub struct Transceiver {
    plugged: bool,
    control: u16,
    advertised: u16,
    frame: Frame,
    clock: bool,
    output: bool,
}

impl Transceiver {
    /// A transceiver whose cable is plugged in, or not.
    pub fn new(plugged: bool) -> Self {
        Transceiver {
            plugged,
            control: CONTROL_AT_RESET,
            advertised: ABILITIES,
            frame: Frame::Idle,
            clock: false,
            output: true,
        }
    }

    /// Software drives the lines.
    pub fn drive(&mut self, port: u32) {
        let clock = port & CLOCK != 0;
        if clock && !self.clock {
            self.rise(port & LISTENS == 0, port & DATA_TO != 0);
        }
        self.clock = clock;
    }

    /// What CSR9 shows of it.
    pub fn data_out(&self) -> u32 {
        if self.output { DATA_FROM } else { 0 }
    }

    fn rise(&mut self, driven: bool, input: bool) {
        let bit = u32::from(input);
        if let Frame::Answer(bits, left) = self.frame {
            self.output = bits >> (left - 1) & 1 != 0;
            self.frame = match left {
                1 => Frame::Idle,
                _ => Frame::Answer(bits, left - 1),
            };
            return;
        }
        self.output = true;
        if !driven {
            self.frame = Frame::Idle;
            return;
        }
        self.frame = match self.frame {
            Frame::Idle if !input => Frame::Started,
            Frame::Started if input => Frame::Header(0, 0),
            Frame::Header(bits, count) if count + 1 < HEADER_BITS => {
                Frame::Header(bits << 1 | bit, count + 1)
            }
            Frame::Header(bits, _) => self.addressed(bits << 1 | bit),
            Frame::Write(register, bits, count) if count + 1 < WRITE_BITS => {
                Frame::Write(register, bits << 1 | bit, count + 1)
            }
            Frame::Write(register, bits, _) => {
                self.write(register, (bits << 1 | bit) as u16);
                Frame::Idle
            }
            Frame::Started => Frame::Started,
            Frame::Idle | Frame::Answer(..) => Frame::Idle,
        };
    }

    fn addressed(&self, header: u32) -> Frame {
        let (operation, number, register) = (header >> 10, header >> 5 & 31, header & 31);
        match operation {
            _ if number != NUMBER.into() => Frame::Idle,
            READ => Frame::Answer(self.read(register).into(), ANSWER_BITS),
            WRITE => Frame::Write(register, 0, 0),
            _ => Frame::Idle,
        }
    }

    fn read(&self, register: u32) -> u16 {
        let linked = |bits| if self.plugged { bits } else { 0 };
        match register {
            CONTROL => self.control,
            STATUS => STATUS_FIXED | linked(STATUS_LINK),
            // National Semiconductor DP83840A, which every driver of the time knows.
            id if id == IDENTIFIERS[0] => 0x2000,
            id if id == IDENTIFIERS[1] => 0x5c01,
            ADVERTISED => self.advertised,
            PARTNER => linked(ABILITIES | PARTNER_ACKNOWLEDGES),
            EXPANSION => linked(1),
            _ => 0,
        }
    }

    fn write(&mut self, register: u32, value: u16) {
        match register {
            CONTROL if value & CONTROL_RESET != 0 => *self = Transceiver::new(self.plugged),
            CONTROL => self.control = value & !CONTROL_RESTART,
            ADVERTISED => self.advertised = value,
            _ => {}
        }
    }
}
