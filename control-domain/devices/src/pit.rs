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
mod tests {
    use super::*;

    fn program(pit: &mut Pit, channel: u16, mode: u8, count: u16, now_ns: u64) -> Interrupts {
        let mut interrupts = Interrupts::default();
        pit.write(
            0x43,
            (channel as u8) << 6 | 0x30 | mode << 1,
            now_ns,
            &mut interrupts,
        );
        pit.write(0x40 + channel, count as u8, now_ns, &mut interrupts);
        pit.write(0x40 + channel, (count >> 8) as u8, now_ns, &mut interrupts);
        interrupts
    }

    fn count(pit: &mut Pit, channel: u16, now_ns: u64) -> u16 {
        pit.write(
            0x43,
            (channel as u8) << 6,
            now_ns,
            &mut Interrupts::default(),
        );
        u16::from(pit.read(0x40 + channel, now_ns))
            | u16::from(pit.read(0x40 + channel, now_ns)) << 8
    }

    /// Whether the 8259 has a new request of IRQ 0.
    fn requested(interrupts: &mut Interrupts) -> bool {
        interrupts.pic.read(0x20) & 1 != 0
    }

    #[test]
    fn conversions_meet() {
        for tick in [1, 65536, 1_193_182, 1_193_182_000_003] {
            assert_eq!(ticks(nanoseconds(tick)), tick);
            assert_eq!(ticks(nanoseconds(tick) - 1), tick - 1);
        }
    }

    #[test]
    fn rate_generator_fires_at_each_period() {
        let mut pit = Pit::new();
        let mut interrupts = program(&mut pit, 0, 2, 11932, 0);
        let first = pit.next_deadline_ns().expect("running");
        assert!((10_000_000..10_001_000).contains(&first), "{first}");
        pit.advance(first - 1, &mut interrupts);
        assert!(!requested(&mut interrupts));
        pit.advance(first, &mut interrupts);
        assert!(requested(&mut interrupts));
        let second = pit.next_deadline_ns().expect("still running");
        assert!((20_000_000..20_002_000).contains(&second), "{second}");
        assert_eq!(count(&mut pit, 0, first), 11932);
        assert_eq!(count(&mut pit, 0, first + 5_000_000), 11932 - 5965);
    }

    #[test]
    fn late_advance_fires_once_and_keeps_the_phase() {
        let mut pit = Pit::new();
        let mut interrupts = program(&mut pit, 0, 2, 11932, 0);
        pit.advance(35_000_000, &mut interrupts);
        assert!(requested(&mut interrupts));
        let next = pit.next_deadline_ns().expect("still running");
        assert!((40_000_000..40_003_000).contains(&next), "{next}");
    }

    #[test]
    fn one_shot_fires_once() {
        let mut pit = Pit::new();
        for mode in [0, 4] {
            let mut interrupts = program(&mut pit, 0, mode, 1000, 0);
            let deadline = pit.next_deadline_ns().expect("armed");
            pit.advance(deadline, &mut interrupts);
            assert!(requested(&mut interrupts), "mode {mode}");
            assert_eq!(pit.next_deadline_ns(), None);
        }
    }

    #[test]
    fn square_wave_counts_by_two() {
        let mut pit = Pit::new();
        program(&mut pit, 2, 3, 1000, 0);
        pit.write(0x61, 1, 0, &mut Interrupts::default());
        let quarter = nanoseconds(250);
        assert_eq!(count(&mut pit, 2, quarter), 500);
        assert_eq!(pit.read(0x61, quarter) & 0x21, 0x21);
        assert_eq!(pit.read(0x61, nanoseconds(750)) & 0x20, 0);
        assert_eq!(count(&mut pit, 2, nanoseconds(750)), 500);
    }

    #[test]
    fn speaker_channel_times_a_delay_for_calibration() {
        // What firmware and kernels do: gate on, mode 0, poll bit 5 of port 61h.
        let mut pit = Pit::new();
        pit.write(0x61, 1, 0, &mut Interrupts::default());
        program(&mut pit, 2, 0, 5000, 0);
        assert_eq!(pit.read(0x61, nanoseconds(4999)) & 0x20, 0);
        assert_eq!(pit.read(0x61, nanoseconds(5000)) & 0x20, 0x20);
        pit.write(0x61, 0, nanoseconds(6000), &mut Interrupts::default());
        program(&mut pit, 2, 0, 5000, nanoseconds(6000));
        assert_eq!(pit.read(0x61, nanoseconds(99_000)) & 0x20, 0, "gate is off");
    }

    #[test]
    fn read_back_latches_status_and_count() {
        let mut pit = Pit::new();
        let mut interrupts = program(&mut pit, 0, 2, 0, 0);
        pit.write(0x43, 0xc2, nanoseconds(100), &mut interrupts);
        assert_eq!(
            pit.read(0x40, 0),
            0xb4,
            "output high, count loaded, two bytes, mode 2"
        );
        assert_eq!(pit.read(0x40, 0), (65536u32 - 100) as u8);
        assert_eq!(pit.read(0x40, 0), 0xff);
    }

    #[test]
    fn refresh_bit_toggles() {
        let mut pit = Pit::new();
        assert_ne!(
            pit.read(0x61, 0) & 0x10,
            pit.read(0x61, REFRESH_TOGGLE_NS) & 0x10
        );
    }
}
