//! The four synthetic timers of a processor (TLFS, Timers), in units of reference time (100 ns).
//!
//! A timer that sends messages does not expire before a message could reach the guest: it is
//! looked at again when the SynIC is enabled, so that an early timer is late, never lost.

use super::message::Message;
use super::synic::Synic;
use crate::apic::LocalApic;
use crate::fault::GeneralProtection;

/// Timers of a processor.
pub const TIMERS: usize = 4;

const ENABLED: u64 = 1;
const PERIODIC: u64 = 1 << 1;
const LAZY: u64 = 1 << 2;
const AUTO_ENABLE: u64 = 1 << 3;
const DIRECT: u64 = 1 << 12;
const DEFINED: u64 = 0x000f_1fff;

/// HvMessageTimerExpired.
const TIMER_EXPIRED: u64 = 0x8000_0010;
/// Bytes of its payload: timer index, reserved, expiration time, delivery time.
const TIMER_PAYLOAD_BYTES: u64 = 24;

/// A periodic timer that is more periods behind than this skips them.
const MAX_BACKLOG: u64 = 8;

/// First of the eight registers: configuration and count of each timer.
pub const MSR_STIMER0_CONFIG: u32 = 0x4000_00b0;
/// Last of them.
pub const MSR_STIMER3_COUNT: u32 = 0x4000_00b7;

#[derive(Clone, Copy, Debug, Default)]
struct Timer {
    config: u64,
    count: u64,
    /// When it expires next.
    expiry: Option<u64>,
    /// When it expires if it is behind and catches up: never two signals closer than half a period.
    not_before: u64,
    /// Expired at this time, and its message waits for the slot.
    waiting: Option<u64>,
}

/// The timers.
#[derive(Clone, Debug, Default)]
pub struct SyntheticTimers([Timer; TIMERS]);

impl Timer {
    fn is_direct(&self) -> bool {
        self.config & DIRECT != 0
    }

    fn source(&self) -> u8 {
        (self.config >> 16 & 15) as u8
    }

    fn start(&mut self, now: u64) {
        self.expiry = None;
        self.waiting = None;
        self.not_before = 0;
        if self.config & ENABLED == 0 || self.count == 0 {
            return;
        }
        let periodic = self.config & PERIODIC != 0;
        self.expiry = Some(if periodic {
            now.saturating_add(self.count)
        } else {
            self.count
        });
    }

    /// When to look at the timer, if an expiry could be signalled.
    fn due(&self, takes_messages: bool) -> Option<u64> {
        if self.waiting.is_some() || !(takes_messages || self.is_direct()) {
            return None;
        }
        self.expiry.map(|expiry| expiry.max(self.not_before))
    }

    /// Sends the message that waits, if one does and its slot is free.
    fn deliver(&mut self, index: usize, now: u64, synic: &mut Synic, apic: &mut LocalApic) {
        let Some(expired) = self.waiting else { return };
        let mut message: Message = [0; 32];
        message[0] = TIMER_EXPIRED | TIMER_PAYLOAD_BYTES << 32;
        message[2] = index as u64;
        message[3] = expired;
        message[4] = now;
        if synic.try_deliver(self.source(), &message, apic) {
            self.waiting = None;
        }
    }

    /// Moves to the next period, or stops.
    fn advance(&mut self, expired: u64, now: u64) {
        if self.config & PERIODIC == 0 {
            self.config &= !ENABLED;
            self.expiry = None;
            return;
        }
        let behind = now.saturating_sub(expired) / self.count.max(1);
        // Lazy timers skip what was missed. Others catch up, signals half a period apart.
        let skipped = if self.config & LAZY != 0 || behind > MAX_BACKLOG {
            behind
        } else {
            0
        };
        self.expiry = Some(expired.saturating_add(self.count.saturating_mul(skipped + 1)));
        // At least a unit, so that a poll leaves nothing that is due at once.
        self.not_before = now.saturating_add((self.count / 2).max(1));
    }
}

impl SyntheticTimers {
    /// RDMSR of 0x400000b0 to 0x400000b7.
    pub fn read_msr(&self, msr: u32) -> Result<u64, GeneralProtection> {
        let (timer, is_count) = self
            .0
            .get(index(msr)?)
            .map(|timer| (timer, msr & 1 != 0))
            .ok_or(GeneralProtection)?;
        Ok(if is_count { timer.count } else { timer.config })
    }

