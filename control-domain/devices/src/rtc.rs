//! The real-time clock and its battery-backed memory (CMOS), ports 70h to 73h.
//!
//! Source: Motorola MC146818 data sheet; 82371AB data sheet §7.4 for the extended bank.

mod calendar;

use crate::interrupts::Interrupts;
use calendar::Time;

const IRQ: u8 = 8;
const SECOND_NS: u64 = 1_000_000_000;
/// The update-in-progress bit is up this long before the seconds change.
const UPDATE_NOTICE_NS: u64 = 244_000;

const REGISTER_A: usize = 0x0a;
const REGISTER_B: usize = 0x0b;
const REGISTER_C: usize = 0x0c;
const REGISTER_D: usize = 0x0d;
const CENTURY: usize = 0x32;

const B_SET: u8 = 0x80;
const B_BINARY: u8 = 0x04;
const B_24_HOURS: u8 = 0x02;
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
const INTERRUPT: u8 = 0x80;

/// The clock.
#[derive(Debug)]
pub struct Rtc {
    index: u8,
    extended_index: u8,
    memory: [u8; 256],
    /// Nanoseconds from 1970-01-01 to the machine's power-on, as this clock has it.
    epoch_ns: u64,
    /// The time shown while software has stopped the clock to set it.
    stopped: Option<Time>,
    /// Flags up to this time are in register C.
    seen_ns: u64,
}

impl Rtc {
    /// A clock that shows `utc_seconds` since 1970 when `now_ns` is 0.
    pub fn new(utc_seconds: u64) -> Self {
        let mut memory = [0; 256];
        memory[REGISTER_A] = 0x26;
        memory[REGISTER_B] = B_24_HOURS;
        memory[REGISTER_D] = 0x80;
        Rtc {
            index: 0,
            extended_index: 0,
            memory,
            epoch_ns: utc_seconds.saturating_mul(SECOND_NS),
            stopped: None,
            seen_ns: 0,
        }
    }

    /// Stores what firmware expects to find in the memory.
    pub fn store(&mut self, index: u8, value: u8) {
        self.memory[usize::from(index)] = value;
    }

    /// A reset of the machine: interrupts off, the memory and the time stay.
    pub fn reset(&mut self, interrupts: &mut Interrupts) {
        self.index = 0;
        self.memory[REGISTER_B] &= !(PERIODIC | ALARM | UPDATE | 0x08);
        self.memory[REGISTER_C] = 0;
        interrupts.set_isa(IRQ, false);
    }

    /// Reads port 70h to 73h.
    pub fn read(&mut self, port: u16, now_ns: u64, interrupts: &mut Interrupts) -> u8 {
        match port {
            0x71 => self.read_register(self.index.into(), now_ns, interrupts),
            0x72 => self.extended_index,
            0x73 => self.memory[0x80 | usize::from(self.extended_index)],
            // The index of the standard bank can't be read.
            _ => 0xff,
        }
    }

    /// Writes port 70h to 73h.
    pub fn write(&mut self, port: u16, value: u8, now_ns: u64, interrupts: &mut Interrupts) {
        match port {
            // Bit 7 masks NMI, of which this board has no source.
            0x70 => self.index = value & 0x7f,
            0x71 => self.write_register(self.index.into(), value, now_ns, interrupts),
            0x72 => self.extended_index = value & 0x7f,
            0x73 => self.memory[0x80 | usize::from(self.extended_index)] = value,
            _ => {}
        }
    }

    fn read_register(&mut self, index: usize, now_ns: u64, interrupts: &mut Interrupts) -> u8 {
        match index {
            0..=9 if index & 1 == 0 || index >= 7 => self.field(index, now_ns),
            CENTURY => self.field(index, now_ns),
            REGISTER_A => {
                let left = SECOND_NS - self.wall_ns(now_ns) % SECOND_NS;
                let updating = self.stopped.is_none() && left <= UPDATE_NOTICE_NS;
                self.memory[REGISTER_A] | u8::from(updating) << 7
            }
            REGISTER_C => {
                self.collect(now_ns);
                interrupts.set_isa(IRQ, false);
                std::mem::take(&mut self.memory[REGISTER_C])
            }
            _ => self.memory[index],
        }
    }

