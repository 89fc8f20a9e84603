//! The local APIC of a guest's processor, xAPIC and x2APIC (SDM vol. 3 ch. 11).
//!
//! It belongs to whoever runs the processor. Time is given to it as machine ticks: TSC ticks since
//! the machine's epoch.

mod ipi;
mod priority;
mod registers;
mod timer;

pub use ipi::{Arrival, DeliveryMode, Destination, Identity, Ipi};
pub use priority::VectorSet;
pub use registers::number;

use crate::effect::Effect;
use crate::fault::GeneralProtection;
use priority::processor_priority;
use registers::{
    ERROR_ILLEGAL_REGISTER, ERROR_RECEIVE_VECTOR, ERROR_SEND_VECTOR, LVT_MASKED, SPURIOUS_ENABLED,
    VERSION, lvt_writable, x2apic_readable, x2apic_settable,
};
use timer::{Timer, TimerMode};

/// IA32_APIC_BASE: the bootstrap processor.
const BASE_BOOTSTRAP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode.
const BASE_X2APIC: u64 = 1 << 10;
/// IA32_APIC_BASE: enabled.
pub const BASE_ENABLED: u64 = 1 << 11;
/// IA32_APIC_BASE: where the xAPIC page lies.
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Where it lies after a reset.
const DEFAULT_ADDRESS: u64 = 0xfee0_0000;

/// Local vector field 10:8: ExtINT.
const LVT_EXTINT: u32 = 7 << 8;

/// A local APIC.
#[derive(Clone, Debug)]
pub struct LocalApic {
    request: VectorSet,
    in_service: VectorSet,
    level: VectorSet,
    auto_eoi: VectorSet,
    task_priority: u8,
    spurious: u32,
    base: u64,
    apic_id: u32,
    logical_id: u8,
    flat: bool,
    error_status: u32,
    error_pending: u32,
    command: u64,
    /// Timer, thermal, performance, LINT0, LINT1, error: registers 0x32 to 0x37.
    lvt: [u32; 6],
    timer: Timer,
}

impl LocalApic {
    /// A local APIC after power-on, in xAPIC mode at the default address. Its timer counts at
    /// `apic_hz` before the divider.
    pub fn new(apic_id: u32, bootstrap: bool, tsc_hz: u64, apic_hz: u64) -> Self {
        let mut apic = Self {
            request: VectorSet::default(),
            in_service: VectorSet::default(),
            level: VectorSet::default(),
            auto_eoi: VectorSet::default(),
            task_priority: 0,
            spurious: 0,
            base: DEFAULT_ADDRESS | BASE_ENABLED | if bootstrap { BASE_BOOTSTRAP } else { 0 },
            apic_id,
            logical_id: 0,
            flat: true,
            error_status: 0,
            error_pending: 0,
            command: 0,
            lvt: [LVT_MASKED; 6],
            timer: Timer::new(tsc_hz, apic_hz),
        };
        apic.reset();
        apic
    }

    /// The state after INIT: all but the APIC id, the mode and the address (SDM vol. 3 §11.4.7.3).
    pub fn reset(&mut self) {
        self.request = VectorSet::default();
        self.in_service = VectorSet::default();
        self.level = VectorSet::default();
        self.task_priority = 0;
        self.spurious = 0xff;
        self.logical_id = 0;
        self.flat = true;
        self.error_status = 0;
        self.error_pending = 0;
        self.command = 0;
        self.lvt = [LVT_MASKED; 6];
        if self.base & BASE_BOOTSTRAP != 0 {
            // Firmware takes interrupts of the 8259s before it programs the APIC: the line passes
            // through the bootstrap processor's APIC, as PC firmware finds it.
            *self.lvt_mut(number::LVT_LINT0) = LVT_EXTINT;
        }
        self.timer.reset();
    }

    /// The APIC id.
    pub fn apic_id(&self) -> u32 {
        self.apic_id
    }

    /// In x2APIC mode?
    pub fn x2apic(&self) -> bool {
        self.base & BASE_X2APIC != 0
    }

