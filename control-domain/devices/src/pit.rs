//! The 8254 interval timer and port 61h.
//!
//! Channel 0 drives IRQ 0, channel 1 nothing (refresh), channel 2 the speaker and a bit of port 61h.
//! Source: Intel 8254 data sheet (231164), 82371AB data sheet §7.2 and NSC register.

mod channel;

use crate::interrupts::Interrupts;
use channel::Channel;

/// Frequency of all three channels in Hz.
pub const FREQUENCY_HZ: u64 = 1_193_182;
/// Refresh requests toggle bit 4 of port 61h at this interval.
const REFRESH_TOGGLE_NS: u64 = 15_085;

/// The timer and the port next to it.
#[derive(Debug, Default)]
pub struct Pit {
    channels: [Channel; 3],
    /// Bits 3:0 of port 61h as written: gate of channel 2, speaker, parity and I/O check.
    port_61: u8,
    /// Tick at which channel 0's output rises next.
    next_rise: Option<u64>,
}

fn ticks(now_ns: u64) -> u64 {
    (u128::from(now_ns) * u128::from(FREQUENCY_HZ) / 1_000_000_000) as u64
}

/// The first nanosecond of a tick.
fn nanoseconds(tick: u64) -> u64 {
    (u128::from(tick) * 1_000_000_000).div_ceil(FREQUENCY_HZ.into()) as u64
}

impl Pit {
    /// A timer at power-on. The gates of channel 0 and 1 are wired high.
    pub fn new() -> Self {
        let mut pit = Pit::default();
        pit.channels[0].set_gate(true, 0);
        pit.channels[1].set_gate(true, 0);
        pit
    }

    /// Reads port 40h to 43h or 61h.
    pub fn read(&mut self, port: u16, now_ns: u64) -> u8 {
        let now = ticks(now_ns);
        match port {
            0x40..=0x42 => self.channels[usize::from(port - 0x40)].read(now),
            0x61 => {
                let refresh = (now_ns / REFRESH_TOGGLE_NS & 1) as u8;
                let output = u8::from(self.channels[2].output(now));
                self.port_61 | refresh << 4 | output << 5
            }
            // The control word can't be read.
            _ => 0xff,
        }
    }

    /// Writes port 40h to 43h or 61h.
    pub fn write(&mut self, port: u16, value: u8, now_ns: u64, interrupts: &mut Interrupts) {
        let now = ticks(now_ns);
        match port {
            0x40..=0x42 => self.channels[usize::from(port - 0x40)].write(value, now),
            0x43 => self.write_control(value, now),
            0x61 => {
                self.port_61 = value & 0x0f;
                self.channels[2].set_gate(value & 1 != 0, now);
            }
            _ => {}
        }
        if port == 0x40 || port == 0x43 {
            if !self.channels[0].output(now) {
                interrupts.set_isa(0, false);
            }
            self.next_rise = self.channels[0].next_rise(now);
        }
    }

    fn write_control(&mut self, value: u8, now: u64) {
        match value >> 6 {
            3 => {
                for (i, channel) in self.channels.iter_mut().enumerate() {
                    if value & 2 << i != 0 {
                        if value & 0x10 == 0 {
                            channel.latch_status(now);
                        }
                        if value & 0x20 == 0 {
                            channel.latch_count(now);
                        }
                    }
                }
            }
            i => {
                let channel = &mut self.channels[usize::from(i)];
                if value & 0x30 == 0 {
                    channel.latch_count(now);
                } else {
                    channel.set_mode(value);
                }
            }
        }
    }

    /// When channel 0 raises its interrupt next.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.next_rise.map(nanoseconds)
    }

    /// Raises IRQ 0 if it is due. The line stays up until shortly before it rises again: how long
    /// it really is up matters to nobody, and an early fall would lose a tick that the guest, run
    /// late, could still have seen.
    pub fn advance(&mut self, now_ns: u64, interrupts: &mut Interrupts) {
        let now = ticks(now_ns);
        if self.next_rise.is_some_and(|rise| rise <= now) {
            interrupts.set_isa(0, false);
            interrupts.set_isa(0, true);
            self.next_rise = self.channels[0].next_rise(now);
        }
    }
}

#[cfg(test)]
#[path = "pit/tests.rs"]
mod tests;