    fn write_register(
        &mut self,
        index: usize,
        value: u8,
        now_ns: u64,
        interrupts: &mut Interrupts,
    ) {
        match index {
            0..=9 | CENTURY if index & 1 == 0 || index >= 7 => self.set_field(index, value, now_ns),
            REGISTER_A => {
                self.collect(now_ns);
                self.memory[REGISTER_A] = value & 0x7f;
                self.stop_or_go(now_ns);
            }
            REGISTER_B => {
                self.collect(now_ns);
                self.memory[REGISTER_B] = value;
                self.stop_or_go(now_ns);
                self.signal(interrupts);
            }
            REGISTER_C | REGISTER_D => {}
            _ => {
                // Alarm fields and plain memory.
                self.collect(now_ns);
                self.memory[index] = value;
            }
        }
    }

    /// Nanoseconds since 1970.
    fn wall_ns(&self, now_ns: u64) -> u64 {
        self.epoch_ns.saturating_add(now_ns)
    }

    fn time(&self, now_ns: u64) -> Time {
        self.stopped
            .unwrap_or_else(|| Time::from_unix(self.wall_ns(now_ns) / SECOND_NS))
    }

    /// Stops the clock while software sets it or holds its divider, and lets it go on.
    fn stop_or_go(&mut self, now_ns: u64) {
        let hold = self.memory[REGISTER_B] & B_SET != 0 || self.memory[REGISTER_A] & 0x60 == 0x60;
        match (hold, self.stopped) {
            (true, None) => self.stopped = Some(self.time(now_ns)),
            (false, Some(time)) => {
                self.stopped = None;
                self.epoch_ns = time
                    .to_unix()
                    .saturating_mul(SECOND_NS)
                    .saturating_sub(now_ns);
                self.seen_ns = now_ns;
            }
            _ => {}
        }
    }

    fn encode(&self, value: u8) -> u8 {
        if self.memory[REGISTER_B] & B_BINARY != 0 {
            value
        } else {
            value / 10 << 4 | value % 10
        }
    }

    fn decode(&self, value: u8) -> u8 {
        if self.memory[REGISTER_B] & B_BINARY != 0 {
            value
        } else {
            (value >> 4).wrapping_mul(10).wrapping_add(value & 15)
        }
    }

    fn encode_hour(&self, hour: u8) -> u8 {
        if self.memory[REGISTER_B] & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        self.encode((hour + 11) % 12 + 1) | if hour >= 12 { 0x80 } else { 0 }
    }

    fn decode_hour(&self, value: u8) -> u8 {
        if self.memory[REGISTER_B] & B_24_HOURS != 0 {
            return self.decode(value);
        }
        self.decode(value & 0x7f) % 12 + if value & 0x80 != 0 { 12 } else { 0 }
    }

    fn field(&self, index: usize, now_ns: u64) -> u8 {
        let time = self.time(now_ns);
        match index {
            0 => self.encode(time.second),
            2 => self.encode(time.minute),
            4 => self.encode_hour(time.hour),
            6 => self.encode(time.weekday()),
            7 => self.encode(time.day),
            8 => self.encode(time.month),
            9 => self.encode((time.year % 100) as u8),
            _ => self.encode((time.year / 100) as u8),
        }
    }

    fn set_field(&mut self, index: usize, value: u8, now_ns: u64) {
        let mut time = self.time(now_ns);
        let number = self.decode(value);
        match index {
            0 => time.second = number,
            2 => time.minute = number,
            4 => time.hour = self.decode_hour(value),
            7 => time.day = number,
            8 => time.month = number,
            9 => time.year = time.year / 100 * 100 + u16::from(number % 100),
            // The day of the week follows from the date.
            6 => {}
            _ => time.year = u16::from(number.clamp(19, 99)) * 100 + time.year % 100,
        }
        if self.stopped.is_some() {
            self.stopped = Some(time);
        } else {
            let fraction = self.wall_ns(now_ns) % SECOND_NS;
            self.epoch_ns = time
                .to_unix()
                .saturating_mul(SECOND_NS)
                .saturating_add(fraction)
                .saturating_sub(now_ns);
        }
    }

