//! The general-purpose timer, CSR11. Source: §3.2.2.11.

/// A tick on the MII port at 100 Mbit/s: 2048 cycles of 25 MHz.
const TICK_NS: u64 = 81_920;
const CONTINUOUS: u32 = 1 << 16;

/// The timer.
#[derive(Debug, Default)]
pub struct Timer {
    value: u32,
    deadline_ns: Option<u64>,
}

impl Timer {
    /// What was written last.
    pub fn read(&self) -> u32 {
        self.value
    }

    /// A number of ticks, and whether they come again and again. 0 stops it.
    pub fn write(&mut self, value: u32, now_ns: u64) {
        self.value = value & 0x1_ffff;
        self.deadline_ns = self.period_ns().and_then(|ns| now_ns.checked_add(ns));
    }

    fn period_ns(&self) -> Option<u64> {
        let ticks = u64::from(self.value & 0xffff);
        (ticks != 0).then_some(ticks * TICK_NS)
    }

    /// When it is due.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Lets time pass. Answers whether it was due.
    pub fn advance(&mut self, now_ns: u64) -> bool {
        let due = self.deadline_ns.is_some_and(|due_ns| due_ns <= now_ns);
        if due {
            let again = self.period_ns().filter(|_| self.value & CONTINUOUS != 0);
            self.deadline_ns = again.and_then(|ns| now_ns.checked_add(ns));
        }
        due
    }
}