    /// WRMSR of 0x400000b0 to 0x400000b7. `now` is the reference time.
    pub fn write_msr(&mut self, msr: u32, value: u64, now: u64) -> Result<(), GeneralProtection> {
        let timer = self.0.get_mut(index(msr)?).ok_or(GeneralProtection)?;
        if msr & 1 != 0 {
            timer.count = value;
            if value == 0 {
                timer.config &= !ENABLED;
            } else if timer.config & AUTO_ENABLE != 0 {
                timer.config |= ENABLED;
            }
        } else {
            if value & !DEFINED != 0 {
                return Err(GeneralProtection);
            }
            timer.config = value;
        }
        if !timer.is_direct() && timer.source() == 0 {
            timer.config &= !ENABLED;
        }
        timer.start(now);
        Ok(())
    }

    /// The reference time at which [`SyntheticTimers::poll`] next has something to do.
    #[inline]
    pub fn deadline(&self, synic: &Synic) -> Option<u64> {
        let takes_messages = synic.takes_messages();
        self.0
            .iter()
            .filter_map(|timer| timer.due(takes_messages))
            .min()
    }

    /// Does an expiry message wait for its slot?
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.0.iter().any(|timer| timer.waiting.is_some())
    }

    /// Signals what has expired by `now`, and tries again what waits for its slot.
    pub fn poll(&mut self, now: u64, synic: &mut Synic, apic: &mut LocalApic) {
        let takes_messages = synic.takes_messages();
        for (index, timer) in self.0.iter_mut().enumerate() {
            // First what waited: behind it the next expiry may be due already.
            timer.deliver(index, now, synic, apic);
            if timer.due(takes_messages).is_some_and(|due| due <= now) {
                let expired = timer.expiry.unwrap_or(now);
                timer.advance(expired, now);
                if timer.is_direct() {
                    apic.accept((timer.config >> 4) as u8, false);
                } else {
                    timer.waiting = Some(expired);
                    timer.deliver(index, now, synic, apic);
                }
            }
        }
    }
}

