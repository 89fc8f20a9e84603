//! The ACPI power management block of the PIIX4, which Generation 2 machines have too: events, sleep control, timer.
//!
//! Source: Intel 82371AB data sheet (290562) §7.2; ACPI 6.4 §4.8.3.

use crate::bus::Outputs;
use crate::interrupts::Interrupts;

/// Number of ports.
pub const PORTS: u16 = 64;
/// Offset of the general purpose event block: status, then enable.
pub const GPE_OFFSET: u16 = 0x0c;
/// Frequency of the timer in Hz.
const TIMER_HZ: u128 = 3_579_545;
/// The timer's status rises whenever bit 23 changes.
const TIMER_HALF: u64 = 1 << 23;

const TIMER_EVENT: u16 = 1;
const GLOBAL_EVENT: u16 = 1 << 5;
const POWER_BUTTON_EVENT: u16 = 1 << 8;
const RTC_EVENT: u16 = 1 << 10;
const WAKE_EVENT: u16 = 1 << 15;
const EVENTS: u16 = TIMER_EVENT | GLOBAL_EVENT | POWER_BUTTON_EVENT | RTC_EVENT;
const SCI_ENABLE: u16 = 1;
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE: u16 = 7 << 10;
/// Values of the sleep type field, as the `_S5` and `_S4` objects say. Either turns the machine off: what a guest
/// hibernates with is on its own disk.
pub const SLEEP_TYPE_OFF: u8 = 0;
/// What a guest that hibernates writes.
pub const SLEEP_TYPE_HIBERNATE: u8 = 1;

/// Command at port B2h that hands power management to the operating system.
pub const ACPI_ENABLE: u8 = 0xf1;
/// Command at port B2h that takes it back.
pub const ACPI_DISABLE: u8 = 0xf0;

/// The block.
#[derive(Debug)]
pub struct AcpiPm {
    status: u16,
    enable: u16,
    control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    /// Registers without a function here: processor control, global and device state.
    rest: [u8; PORTS as usize],
    /// Half periods of the timer that the status has seen.
    seen_halves: u64,
    apm: [u8; 2],
}

impl Default for AcpiPm {
    fn default() -> Self {
        AcpiPm {
            status: 0,
            enable: 0,
            control: 0,
            gpe_status: 0,
            gpe_enable: 0,
            rest: [0; PORTS as usize],
            seen_halves: 0,
            apm: [0; 2],
        }
    }
}

fn timer(now_ns: u64) -> u64 {
    (u128::from(now_ns) * TIMER_HZ / 1_000_000_000) as u64
}

impl AcpiPm {
    /// A block of a machine whose power management always is the operating system's, which does not ask for
    /// it.
    pub fn always_on() -> Self {
        AcpiPm {
            control: SCI_ENABLE,
            ..AcpiPm::default()
        }
    }

    /// Reads `size` bytes at `offset` from the block's base.
    pub fn read(&mut self, offset: u16, size: u8, now_ns: u64) -> u32 {
        if offset == 8 && size == 4 {
            return timer(now_ns) as u32 & 0x00ff_ffff;
        }
        self.collect(now_ns);
        (0..size.into()).fold(0, |value, i| {
            value | u32::from(self.read_byte(offset + i, now_ns)) << (8 * i)
        })
    }

    fn read_byte(&self, offset: u16, now_ns: u64) -> u8 {
        let word = match offset {
            0 | 1 => self.status,
            2 | 3 => self.enable,
            4 | 5 => self.control,
            8..=11 => {
                return (timer(now_ns) as u32 & 0x00ff_ffff).to_le_bytes()[usize::from(offset & 3)];
            }
            0x0c | 0x0d => self.gpe_status,
            0x0e | 0x0f => self.gpe_enable,
            _ => return self.rest.get(usize::from(offset)).copied().unwrap_or(0),
        };
        word.to_le_bytes()[usize::from(offset & 1)]
    }

