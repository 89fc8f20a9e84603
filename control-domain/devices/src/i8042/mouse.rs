//! A PS/2 mouse with a wheel (the IntelliMouse extension).

use std::collections::VecDeque;

const ACKNOWLEDGE: u8 = 0xfa;
const ERROR: u8 = 0xfc;
const RESEND: u8 = 0xfe;
/// Movements beyond this are added up instead of queued.
const BUFFER_BYTES: usize = 16;

/// The mouse.
#[derive(Debug)]
pub struct Mouse {
    output: VecDeque<u8>,
    command: Option<u8>,
    streaming: bool,
    reporting: bool,
    wrap: bool,
    scaling: bool,
    resolution: u8,
    rate: u8,
    /// The last three rates; 200, 100, 80 turns the wheel on.
    rates: [u8; 3],
    wheel: bool,
    dx: i32,
    dy: i32,
    dz: i32,
    buttons: u8,
    reported_buttons: u8,
}

impl Default for Mouse {
    fn default() -> Self {
        Mouse {
            output: VecDeque::new(),
            command: None,
            streaming: true,
            reporting: false,
            wrap: false,
            scaling: false,
            resolution: 2,
            rate: 100,
            rates: [0; 3],
            wheel: false,
            dx: 0,
            dy: 0,
            dz: 0,
            buttons: 0,
            reported_buttons: 0,
        }
    }
}

impl Mouse {
    /// Adds up movement and reports it.
    pub fn motion(&mut self, dx: i32, dy: i32, dz: i32, buttons: u8) {
        self.dx = self.dx.saturating_add(dx);
        // The mouse counts upwards.
        self.dy = self.dy.saturating_sub(dy);
        self.dz = self.dz.saturating_add(dz);
        self.buttons = buttons & 7;
        self.stream();
    }

    fn stream(&mut self) {
        while self.streaming && self.reporting && self.output.len() < BUFFER_BYTES {
            let still = self.dx == 0 && self.dy == 0 && (self.dz == 0 || !self.wheel);
            if still && self.buttons == self.reported_buttons {
                break;
            }
            self.report();
        }
    }

    /// One packet, with as much of the movement as fits.
    fn report(&mut self) {
        let dx = self.dx.clamp(-255, 255);
        let dy = self.dy.clamp(-255, 255);
        self.dx -= dx;
        self.dy -= dy;
        self.reported_buttons = self.buttons;
        let signs = u8::from(dx < 0) << 4 | u8::from(dy < 0) << 5;
        self.output
            .extend([self.buttons | 8 | signs, dx as u8, dy as u8]);
        let dz = self.dz.clamp(-8, 7);
        self.dz -= dz;
        if self.wheel {
            self.output.push_back(dz as u8);
        } else {
            self.dz = 0;
        }
    }

    /// The next byte on the wire.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.output.pop_front()?;
        self.stream();
        Some(byte)
    }

    fn still(&mut self) {
        (self.dx, self.dy, self.dz) = (0, 0, 0);
    }

    /// A byte from the machine.
    pub fn command(&mut self, byte: u8) {
        if self.wrap && byte != 0xec && byte != 0xff {
            self.output.push_back(byte);
            return;
        }
        // A command throws away what was not fetched.
        self.output.clear();
        match self.command.take() {
            Some(0xe8) if byte <= 3 => {
                self.resolution = byte;
                self.output.push_back(ACKNOWLEDGE);
                return;
            }
            Some(0xf3) if matches!(byte, 10 | 20 | 40 | 60 | 80 | 100 | 200) => {
                self.rate = byte;
                self.rates = [self.rates[1], self.rates[2], byte];
                self.wheel |= self.rates == [200, 100, 80];
                self.output.push_back(ACKNOWLEDGE);
                return;
            }
            Some(_) if byte < 0xe6 => {
                self.output.push_back(ERROR);
                return;
            }
            _ => {}
        }
        self.output.push_back(ACKNOWLEDGE);
        match byte {
            0xe6 | 0xe7 => self.scaling = byte == 0xe7,
            0xe8 | 0xf3 => self.command = Some(byte),
            0xe9 => {
                let buttons =
                    (self.buttons & 1) << 2 | self.buttons >> 1 & 2 | self.buttons >> 1 & 1;
                let flags = u8::from(!self.streaming) << 6
                    | u8::from(self.reporting) << 5
                    | u8::from(self.scaling) << 4;
                self.output
                    .extend([flags | buttons, self.resolution, self.rate]);
            }
            0xea => self.streaming = true,
            0xeb => self.report(),
            0xec => self.wrap = false,
            0xee => self.wrap = true,
            0xf0 => self.streaming = false,
            0xf2 => self.output.push_back(if self.wheel { 3 } else { 0 }),
            0xf4 => {
                self.reporting = true;
                self.still();
            }
            0xf5 => self.reporting = false,
            0xf6 => {
                *self = Mouse {
                    wheel: self.wheel,
                    output: [ACKNOWLEDGE].into(),
                    ..Mouse::default()
                }
            }
            0xff => {
                *self = Mouse {
                    output: [ACKNOWLEDGE, 0xaa, 0x00].into(),
                    ..Mouse::default()
                }
            }
            _ => self.output = [RESEND].into(),
        }
    }
}