    fn period_ns(&self) -> Option<u64> {
        // Rates 1 and 2 repeat 8 and 9 with the usual 32 768 Hz time base (data sheet, table 5).
        let rate = match self.memory[REGISTER_A] & 15 {
            0 => return None,
            rate @ 1..=2 => rate + 7,
            rate => rate,
        };
        Some((SECOND_NS << (rate - 1)) / 32_768)
    }

    fn next_alarm_ns(&self, after_ns: u64) -> Option<u64> {
        let matches = |index: usize, value: u8| {
            let alarm = self.memory[index];
            alarm >= 0xc0 || alarm == value
        };
        let now = self.wall_ns(after_ns) / SECOND_NS;
        let mut at = now + 1;
        // A day holds every combination; what can't match is skipped whole.
        while at <= now + 86_400 {
            let time = Time::from_unix(at);
            at = if !matches(5, self.encode_hour(time.hour)) {
                (at / 3600 + 1) * 3600
            } else if !matches(3, self.encode(time.minute)) {
                (at / 60 + 1) * 60
            } else if !matches(1, self.encode(time.second)) {
                at + 1
            } else {
                return at.checked_mul(SECOND_NS)?.checked_sub(self.epoch_ns);
            };
        }
        None
    }

    /// Brings the flags of register C up to date.
    fn collect(&mut self, now_ns: u64) {
        let seen = std::mem::replace(&mut self.seen_ns, now_ns);
        let mut flags = 0;
        if let Some(period) = self.period_ns()
            && now_ns / period > seen / period
        {
            flags |= PERIODIC;
        }
        if self.stopped.is_none()
            && self.wall_ns(now_ns) / SECOND_NS > self.wall_ns(seen) / SECOND_NS
        {
            flags |= UPDATE;
            if self.next_alarm_ns(seen).is_some_and(|at| at <= now_ns) {
                flags |= ALARM;
            }
        }
        flags |= self.memory[REGISTER_C] & !INTERRUPT;
        if flags & self.memory[REGISTER_B] != 0 {
            flags |= INTERRUPT;
        }
        self.memory[REGISTER_C] = flags;
    }

    fn signal(&mut self, interrupts: &mut Interrupts) {
        let flags = self.memory[REGISTER_C] & self.memory[REGISTER_B] & (PERIODIC | ALARM | UPDATE);
        if flags != 0 {
            self.memory[REGISTER_C] |= INTERRUPT;
        }
        interrupts.set_isa(IRQ, flags != 0);
    }

    /// When the next enabled interrupt is due; nothing while one waits to be read from register C.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let enabled = self.memory[REGISTER_B];
        if self.memory[REGISTER_C] & INTERRUPT != 0 {
            return None;
        }
        let seen = self.seen_ns;
        let periodic = self
            .period_ns()
            .filter(|_| enabled & PERIODIC != 0)
            .map(|period| (seen / period + 1) * period);
        let running = self.stopped.is_none();
        let update = (running && enabled & UPDATE != 0)
            .then(|| seen + SECOND_NS - self.wall_ns(seen) % SECOND_NS);
        let alarm = if running && enabled & ALARM != 0 {
            self.next_alarm_ns(seen)
        } else {
            None
        };
        [periodic, update, alarm].into_iter().flatten().min()
    }

    /// Raises IRQ 8 for what is due.
    pub fn advance(&mut self, now_ns: u64, interrupts: &mut Interrupts) {
        if self.memory[REGISTER_B] & (PERIODIC | ALARM | UPDATE) != 0 {
            self.collect(now_ns);
            self.signal(interrupts);
        }
    }
}

#[cfg(test)]
#[path = "rtc/tests.rs"]
mod tests;