    /// Writes `size` bytes at `offset` from the block's base.
    pub fn write(
        &mut self,
        offset: u16,
        size: u8,
        value: u32,
        now_ns: u64,
        interrupts: &mut Interrupts,
        outputs: &mut Outputs,
    ) {
        self.collect(now_ns);
        for (offset, byte) in (offset..).zip(value.to_le_bytes()).take(size.into()) {
            self.write_byte(offset, byte);
        }
        if self.control & SLEEP_ENABLE != 0 {
            // The bit is a trigger and reads as 0. Sleep states that keep memory are not offered; as
            // on a board without them, nothing happens.
            self.control &= !SLEEP_ENABLE;
            let kind = ((self.control & SLEEP_TYPE) >> 10) as u8;
            outputs.power_off |= matches!(kind, SLEEP_TYPE_OFF | SLEEP_TYPE_HIBERNATE);
        }
        self.signal(interrupts);
    }

    fn write_byte(&mut self, offset: u16, byte: u8) {
        let high = offset & 1 != 0;
        let wide = if high {
            u16::from(byte) << 8
        } else {
            byte.into()
        };
        let keep = if high { 0x00ff } else { 0xff00 };
        match offset {
            0 | 1 => self.status &= !(wide & (EVENTS | WAKE_EVENT)),
            2 | 3 => self.enable = (self.enable & keep | wide) & EVENTS,
            4 | 5 => self.control = self.control & keep | wide,
            // The timer is read only.
            8..=11 => {}
            0x0c | 0x0d => self.gpe_status &= !wide,
            0x0e | 0x0f => self.gpe_enable = self.gpe_enable & keep | wide,
            _ => {
                if let Some(register) = self.rest.get_mut(usize::from(offset)) {
                    *register = byte;
                }
            }
        }
    }

    /// Reads port B2h or B3h.
    pub fn read_apm(&self, port: u16) -> u8 {
        self.apm[usize::from(port & 1)]
    }

    /// Writes port B2h or B3h: where system management mode would listen. What ACPI needs of it is
    /// done here.
    pub fn write_apm(&mut self, port: u16, value: u8, interrupts: &mut Interrupts) {
        self.apm[usize::from(port & 1)] = value;
        if port & 1 == 0 {
            match value {
                ACPI_ENABLE => self.control |= SCI_ENABLE,
                ACPI_DISABLE => self.control &= !SCI_ENABLE,
                _ => {}
            }
            self.signal(interrupts);
        }
    }

    /// A person presses the power button.
    pub fn press_power_button(&mut self, interrupts: &mut Interrupts) {
        self.status |= POWER_BUTTON_EVENT;
        self.signal(interrupts);
    }

    /// Whether an operating system listens to the power button.
    pub fn power_button_enabled(&self) -> bool {
        self.control & SCI_ENABLE != 0 && self.enable & POWER_BUTTON_EVENT != 0
    }

    fn collect(&mut self, now_ns: u64) {
        let halves = timer(now_ns) / TIMER_HALF;
        if halves > self.seen_halves {
            self.seen_halves = halves;
            self.status |= TIMER_EVENT;
        }
    }

    fn signal(&mut self, interrupts: &mut Interrupts) {
        let fixed = self.status & self.enable & EVENTS != 0;
        let general = self.gpe_status & self.gpe_enable != 0;
        interrupts.set_sci((fixed || general) && self.control & SCI_ENABLE != 0);
    }

    /// When the timer's interrupt is due, if it is wanted and not raised already.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let wanted = self.enable & TIMER_EVENT != 0 && self.control & SCI_ENABLE != 0;
        (wanted && self.status & TIMER_EVENT == 0).then(|| {
            let tick = u128::from((self.seen_halves + 1) * TIMER_HALF);
            (tick * 1_000_000_000).div_ceil(TIMER_HZ) as u64
        })
    }

    /// Raises the system control interrupt if it is due.
    pub fn advance(&mut self, now_ns: u64, interrupts: &mut Interrupts) {
        if self.next_deadline_ns().is_some_and(|due| due <= now_ns) {
            self.collect(now_ns);
            self.signal(interrupts);
        }
    }

    /// A reset of the machine.
    pub fn reset(&mut self, now_ns: u64, interrupts: &mut Interrupts) {
        *self = AcpiPm {
            seen_halves: timer(now_ns) / TIMER_HALF,
            ..AcpiPm::default()
        };
        self.signal(interrupts);
    }
}

#[cfg(test)]
#[path = "acpi_pm/tests.rs"]
mod tests;