fn index(msr: u32) -> Result<usize, GeneralProtection> {
    match msr {
        MSR_STIMER0_CONFIG..=MSR_STIMER3_COUNT => Ok((msr - MSR_STIMER0_CONFIG) as usize / 2),
        _ => Err(GeneralProtection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apic::number;
    use crate::hyperv::synic::Page;
    use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

    const SIMP: u32 = 0x4000_0083;
    const SCONTROL: u32 = 0x4000_0080;
    const SINT2: u32 = 0x4000_0092;
    const EOM: u32 = 0x4000_0084;
    const CONFIG: u32 = MSR_STIMER0_CONFIG;
    const COUNT: u32 = MSR_STIMER0_CONFIG + 1;
    const TO_SINT2: u64 = 2 << 16;
    const DIRECT_60: u64 = DIRECT | 0x60 << 4;

    struct Bench {
        timers: SyntheticTimers,
        synic: Synic,
        apic: LocalApic,
        messages: &'static Page,
    }

    impl Bench {
        fn new() -> Self {
            let page =
                || -> &'static Page { Box::leak(Box::new([const { AtomicU64::new(0) }; 512])) };
            let messages = page();
            let mut apic = LocalApic::new(0, true, 1, 1);
            apic.write(number::SPURIOUS << 4, 0x1ff, 0);
            Self {
                timers: SyntheticTimers::default(),
                synic: Synic::new(messages, page()),
                apic,
                messages,
            }
        }

        fn with_synic() -> Self {
            let mut bench = Self::new();
            for (msr, value) in [(SIMP, 0x5001), (SINT2, 0x60), (SCONTROL, 1)] {
                bench.synic(msr, value);
            }
            bench
        }

        fn synic(&mut self, msr: u32, value: u64) {
            self.synic.write_msr(msr, value, &mut self.apic).unwrap();
        }

        fn write(&mut self, msr: u32, value: u64, now: u64) {
            self.timers.write_msr(msr, value, now).unwrap();
        }

        /// Polls; the vector that came of it.
        fn at(&mut self, now: u64) -> Option<u8> {
            self.timers.poll(now, &mut self.synic, &mut self.apic);
            let vector = self.apic.acknowledge();
            self.apic.end_of_interrupt();
            vector
        }

        fn deadline(&self) -> Option<u64> {
            self.timers.deadline(&self.synic)
        }

        fn take(&mut self) -> [u64; 5] {
            let message = core::array::from_fn(|word| self.messages[64 + word].load(SeqCst));
            self.messages[64].store(0, SeqCst);
            message
        }
    }

    #[test]
    fn direct_one_shot_fires_once_at_its_time() {
        let mut bench = Bench::new();
        bench.write(CONFIG, DIRECT_60 | AUTO_ENABLE, 0);
        assert_eq!(bench.deadline(), None);
        bench.write(COUNT, 1000, 10);
        assert_eq!(
            bench.timers.read_msr(CONFIG),
            Ok(DIRECT_60 | AUTO_ENABLE | ENABLED)
        );
        assert_eq!(bench.deadline(), Some(1000));
        assert_eq!(bench.at(999), None);
        assert_eq!(bench.at(1000), Some(0x60));
        assert_eq!(
            bench.timers.read_msr(CONFIG),
            Ok(DIRECT_60 | AUTO_ENABLE),
            "disabled by expiry"
        );
        assert_eq!(bench.at(5000), None);
        bench.write(COUNT, 6000, 5000);
        assert_eq!(bench.at(6000), Some(0x60));
    }

    #[test]
    fn a_time_in_the_past_fires_at_once() {
        let mut bench = Bench::new();
        bench.write(COUNT, 5, 100);
        bench.write(CONFIG, DIRECT_60 | ENABLED, 100);
        assert_eq!(bench.at(100), Some(0x60));
    }

    #[test]
    fn a_poll_leaves_nothing_that_is_due_at_once() {
        let mut bench = Bench::with_synic();
        bench.write(COUNT, 1000, 0);
        bench.write(CONFIG, TO_SINT2 | PERIODIC | ENABLED, 0);
        assert_eq!(bench.at(1000), Some(0x60));
        // The second message waits for the first one's slot, and the third expiry for the second message.
        bench.at(2000);
        assert_eq!(bench.at(3500), None);
        bench.take();
        assert_eq!(bench.at(3600), Some(0x60));
        assert!(bench.deadline().is_none_or(|deadline| deadline > 3600));
        bench.take();
        assert_eq!(bench.at(3700), Some(0x60));
        assert!(bench.deadline().is_some_and(|deadline| deadline > 3700));
    }

    #[test]
    fn message_has_index_and_times() {
        let mut bench = Bench::with_synic();
        bench.write(CONFIG + 6, TO_SINT2 | AUTO_ENABLE, 0);
        bench.write(COUNT + 6, 1000, 0);
        assert_eq!(bench.at(1007), Some(0x60));
        assert_eq!(bench.take(), [TIMER_EXPIRED | 24 << 32, 0, 3, 1000, 1007]);
    }

    #[test]
    fn a_timer_before_the_message_page_is_late_not_lost() {
        let mut bench = Bench::new();
        bench.write(CONFIG, TO_SINT2 | AUTO_ENABLE, 0);
        bench.write(COUNT, 1000, 0);
        assert_eq!(bench.deadline(), None, "nothing could be delivered");
        assert_eq!(bench.at(2000), None);
        for (msr, value) in [(SINT2, 0x60), (SCONTROL, 1), (SIMP, 0x5001)] {
            bench.synic(msr, value);
        }
        assert_eq!(bench.deadline(), Some(1000));
        assert_eq!(bench.at(3000), Some(0x60));
        assert_eq!(bench.take()[3..], [1000, 3000]);
    }

    #[test]
    fn a_busy_slot_delays_the_message_to_the_end_of_message() {
        let mut bench = Bench::with_synic();
        let mut other = [0; 32];
        other[0] = 1;
        bench.synic.post(2, &other, &mut bench.apic).unwrap();
        bench.write(CONFIG, TO_SINT2 | AUTO_ENABLE, 0);
        bench.write(COUNT, 1000, 0);
        assert_eq!(bench.at(1000), Some(0x60), "of the other message");
        assert_eq!(bench.deadline(), None);
        assert_eq!(
            bench.take()[0],
            1 | 1 << 40,
            "the guest is told to end the message"
        );
        bench.synic(EOM, 0);
        assert_eq!(bench.at(1500), Some(0x60));
        assert_eq!(bench.take()[2..], [0, 1000, 1500]);
    }

    #[test]
    fn periodic_keeps_its_rate() {
        let mut bench = Bench::new();
        bench.write(COUNT, 100, 0);
        bench.write(CONFIG, DIRECT_60 | PERIODIC | ENABLED, 50);
        for period in 1..50 {
            let due = 50 + 100 * period;
            assert_eq!(bench.deadline(), Some(due));
            assert_eq!(bench.at(due - 1), None);
            assert_eq!(bench.at(due + 20), Some(0x60));
        }
        bench.write(CONFIG, 0, 6000);
        assert_eq!(bench.deadline(), None);
    }

    #[test]
    fn periodic_catches_up_half_a_period_apart_and_lazy_skips() {
        let mut bench = Bench::new();
        bench.write(COUNT, 100, 0);
        bench.write(CONFIG, DIRECT_60 | PERIODIC | ENABLED, 0);
        assert_eq!(bench.at(350), Some(0x60));
        assert_eq!(bench.deadline(), Some(400));
        assert_eq!(bench.at(400), Some(0x60), "200");
        assert_eq!(bench.at(450), Some(0x60), "300");
        assert_eq!(bench.at(500), Some(0x60), "400");
        assert_eq!(bench.at(550), Some(0x60), "500");
        assert_eq!(bench.deadline(), Some(600));

        let mut bench = Bench::new();
        bench.write(COUNT, 100, 0);
        bench.write(CONFIG, DIRECT_60 | PERIODIC | LAZY | ENABLED, 0);
        assert_eq!(bench.at(350), Some(0x60));
        assert_eq!(bench.deadline(), Some(400));
        assert_eq!(bench.at(10_050), Some(0x60));
        assert_eq!(bench.deadline(), Some(10_100));
    }

    #[test]
    fn a_long_backlog_is_skipped() {
        let mut bench = Bench::new();
        bench.write(COUNT, 100, 0);
        bench.write(CONFIG, DIRECT_60 | PERIODIC | ENABLED, 0);
        assert_eq!(bench.at(100_000), Some(0x60));
        assert_eq!(bench.deadline(), Some(100_100));
    }

    #[test]
    fn source_0_and_count_0_disable() {
        let mut bench = Bench::with_synic();
        bench.write(COUNT, 100, 0);
        bench.write(CONFIG, ENABLED, 0);
        assert_eq!(bench.timers.read_msr(CONFIG), Ok(0));
        bench.write(CONFIG, DIRECT_60 | ENABLED, 0);
        assert_eq!(bench.deadline(), Some(100));
        bench.write(COUNT, 0, 0);
        assert_eq!(bench.timers.read_msr(CONFIG), Ok(DIRECT_60));
        assert_eq!(bench.deadline(), None);
    }

    #[test]
    fn reserved_bits_and_other_registers_are_refused() {
        let mut timers = SyntheticTimers::default();
        for bit in [13, 14, 15, 20, 63] {
            assert_eq!(
                timers.write_msr(CONFIG, 1 << bit, 0),
                Err(GeneralProtection)
            );
        }
        assert_eq!(timers.write_msr(0x4000_00b8, 0, 0), Err(GeneralProtection));
        assert_eq!(timers.read_msr(0x4000_00af), Err(GeneralProtection));
    }

    #[test]
    fn extreme_counts_do_not_overflow() {
        let mut bench = Bench::new();
        for count in [1, u64::MAX] {
            bench.write(CONFIG, DIRECT_60 | PERIODIC | AUTO_ENABLE, 0);
            bench.write(COUNT, count, u64::MAX - 1);
            bench.at(u64::MAX);
            bench.at(u64::MAX);
            assert!(bench.deadline().is_some());
        }
    }
}