    /// The guest-physical page of its registers: `None` while disabled or in x2APIC mode.
    pub fn page(&self) -> Option<u64> {
        (self.base & (BASE_ENABLED | BASE_X2APIC) == BASE_ENABLED)
            .then_some(self.base & BASE_ADDRESS)
    }

    /// What senders match destinations against.
    pub fn identity(&self) -> Identity {
        Identity {
            apic_id: self.apic_id,
            logical_id: self.logical_id,
            flat: self.flat,
            x2apic: self.x2apic(),
            enabled: self.enabled(),
        }
    }

    /// Enabled by both the base register and the spurious-interrupt register.
    fn enabled(&self) -> bool {
        self.base & BASE_ENABLED != 0 && self.spurious & SPURIOUS_ENABLED != 0
    }

    // Interrupts.

    /// An interrupt arrives. `false`: it was not accepted.
    pub fn accept(&mut self, vector: u8, level: bool) -> bool {
        if !self.enabled() {
            return false;
        }
        if vector < 16 {
            self.error(ERROR_RECEIVE_VECTOR);
            return false;
        }
        self.request.insert(vector);
        if level {
            self.level.insert(vector);
        } else {
            self.level.remove(vector);
        }
        true
    }

    /// Is any interrupt requested, whatever its priority?
    #[inline]
    pub fn has_requests(&self) -> bool {
        !self.request.is_empty()
    }

    /// The highest requested interrupt, if the processor priority lets it through.
    #[inline]
    pub fn highest_pending(&self) -> Option<u8> {
        let vector = self.request.highest()?;
        let priority = processor_priority(self.task_priority, self.in_service.highest());
        (vector >> 4 > priority >> 4 && self.enabled()).then_some(vector)
    }

    /// The highest requested interrupt if only the task priority holds it back.
    pub fn blocked_by_task_priority(&self) -> Option<u8> {
        let vector = self.request.highest()?;
        let in_service = self.in_service.highest().map_or(0, |served| served >> 4);
        let class = vector >> 4;
        (class > in_service && class <= self.task_priority >> 4 && self.enabled()).then_some(vector)
    }

