//! The two 8259A interrupt controllers of the PIIX4 with their edge/level control registers.
//!
//! Source: Intel 8259A data sheet (231468), 82371AB data sheet §7.3 (ELCR1, ELCR2).

/// Input of the master that the slave's output is wired to.
const CASCADE: u8 = 2;

/// What the next write to the odd port means while the controller is being initialized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Ready,
    VectorBase,
    Cascade,
    Mode,
}

/// One 8259A.
#[derive(Clone, Debug, Default)]
struct Controller {
    lines: u8,
    request: u8,
    in_service: u8,
    mask: u8,
    /// Inputs that are level-triggered.
    level: u8,
    vector_base: u8,
    /// The input of lowest priority.
    lowest: u8,
    step: Step,
    /// ICW1 said that ICW4 follows.
    needs_mode: bool,
    /// ICW1 said that there is no slave.
    single: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    read_in_service: bool,
    poll: bool,
    master: bool,
}

impl Controller {
    /// Rank of the best-placed input in `inputs`, 0 the highest; 8 if there is none.
    fn rank(&self, inputs: u8) -> u8 {
        let first = (self.lowest + 1) & 7;
        inputs.rotate_right(first.into()).trailing_zeros() as u8
    }

    fn input_of_rank(&self, rank: u8) -> u8 {
        (self.lowest + 1 + rank) & 7
    }

    /// The input to be acknowledged next, if the output is asserted.
    fn pending(&self) -> Option<u8> {
        let rank = self.rank(self.request & !self.mask);
        let mut blocking = self.in_service;
        if self.special_mask {
            blocking &= !self.mask;
        }
        if self.special_fully_nested && self.master {
            // A better request of the slave may interrupt an earlier one of the slave.
            blocking &= !(1 << CASCADE);
        }
        (rank < self.rank(blocking)).then(|| self.input_of_rank(rank))
    }

    fn set_line(&mut self, input: u8, high: bool) {
        let bit = 1 << input;
        let rose = high && self.lines & bit == 0;
        if high {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
            // The request must stay up until it is acknowledged, whatever the trigger.
            self.request &= !bit;
        }
        if rose || high && self.level & bit != 0 {
            self.request |= bit;
        }
    }

    fn acknowledge(&mut self, input: u8) {
        let bit = 1 << input;
        if self.auto_eoi {
            if self.rotate_on_auto_eoi {
                self.lowest = input;
            }
        } else {
            self.in_service |= bit;
        }
        if self.level & bit == 0 {
            self.request &= !bit;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            // ICW1. The edge sense circuit is reset: a line that is up must fall and rise again.
            *self = Controller {
                lines: self.lines,
                request: self.lines & self.level,
                level: self.level,
                vector_base: self.vector_base,
                lowest: 7,
                step: Step::VectorBase,
                needs_mode: value & 1 != 0,
                single: value & 2 != 0,
                master: self.master,
                ..Controller::default()
            };
        } else if value & 8 != 0 {
            // OCW3
            if value & 4 != 0 {
                self.poll = true;
            }
            if value & 2 != 0 {
                self.read_in_service = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            self.write_end_of_interrupt(value);
        }
    }

    /// OCW2.
    fn write_end_of_interrupt(&mut self, value: u8) {
        let named = value & 7;
        match value >> 5 {
            0 => self.rotate_on_auto_eoi = false,
            4 => self.rotate_on_auto_eoi = true,
            // End of interrupt, without and with rotation.
            command @ (1 | 5) => {
                let rank = self.rank(self.in_service);
                if rank < 8 {
                    let input = self.input_of_rank(rank);
                    self.in_service &= !(1 << input);
                    if command == 5 {
                        self.lowest = input;
                    }
                }
            }
            3 => self.in_service &= !(1 << named),
            7 => {
                self.in_service &= !(1 << named);
                self.lowest = named;
            }
            6 => self.lowest = named,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.step {
            Step::Ready => self.mask = value,
            Step::VectorBase => {
                self.vector_base = value & 0xf8;
                self.step = match (self.single, self.needs_mode) {
                    (false, _) => Step::Cascade,
                    (true, true) => Step::Mode,
                    (true, false) => Step::Ready,
                };
            }
            // The cascade is wired; ICW3 changes nothing.
            Step::Cascade => {
                self.step = if self.needs_mode {
                    Step::Mode
                } else {
                    Step::Ready
                }
            }
            Step::Mode => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 2 != 0;
                self.step = Step::Ready;
            }
        }
    }

    fn read(&mut self, odd: bool) -> u8 {
        if self.poll {
            self.poll = false;
            let Some(input) = self.pending() else {
                return 0;
            };
            self.acknowledge(input);
            return 0x80 | input;
        }
        match (odd, self.read_in_service) {
            (true, _) => self.mask,
            (false, true) => self.in_service,
            (false, false) => self.request,
        }
    }
}

/// The pair, as IRQ 0 to 15.
#[derive(Clone, Debug)]
pub struct Pic {
    master: Controller,
    slave: Controller,
}

impl Default for Pic {
    fn default() -> Self {
        let fresh = Controller {
            lowest: 7,
            ..Controller::default()
        };
        Pic {
            master: Controller {
                master: true,
                ..fresh.clone()
            },
            slave: fresh,
        }
    }
}

impl Pic {
    /// Drives the input of `irq`, 0 to 15. IRQ 2 is the cascade and takes no other line.
    pub fn set_line(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, high),
            8..16 => {
                self.slave.set_line(irq - 8, high);
                self.cascade();
            }
            _ => {}
        }
    }

    /// The line to the processor.
    pub fn output(&self) -> bool {
        self.master.pending().is_some()
    }

    /// The processor's interrupt acknowledge cycle: the vector. When the request is gone, the
    /// spurious one of input 7.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(input) = self.master.pending() else {
            return self.master.vector_base | 7;
        };
        self.master.acknowledge(input);
        if input != CASCADE {
            return self.master.vector_base | input;
        }
        let input = self.slave.pending();
        if let Some(input) = input {
            self.slave.acknowledge(input);
        }
        self.cascade();
        self.slave.vector_base | input.unwrap_or(7)
    }

    /// Reads port 20h, 21h, A0h, A1h, 4D0h or 4D1h.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            0x20 | 0x21 => self.master.read(port & 1 != 0),
            0xa0 | 0xa1 => self.slave.read(port & 1 != 0),
            0x4d0 => self.master.level,
            0x4d1 => self.slave.level,
            _ => 0xff,
        };
        self.cascade();
        value
    }

    /// Writes port 20h, 21h, A0h, A1h, 4D0h or 4D1h.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.master.write_command(value),
            0x21 => self.master.write_data(value),
            0xa0 => self.slave.write_command(value),
            0xa1 => self.slave.write_data(value),
            // IRQ 0, 1, 2, 8 and 13 are always edge-triggered.
            0x4d0 => self.master.level = value & 0xf8,
            0x4d1 => self.slave.level = value & 0xde,
            _ => {}
        }
        self.cascade();
    }

    fn cascade(&mut self) {
        // The slave takes its output down during each acknowledge, so that its next request is a
        // new edge for the master.
        let high = self.slave.pending().is_some();
        if !high || self.master.request & (1 << CASCADE) == 0 {
            self.master.set_line(CASCADE, false);
            self.master.set_line(CASCADE, high);
        }
    }
}

#[cfg(test)]
#[path = "pic/tests.rs"]
mod tests;
