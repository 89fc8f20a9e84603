//! One counter of the 8254.

/// Which bytes of the count a port access carries; also the order of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Access {
    #[default]
    Low,
    High,
    Both,
}

/// A counter, as a function of time.
#[derive(Debug, Default)]
pub struct Channel {
    mode: u8,
    bcd: bool,
    access: Access,
    gate: bool,
    /// Counts per period, 1 to 65536; `None` until a count was written.
    reload: Option<u32>,
    /// A count for modes 2 and 3 that waits for the end of the period that ends at this tick.
    next_reload: Option<(u32, u64)>,
    /// Modes 1 and 5: the gate has risen since the count was written.
    triggered: bool,
    /// Tick from which on it counts, while it counts.
    start: u64,
    /// Ticks it has counted, while the gate holds it.
    held: u64,
    /// First byte of a pair that was written.
    low_written: Option<u8>,
    /// The next byte read of a pair is the high one.
    read_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Channel {
    /// Takes a control word.
    pub fn set_mode(&mut self, control: u8) {
        *self = Channel {
            mode: match control >> 1 & 7 {
                mode @ 6..=7 => mode - 4,
                mode => mode,
            },
            bcd: control & 1 != 0,
            access: match control >> 4 & 3 {
                1 => Access::Low,
                2 => Access::High,
                _ => Access::Both,
            },
            gate: self.gate,
            ..Channel::default()
        };
    }

    fn periodic(&self) -> bool {
        self.mode == 2 || self.mode == 3
    }

    fn needs_trigger(&self) -> bool {
        self.mode == 1 || self.mode == 5
    }

    fn counting(&self) -> bool {
        self.reload.is_some()
            && if self.needs_trigger() {
                self.triggered
            } else {
                self.gate
            }
    }

    /// Ticks since the count was loaded.
    fn elapsed(&self, now: u64) -> u64 {
        if self.counting() {
            now.saturating_sub(self.start)
        } else {
            self.held
        }
    }

    /// Makes a waiting count current once its time has come.
    fn settle(&mut self, now: u64) {
        if let Some((reload, at)) = self.next_reload
            && now >= at
        {
            self.reload = Some(reload);
            self.start = at;
            self.next_reload = None;
        }
    }

    /// Takes a byte of the count.
    pub fn write(&mut self, value: u8, now: u64) {
        let count = match (self.access, self.low_written) {
            (Access::Low, _) => value.into(),
            (Access::High, _) => u16::from(value) << 8,
            (Access::Both, None) => {
                self.low_written = Some(value);
                if self.mode == 0 {
                    // The first byte of a pair stops the counter and takes its output down.
                    self.reload = None;
                    self.held = 0;
                }
                return;
            }
            (Access::Both, Some(low)) => {
                self.low_written = None;
                u16::from_le_bytes([low, value])
            }
        };
        self.load(count, now);
    }

    fn load(&mut self, count: u16, now: u64) {
        self.settle(now);
        let reload = match (count, self.bcd) {
            (0, false) => 65536,
            (0, true) => 10_000,
            (count, false) => count.into(),
            (count, true) => from_bcd(count),
        };
        if self.periodic()
            && self.counting()
            && let Some(current) = self.reload
        {
            let period = u64::from(current);
            self.next_reload = Some((
                reload,
                self.start + (self.elapsed(now) / period + 1) * period,
            ));
            return;
        }
        if self.needs_trigger() && self.triggered {
            // Takes effect with the next trigger; the running period is not disturbed.
            return;
        }
        self.reload = Some(reload);
        self.start = now;
        self.held = 0;
    }

    /// Drives the gate.
    pub fn set_gate(&mut self, high: bool, now: u64) {
        self.settle(now);
        if high == self.gate {
            return;
        }
        if high {
            self.gate = true;
            match self.mode {
                // Counting goes on where it stopped.
                0 | 4 => self.start = now.saturating_sub(self.held),
                _ => {
                    self.start = now;
                    self.triggered = true;
                }
            }
        } else {
            self.held = if self.periodic() {
                0
            } else {
                self.elapsed(now)
            };
            self.gate = false;
        }
    }

    /// The output pin.
    pub fn output(&self, now: u64) -> bool {
        let Some(reload) = self.reload else {
            return self.mode != 0;
        };
        let reload = u64::from(reload);
        let elapsed = self.elapsed(now);
        match self.mode {
            0 => elapsed >= reload,
            1 => !self.triggered || elapsed >= reload,
            2 => !self.counting() || elapsed % reload != reload - 1,
            3 => !self.counting() || elapsed % reload < reload.div_ceil(2),
            5 if !self.triggered => true,
            _ => elapsed != reload,
        }
    }

    /// Tick after `now` at which the output rises next.
    pub fn next_rise(&mut self, now: u64) -> Option<u64> {
        self.settle(now);
        if !self.counting() {
            return None;
        }
        let reload = u64::from(self.reload?);
        let rise = match self.mode {
            2 | 3 => self.start + (self.elapsed(now) / reload + 1) * reload,
            0 | 1 => self.start + reload,
            _ => self.start + reload + 1,
        };
        (rise > now).then_some(rise)
    }

    fn count(&self, now: u64) -> u16 {
        let Some(reload) = self.reload else { return 0 };
        let elapsed = self.elapsed(now);
        let period = u64::from(reload);
        let modulus = if self.bcd { 10_000 } else { 65536 };
        let count = match self.mode {
            2 => period - elapsed % period,
            3 => period - 2 * elapsed % period & !1,
            // One-shots count on below zero.
            _ => (period + modulus - elapsed % modulus) % modulus,
        };
        if self.bcd {
            to_bcd((count % 10_000) as u16)
        } else {
            count as u16
        }
    }

    /// Holds the count for the next reads; a count that is held already stays.
    pub fn latch_count(&mut self, now: u64) {
        self.settle(now);
        if self.latched_count.is_none() {
            self.latched_count = Some(self.count(now));
        }
    }

    /// Holds the status for the next read.
    pub fn latch_status(&mut self, now: u64) {
        self.settle(now);
        if self.latched_status.is_none() {
            let access = match self.access {
                Access::Low => 1,
                Access::High => 2,
                Access::Both => 3,
            };
            let waiting = self.reload.is_none() || self.next_reload.is_some();
            self.latched_status = Some(
                u8::from(self.output(now)) << 7
                    | u8::from(waiting) << 6
                    | access << 4
                    | self.mode << 1
                    | u8::from(self.bcd),
            );
        }
    }

    /// Reads a byte: status, then count, if they are held; else the running count.
    pub fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        self.settle(now);
        let [low, high] = self
            .latched_count
            .unwrap_or_else(|| self.count(now))
            .to_le_bytes();
        let (byte, last) = match (self.access, self.read_high) {
            (Access::Low, _) => (low, true),
            (Access::High, _) => (high, true),
            (Access::Both, false) => (low, false),
            (Access::Both, true) => (high, true),
        };
        self.read_high = !last;
        if last {
            self.latched_count = None;
        }
        byte
    }
}

fn from_bcd(value: u16) -> u32 {
    (0..4).rev().fold(0, |sum, digit| {
        sum * 10 + u32::from(value >> (4 * digit) & 15)
    })
}

fn to_bcd(value: u16) -> u16 {
    value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10
}

#[cfg(test)]
#[path = "channel/tests.rs"]
mod tests;
