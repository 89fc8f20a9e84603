//! The serial ROM, a 93C46 with 64 words behind CSR9: the card's address and its medium.
//!
//! Source: §3.2.2.9 of the manual; Digital Semiconductor 21X4 Serial ROM Format 3.03 for what is in it.

const WORDS: usize = 64;
const BYTES: usize = WORDS * 2;

/// CSR9: the lines, if the serial ROM is selected.
const CHIP_SELECT: u32 = 1;
const CLOCK: u32 = 1 << 1;
const DATA_IN: u32 = 1 << 2;
const DATA_OUT: u32 = 1 << 3;
const SELECTED: u32 = 1 << 11;

/// A start bit, two bits of the operation, six of the address.
const COMMAND_BITS: u32 = 9;
const READ: u32 = 0b110;

/// Where the information about the medium begins.
const LEAF: u8 = 30;

/// The ROM, and how far a command to it is.
#[derive(Debug)]
pub struct Srom {
    words: [u16; WORDS],
    clock: bool,
    /// Bits of a command so far, from its start bit on; 0 before that.
    command: u32,
    /// What is left to be clocked out of a word: the bits, the highest first, and their number.
    answer: (u32, u32),
    output: bool,
}

impl Srom {
    /// The ROM of a card with this address.
    pub fn new(mac: [u8; 6]) -> Self {
        let bytes = content(mac);
        let word = |i: usize| u16::from_le_bytes([bytes[i * 2], bytes[i * 2 + 1]]);
        Srom {
            words: std::array::from_fn(word),
            clock: false,
            command: 0,
            answer: (0, 0),
            output: true,
        }
    }

    /// Software drives the lines.
    pub fn drive(&mut self, port: u32) {
        let clock = port & CLOCK != 0;
        if port & SELECTED == 0 || port & CHIP_SELECT == 0 {
            self.command = 0;
            self.answer = (0, 0);
            self.output = true;
        } else if clock && !self.clock {
            self.rise(port & DATA_IN != 0);
        }
        self.clock = clock;
    }

    fn rise(&mut self, input: bool) {
        let (bits, left) = self.answer;
        if let Some(left) = left.checked_sub(1) {
            self.output = bits >> left & 1 != 0;
            self.answer = (bits, left);
            return;
        }
        if self.command >> (COMMAND_BITS - 1) != 0 {
            // Writes and the rest are not heard, and behind a word comes nothing.
            self.output = true;
            return;
        }
        self.command = self.command << 1 | u32::from(input);
        if self.command >> (COMMAND_BITS - 3) == READ {
            let word = self.words[(self.command & 0x3f) as usize];
            self.answer = (word.into(), 16);
            // A zero goes before.
            self.output = false;
        }
    }

    /// What CSR9 shows of it.
    pub fn data_out(&self, port: u32) -> u32 {
        if port & SELECTED != 0 && port & CHIP_SELECT != 0 && !self.output {
            0
        } else {
            DATA_OUT
        }
    }
}

/// Version 3 of the format, one controller, a transceiver on the MII port.
fn content(mac: [u8; 6]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    // Subsystem, as in configuration space.
    put(0, &[0x00, 0x0a, 0x14, 0x21]);
    // Version of the format, number of controllers.
    put(18, &[3, 1]);
    put(20, &mac);
    // Device number, where its leaf is.
    put(26, &[0, LEAF, 0]);
    let leaf = [
        // The medium is found out; all pins of the general-purpose port are inputs; one block.
        &[0x00, 0x08, 0x00, 1][..],
        // Its length and kind (MII), the transceiver's number, no sequences of the general-purpose port.
        &[0x80 | 12, 1, super::mii::NUMBER, 0, 0],
        // What it can do, what it tells the other side, the media with full duplex, those with a threshold.
        &[0x00, 0x78, 0xe0, 0x01, 0x00, 0x50, 0x00, 0x18],
    ];
    put(LEAF.into(), &leaf.concat());
    let checksum = crc32fast::hash(&bytes[..BYTES - 2]) as u16;
    bytes[BYTES - 2..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}