    /// Moves [`LocalApic::highest_pending`] to in-service, for injection. Vectors with automatic
    /// end of interrupt are never in service.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.highest_pending()?;
        self.request.remove(vector);
        if !self.auto_eoi.contains(vector) {
            self.in_service.insert(vector);
        }
        Some(vector)
    }

    /// Ends the highest interrupt in service. `Some`: it was level-triggered, the IOAPIC must hear
    /// of it.
    pub fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.in_service.highest()?;
        self.in_service.remove(vector);
        self.level.contains(vector).then_some(vector)
    }

    /// Does nothing wait for the end of the interrupt in service: no other one, neither requested nor in service,
    /// and no IOAPIC?
    pub fn may_end_untold(&self) -> bool {
        let alone = self.in_service.only();
        self.request.is_empty() && alone.is_some_and(|vector| !self.level.contains(vector))
    }

    /// Which vectors end by themselves when they are injected (SynIC AutoEOI).
    pub fn set_auto_eoi(&mut self, vectors: VectorSet) {
        self.auto_eoi = vectors;
    }

    /// Does an interrupt of the 8259s pass through LINT0 to the processor? Without an APIC the line
    /// is the processor's own.
    pub fn accepts_extint(&self) -> bool {
        let lint0 = self.lvt(number::LVT_LINT0);
        self.base & BASE_ENABLED == 0 || lint0 & (LVT_MASKED | LVT_EXTINT) == LVT_EXTINT
    }

    /// The task priority as in CR8.
    pub fn task_priority_class(&self) -> u8 {
        self.task_priority >> 4
    }

    /// The task-priority register.
    pub fn task_priority(&self) -> u8 {
        self.task_priority
    }

    /// The interrupt-command register.
    pub fn command(&self) -> u64 {
        self.command
    }

    /// CR8 was written: the low half of the task priority is 0 afterwards.
    pub fn set_task_priority_class(&mut self, class: u8) {
        if class != self.task_priority >> 4 {
            self.task_priority = class << 4;
        }
    }

    // Time.

    /// Raises the timer's interrupt if it is due.
    pub fn poll(&mut self, now: u64) {
        if self.timer.fire(now) {
            self.raise_local(number::LVT_TIMER);
        }
    }

    /// When [`LocalApic::poll`] next has something to do, in machine ticks.
    pub fn deadline(&self) -> Option<u64> {
        if self.lvt(number::LVT_TIMER) & LVT_MASKED != 0 {
            None
        } else {
            self.timer.expiry()
        }
    }

    /// The guest's TSC is now machine ticks plus `adjust`.
    pub fn set_tsc_adjust(&mut self, adjust: u64, now: u64) {
        self.timer.set_tsc_adjust(adjust, now);
    }

    /// IA32_TSC_DEADLINE.
    pub fn tsc_deadline(&mut self, now: u64) -> u64 {
        self.poll(now);
        self.timer.tsc_deadline()
    }

    /// Writes IA32_TSC_DEADLINE.
    pub fn set_tsc_deadline(&mut self, guest_tsc: u64, now: u64) {
        self.poll(now);
        self.timer.set_tsc_deadline(guest_tsc, now);
    }

    // Access by the guest.

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Writes IA32_APIC_BASE (SDM vol. 3 §11.12.5). `physical_bits` is the guest's address width.
    pub fn set_base(
        &mut self,
        value: u64,
        physical_bits: u32,
    ) -> Result<Effect, GeneralProtection> {
        let address = BASE_ADDRESS & ((1u64 << physical_bits.min(52)) - 1);
        if value & !(address | BASE_BOOTSTRAP | BASE_X2APIC | BASE_ENABLED) != 0 {
            return Err(GeneralProtection);
        }
        const DISABLED: u64 = 0;
        const XAPIC: u64 = BASE_ENABLED;
        const X2APIC: u64 = BASE_ENABLED | BASE_X2APIC;
        let mode = BASE_ENABLED | BASE_X2APIC;
        match (self.base & mode, value & mode) {
            (_, BASE_X2APIC) | (DISABLED, X2APIC) | (X2APIC, XAPIC) => {
                return Err(GeneralProtection);
            }
            (XAPIC | X2APIC, DISABLED) => self.reset(),
            _ => {}
        }
        let page = self.page();
        // The bootstrap flag is ours; what the guest writes there is ignored.
        self.base = value & !BASE_BOOTSTRAP | self.base & BASE_BOOTSTRAP;
        Ok(if self.page() == page {
            Effect::None
        } else {
            Effect::ApicPage(self.page())
        })
    }

    /// Reads the xAPIC page at `offset`, 0 to 0xfff. What lies between the registers reads as 0,
    /// the bytes of a register can be read apart.
    pub fn read(&mut self, offset: u32, now: u64) -> u32 {
        let register = offset >> 4 & 0xff;
        let value = match register {
            number::COMMAND_HIGH => (self.command >> 32) as u32,
            number::ID => self.apic_id << 24,
            number::LOGICAL_DESTINATION => u32::from(self.logical_id) << 24,
            number::DESTINATION_FORMAT if self.flat => u32::MAX,
            number::DESTINATION_FORMAT => 0x0fff_ffff,
            number::ARBITRATION_PRIORITY | number::REMOTE_READ | number::END_OF_INTERRUPT => 0,
            _ => match self.read_register(register, now) {
                Some(value) => value,
                None => {
                    self.error(ERROR_ILLEGAL_REGISTER);
                    0
                }
            },
        };
        if offset & 15 < 4 {
            value >> (8 * (offset & 3))
        } else {
            0
        }
    }

    /// Writes 32 bits to the xAPIC page at `offset`, 0 to 0xfff.
    pub fn write(&mut self, offset: u32, value: u32, now: u64) -> Effect {
        if offset & 15 != 0 {
            return Effect::None;
        }
        match offset >> 4 & 0xff {
            number::LOGICAL_DESTINATION => self.logical_id = (value >> 24) as u8,
            number::DESTINATION_FORMAT => self.flat = value >> 28 == 15,
            number::COMMAND_HIGH => {
                self.command = self.command & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32
            }
            number::COMMAND => {
                self.command = self.command & !0xffff_ffff | u64::from(value & 0x000c_cfff);
                let id = (self.command >> 56) as u8;
                let destination = match (value & 1 << 11 != 0, id) {
                    (true, mda) => Destination::LogicalXapic(mda),
                    (false, 0xff) => Destination::All,
                    (false, id) => Destination::Physical(u32::from(id)),
                };
                return self.send(value, destination);
            }
            // Read-only or obsolete registers.
            number::ID
            | number::VERSION
            | number::ARBITRATION_PRIORITY
            | number::PROCESSOR_PRIORITY
            | number::REMOTE_READ
            | number::IN_SERVICE..number::ERROR_STATUS
            | number::TIMER_CURRENT => {}
            number::SELF_IPI => self.error(ERROR_ILLEGAL_REGISTER),
            register => match self.write_register(register, value, now) {
                Some(effect) => return effect,
                None => self.error(ERROR_ILLEGAL_REGISTER),
            },
        }
        Effect::None
    }

    /// RDMSR of 0x800 to 0x8ff.
    pub fn read_msr(&mut self, msr: u32, now: u64) -> Result<u64, GeneralProtection> {
        let register = msr.wrapping_sub(0x800);
        if !self.x2apic() || !x2apic_readable(register) {
            return Err(GeneralProtection);
        }
        Ok(match register {
            number::COMMAND => self.command,
            number::ID => u64::from(self.apic_id),
            number::LOGICAL_DESTINATION => u64::from(Identity::x2apic_logical_id(self.apic_id)),
            _ => u64::from(self.read_register(register, now).ok_or(GeneralProtection)?),
        })
    }

    /// WRMSR of 0x800 to 0x8ff.
    pub fn write_msr(
        &mut self,
        msr: u32,
        value: u64,
        now: u64,
    ) -> Result<Effect, GeneralProtection> {
        let register = msr.wrapping_sub(0x800);
        let settable = x2apic_settable(register).ok_or(GeneralProtection)?;
        if !self.x2apic() || value & !settable != 0 {
            return Err(GeneralProtection);
        }
        let low = value as u32;
        Ok(match register {
            number::SELF_IPI => {
                self.accept_own(low as u8);
                Effect::None
            }
            number::COMMAND => {
                self.command = value & !(1 << 12);
                let destination = match (low & 1 << 11 != 0, (value >> 32) as u32) {
                    (_, u32::MAX) => Destination::All,
                    (true, mda) => Destination::LogicalX2apic(mda),
                    (false, id) => Destination::Physical(id),
                };
                self.send(low, destination)
            }
            _ => self
                .write_register(register, low, now)
                .ok_or(GeneralProtection)?,
        })
    }

    /// Registers that both modes read alike; `None`: there is none with this number.
    fn read_register(&mut self, register: u32, now: u64) -> Option<u32> {
        Some(match register {
            number::VERSION => VERSION,
            number::TASK_PRIORITY => u32::from(self.task_priority),
            number::PROCESSOR_PRIORITY => u32::from(processor_priority(
                self.task_priority,
                self.in_service.highest(),
            )),
            number::SPURIOUS => self.spurious,
            0x10..=0x17 => self.in_service.register(register - number::IN_SERVICE),
            0x18..=0x1f => self.level.register(register - number::TRIGGER_MODE),
            0x20..=0x27 => self.request.register(register - number::REQUEST),
            number::ERROR_STATUS => self.error_status,
            number::COMMAND => self.command as u32,
            number::LVT_TIMER..=number::LVT_ERROR => self.lvt(register),
            number::TIMER_INITIAL => self.timer.initial(),
            number::TIMER_CURRENT => self.timer.current(now),
            number::TIMER_DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Registers that both modes write alike.
    fn write_register(&mut self, register: u32, value: u32, now: u64) -> Option<Effect> {
        match register {
            number::TASK_PRIORITY => self.task_priority = value as u8,
            number::END_OF_INTERRUPT => {
                return Some(
                    self.end_of_interrupt()
                        .map_or(Effect::None, Effect::EndOfInterrupt),
                );
            }
            number::SPURIOUS => {
                self.spurious = value & 0x3ff;
                if !self.enabled() {
                    self.lvt.iter_mut().for_each(|lvt| *lvt |= LVT_MASKED);
                }
            }
            number::ERROR_STATUS => {
                self.error_status = self.error_pending;
                self.error_pending = 0;
            }
            number::LVT_TIMER..=number::LVT_ERROR => {
                // What expired under the old vector or mode is raised under it.
                self.poll(now);
                let forced = if self.enabled() { 0 } else { LVT_MASKED };
                *self.lvt_mut(register) = value & lvt_writable(register) | forced;
                if register == number::LVT_TIMER {
                    self.timer.set_mode(TimerMode::from_lvt(value), now);
                }
            }
            number::TIMER_INITIAL => {
                self.poll(now);
                self.timer.load(value, now);
            }
            number::TIMER_DIVIDE => {
                self.poll(now);
                self.timer.set_divide(value, now);
            }
            _ => return None,
        }
        Some(Effect::None)
    }

    /// The command register was written: what `low` says to `destination`, unless a shorthand
    /// replaces that.
    fn send(&mut self, low: u32, destination: Destination) -> Effect {
        let Some(mode) = DeliveryMode::from_field(low >> 8) else {
            return Effect::None;
        };
        let vector = low as u8;
        let level = low & 1 << 15 != 0;
        let has_vector = matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        if has_vector && vector < 16 {
            self.error(ERROR_SEND_VECTOR);
            return Effect::None;
        }
        if mode == DeliveryMode::Init && level && low & 1 << 14 == 0 {
            // INIT level de-assert: for bus arbitration of long ago.
            return Effect::None;
        }
        let destination = match low >> 18 & 3 {
            0 => destination,
            1 => Destination::Myself,
            2 => Destination::All,
            _ => Destination::Others,
        };
        if has_vector && destination == Destination::Myself {
            self.accept_own(vector);
            return Effect::None;
        }
        // Messages between processors are edges, whatever the trigger bit says.
        Effect::SendIpi(Ipi {
            mode,
            vector,
            level: false,
            destination,
        })
    }

    fn accept_own(&mut self, vector: u8) {
        if vector < 16 {
            self.error(ERROR_SEND_VECTOR);
        }
        self.accept(vector, false);
    }

    fn error(&mut self, bit: u32) {
        let seen = self.error_pending & bit != 0;
        self.error_pending |= bit;
        if !seen {
            self.raise_local(number::LVT_ERROR);
        }
    }

    /// Raises the interrupt of a local vector. These have vectors that may be illegal: an error
    /// again, but never an endless one.
    fn raise_local(&mut self, register: u32) {
        let lvt = self.lvt(register);
        if lvt & LVT_MASKED != 0 {
            return;
        }
        if lvt as u8 >= 16 {
            self.accept(lvt as u8, false);
        } else if register == number::LVT_ERROR {
            self.error_pending |= ERROR_RECEIVE_VECTOR;
        } else {
            self.error(ERROR_RECEIVE_VECTOR);
        }
    }

    fn lvt(&self, register: u32) -> u32 {
        self.lvt
            .get(register.wrapping_sub(number::LVT_TIMER) as usize)
            .copied()
            .unwrap_or(LVT_MASKED)
    }

    fn lvt_mut(&mut self, register: u32) -> &mut u32 {
        &mut self.lvt[(register.wrapping_sub(number::LVT_TIMER) as usize).min(5)]
    }
}

#[cfg(test)]
mod tests;
