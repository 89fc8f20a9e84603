//! The synthetic model-specific registers, 0x40000000 to 0x400001ff. What is not offered in CPUID
//! raises #GP, as the TLFS says.

use super::assist::AssistPage;
use super::message::{Message, PostError};
use super::partition::Partition;
use super::reference_time::ReferenceClock;
use super::stimer::{MSR_STIMER0_CONFIG, MSR_STIMER3_COUNT, SyntheticTimers};
use super::synic::{Page, Synic};
use crate::apic::{LocalApic, number};
use crate::effect::Effect;
use crate::fault::GeneralProtection;

const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const VP_INDEX: u32 = 0x4000_0002;
const RESET: u32 = 0x4000_0003;
const REFERENCE_COUNTER: u32 = 0x4000_0020;
const REFERENCE_TSC: u32 = 0x4000_0021;
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;
const END_OF_INTERRUPT: u32 = 0x4000_0070;
const INTERRUPT_COMMAND: u32 = 0x4000_0071;
const TASK_PRIORITY: u32 = 0x4000_0072;
const VP_ASSIST_PAGE: u32 = 0x4000_0073;
const SYNIC_FIRST: u32 = 0x4000_0080;
const SYNIC_LAST: u32 = 0x4000_009f;
const CRASH_P0: u32 = 0x4000_0100;
const CRASH_P4: u32 = 0x4000_0104;
const CRASH_CONTROL: u32 = 0x4000_0105;

/// Crash control: report the parameters.
const CRASH_NOTIFY: u64 = 1 << 63;
/// Crash control: P3 and P4 are address and length of a text.
const CRASH_MESSAGE: u64 = 1 << 62;

/// The enlightenments of one processor. The message queue, which is long, lies last.
#[derive(Debug)]
#[repr(C)]
pub struct HyperV {
    index: u32,
    clock: ReferenceClock,
    assist: AssistPage,
    timers: SyntheticTimers,
    synic: Synic,
}

impl HyperV {
    /// At power-on, over zeroed pages: the SynIC's two and the assist page.
    pub fn new(
        partition: &Partition,
        index: u32,
        messages: &'static Page,
        events: &'static Page,
        assist: &'static Page,
    ) -> Self {
        Self {
            index,
            clock: ReferenceClock::new(partition.tsc_hz),
            assist: AssistPage::new(assist),
            timers: SyntheticTimers::default(),
            synic: Synic::new(messages, events),
        }
    }

    /// Signals expired timers. `now` is in machine ticks.
    #[inline]
    pub fn poll(&mut self, now: u64, apic: &mut LocalApic) {
        self.timers
            .poll(self.clock.time(now), &mut self.synic, apic);
    }

    /// When [`HyperV::poll`] next has something to do, in machine ticks.
    pub fn deadline(&self) -> Option<u64> {
        self.timers
            .deadline(&self.synic)
            .map(|time| self.clock.ticks(time))
    }

    /// An interrupt ended: messages that wait are tried again. `true`: the deadline may be another.
    #[inline]
    pub fn interrupt_ended(&mut self, now: u64, apic: &mut LocalApic) -> bool {
        if !self.synic.is_idle() {
            self.synic.redeliver(false, apic);
        }
        let timers_wait = self.timers.is_waiting();
        if timers_wait {
            self.poll(now, apic);
        }
        timers_wait
    }

    /// Is there an interrupt whose end the guest need not tell?
    #[inline]
    pub fn is_end_offered(&self) -> bool {
        self.assist.is_offered()
    }

    /// After an exit: ends that interrupt if the guest has. `true`: the deadline may be another.
    pub fn take_offered_end(&mut self, now: u64, apic: &mut LocalApic) -> bool {
        if !self.assist.was_taken() {
            return false;
        }
        // It was no level, so nobody else has to hear of it.
        apic.end_of_interrupt();
        self.interrupt_ended(now, apic)
    }

    /// An interrupt was acknowledged: its end need not be told if nothing waits for it.
    pub fn offer_end(&mut self, apic: &LocalApic) {
        let nothing_waits = self.synic.is_idle() && !self.timers.is_waiting();
        if self.assist.is_enabled() && nothing_waits && apic.may_end_untold() {
            self.assist.offer();
        }
    }

    /// Something waits for the end of the interrupt in service.
    pub fn withdraw_end(&mut self) {
        self.assist.withdraw();
    }

    /// See [`Synic::post`].
    pub fn post(
        &mut self,
        source: u8,
        message: &Message,
        apic: &mut LocalApic,
    ) -> Result<(), PostError> {
        self.synic.post(source, message, apic)
    }

    /// See [`Synic::has_room`].
    pub fn has_message_room(&self) -> bool {
        self.synic.has_room()
    }

    /// See [`Synic::signal`].
    pub fn signal(&mut self, source: u8, flag: u16, apic: &mut LocalApic) -> bool {
        self.synic.signal(source, flag, apic)
    }

    /// RDMSR of 0x40000000 to 0x400001ff; `now` in machine ticks.
    pub fn read_msr(
        &self,
        partition: &Partition,
        apic: &LocalApic,
        msr: u32,
        now: u64,
    ) -> Result<u64, GeneralProtection> {
        Ok(match msr {
            GUEST_OS_ID => partition.guest_os_id(),
            HYPERCALL => partition.hypercall(),
            VP_INDEX => u64::from(self.index),
            RESET => 0,
            REFERENCE_COUNTER => self.clock.time(now),
            REFERENCE_TSC if partition.reference_tsc_offered => partition.reference_tsc(),
            // Linux turns it off before kexec and at a crash without a look at what was offered.
            REFERENCE_TSC => 0,
            TSC_FREQUENCY => partition.tsc_hz,
            APIC_FREQUENCY => partition.apic_hz,
            INTERRUPT_COMMAND if !apic.x2apic() => apic.command(),
            TASK_PRIORITY => u64::from(apic.task_priority()),
            VP_ASSIST_PAGE => self.assist.register(),
            SYNIC_FIRST..=SYNIC_LAST => self.synic.read_msr(msr)?,
            MSR_STIMER0_CONFIG..=MSR_STIMER3_COUNT => self.timers.read_msr(msr)?,
            CRASH_P0..=CRASH_P4 => partition.crash_parameter((msr - CRASH_P0) as usize),
            CRASH_CONTROL => CRASH_NOTIFY | CRASH_MESSAGE,
            _ => return Err(GeneralProtection),
        })
    }

    /// WRMSR of 0x40000000 to 0x400001ff; `now` in machine ticks.
    pub fn write_msr(
        &mut self,
        partition: &Partition,
        apic: &mut LocalApic,
        msr: u32,
        value: u64,
        now: u64,
    ) -> Result<Effect, GeneralProtection> {
        Ok(match msr {
            GUEST_OS_ID => partition.set_guest_os_id(value),
            HYPERCALL => partition.set_hypercall(value),
            RESET if value & 1 != 0 => Effect::Reset,
            RESET => Effect::None,
            REFERENCE_TSC if partition.reference_tsc_offered => partition.set_reference_tsc(value),
            REFERENCE_TSC if value & 1 == 0 => Effect::None,
            END_OF_INTERRUPT if value >> 32 == 0 => {
                let effect = apic.write(number::END_OF_INTERRUPT << 4, 0, now);
                self.interrupt_ended(now, apic);
                effect
            }
            INTERRUPT_COMMAND if !apic.x2apic() => {
                apic.write(number::COMMAND_HIGH << 4, (value >> 32) as u32, now);
                apic.write(number::COMMAND << 4, value as u32, now)
            }
            TASK_PRIORITY if value <= 0xff => {
                apic.write(number::TASK_PRIORITY << 4, value as u32, now)
            }
            VP_ASSIST_PAGE => self.assist.set_register(value),
            SYNIC_FIRST..=SYNIC_LAST => {
                let effect = self.synic.write_msr(msr, value, apic)?;
                // Timers wait for the same slots.
                self.poll(now, apic);
                effect
            }
            MSR_STIMER0_CONFIG..=MSR_STIMER3_COUNT => {
                self.timers.write_msr(msr, value, self.clock.time(now))?;
                Effect::None
            }
            CRASH_P0..=CRASH_P4 => {
                partition.set_crash_parameter((msr - CRASH_P0) as usize, value);
                Effect::None
            }
            CRASH_CONTROL if value & CRASH_NOTIFY != 0 => {
                let p = |index| partition.crash_parameter(index);
                Effect::Crash([p(0), p(1), p(2), p(3), p(4), value])
            }
            CRASH_CONTROL => Effect::None,
            _ => return Err(GeneralProtection),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hyperv::{Overlay, OverlayKind};
    use core::sync::atomic::AtomicU64;
    use hypervisor_abi::Vendor;

    const TSC_HZ: u64 = 2_000_000_000;

    struct Bench {
        partition: Partition,
        apic: LocalApic,
        hyperv: HyperV,
    }

    impl Bench {
        fn new(reference_tsc: bool) -> Self {
            let page =
                || -> &'static Page { Box::leak(Box::new([const { AtomicU64::new(0) }; 512])) };
            let partition = Partition::new(Vendor::Svm, 2, TSC_HZ, 200_000_000, 0, reference_tsc);
            let hyperv = HyperV::new(&partition, 1, page(), page(), page());
            let mut apic = LocalApic::new(1, false, TSC_HZ, 200_000_000);
            apic.write(number::SPURIOUS << 4, 0x1ff, 0);
            Self {
                partition,
                apic,
                hyperv,
            }
        }

        fn read(&self, msr: u32, now: u64) -> Result<u64, GeneralProtection> {
            self.hyperv.read_msr(&self.partition, &self.apic, msr, now)
        }

        fn write(&mut self, msr: u32, value: u64) -> Result<Effect, GeneralProtection> {
            self.hyperv
                .write_msr(&self.partition, &mut self.apic, msr, value, 0)
        }
    }

    fn placed(kind: OverlayKind, gpa: Option<u64>) -> Result<Effect, GeneralProtection> {
        Ok(Effect::Overlay(Overlay { kind, gpa }))
    }

    #[test]
    fn hypercall_page_needs_an_identity() {
        let mut bench = Bench::new(true);
        assert_eq!(bench.write(HYPERCALL, 0x1001), Ok(Effect::None));
        assert_eq!(
            bench.read(HYPERCALL, 0),
            Ok(0),
            "no operating system has said who it is"
        );
        assert!(!bench.partition.hypercalls_enabled());
        bench.write(GUEST_OS_ID, 0x8100_0000_0000_0000).unwrap();
        assert_eq!(
            bench.write(HYPERCALL, 0x1001),
            placed(OverlayKind::Hypercall, Some(0x1000))
        );
        assert!(bench.partition.hypercalls_enabled());
        assert_eq!(bench.read(HYPERCALL, 0), Ok(0x1001));
        assert_eq!(
            bench.write(HYPERCALL, 0x3001),
            placed(OverlayKind::Hypercall, Some(0x3000))
        );
        assert_eq!(
            bench.write(GUEST_OS_ID, 0),
            placed(OverlayKind::Hypercall, None)
        );
        assert_eq!(bench.read(HYPERCALL, 0), Ok(0x3000));
    }

    #[test]
    fn a_locked_hypercall_page_stays() {
        let mut bench = Bench::new(true);
        bench.write(GUEST_OS_ID, 1).unwrap();
        bench.write(HYPERCALL, 0x1003).unwrap();
        assert_eq!(bench.write(HYPERCALL, 0x3001), Ok(Effect::None));
        assert_eq!(bench.read(HYPERCALL, 0), Ok(0x1003));
    }

    #[test]
    fn clocks_and_frequencies() {
        let mut bench = Bench::new(true);
        assert_eq!(
            bench.read(REFERENCE_COUNTER, 3 * TSC_HZ + 1),
            Ok(30_000_000)
        );
        assert_eq!(bench.write(REFERENCE_COUNTER, 0), Err(GeneralProtection));
        assert_eq!(bench.read(TSC_FREQUENCY, 0), Ok(TSC_HZ));
        assert_eq!(bench.read(APIC_FREQUENCY, 0), Ok(200_000_000));
        assert_eq!(
            bench.write(REFERENCE_TSC, 0x2001),
            placed(OverlayKind::ReferenceTsc, Some(0x2000))
        );
        assert_eq!(bench.read(REFERENCE_TSC, 0), Ok(0x2001));
        let mut bench = Bench::new(false);
        assert_eq!(bench.write(REFERENCE_TSC, 0x2001), Err(GeneralProtection));
        assert_eq!(bench.read(REFERENCE_TSC, 0), Ok(0));
        assert_eq!(bench.write(REFERENCE_TSC, 0x2000), Ok(Effect::None));
    }

    #[test]
    fn crash_registers_report() {
        let mut bench = Bench::new(true);
        for parameter in 0..5 {
            bench
                .write(CRASH_P0 + parameter, 100 + u64::from(parameter))
                .unwrap();
        }
        assert_eq!(bench.write(CRASH_CONTROL, 0), Ok(Effect::None));
        let control = CRASH_NOTIFY | CRASH_MESSAGE;
        assert_eq!(
            bench.write(CRASH_CONTROL, control),
            Ok(Effect::Crash([100, 101, 102, 103, 104, control]))
        );
        assert_eq!(bench.read(CRASH_CONTROL, 0), Ok(control));
    }

    #[test]
    fn apic_registers_work_in_xapic_mode() {
        let mut bench = Bench::new(true);
        bench.apic.accept(0x70, true);
        bench.apic.acknowledge();
        assert_eq!(
            bench.write(END_OF_INTERRUPT, 0),
            Ok(Effect::EndOfInterrupt(0x70))
        );
        bench.write(TASK_PRIORITY, 0x50).unwrap();
        assert_eq!(bench.read(TASK_PRIORITY, 0), Ok(0x50));
        assert_eq!(bench.write(TASK_PRIORITY, 0x100), Err(GeneralProtection));
        assert!(matches!(
            bench.write(INTERRUPT_COMMAND, 0x0100_0000_0000_0041),
            Ok(Effect::SendIpi(_))
        ));
        assert_eq!(bench.read(INTERRUPT_COMMAND, 0), Ok(0x0100_0000_0000_0041));
        assert_eq!(bench.read(END_OF_INTERRUPT, 0), Err(GeneralProtection));
    }

    #[test]
    fn timer_fires_when_the_message_page_appears() {
        let mut bench = Bench::new(true);
        bench.write(MSR_STIMER0_CONFIG, 2 << 16 | 1 << 3).unwrap();
        bench.write(MSR_STIMER0_CONFIG + 1, 1000).unwrap();
        assert_eq!(bench.hyperv.deadline(), None);
        for (msr, value) in [(SYNIC_FIRST, 1), (0x4000_0092, 0x60), (0x4000_0083, 0x5001)] {
            bench.write(msr, value).unwrap();
        }
        // 100 µs at 2 GHz; the page's scale is rounded down, so a tick may be added.
        let deadline = bench.hyperv.deadline().unwrap();
        assert!((200_000..=200_001).contains(&deadline), "{deadline}");
        bench.hyperv.poll(deadline - 1, &mut bench.apic);
        assert_eq!(bench.apic.highest_pending(), None);
        bench.hyperv.poll(deadline, &mut bench.apic);
        assert_eq!(bench.apic.highest_pending(), Some(0x60));
    }

    #[test]
    fn other_registers() {
        let mut bench = Bench::new(true);
        assert_eq!(bench.read(VP_INDEX, 0), Ok(1));
        assert_eq!(bench.write(VP_INDEX, 0), Err(GeneralProtection));
        assert_eq!(
            bench.write(VP_ASSIST_PAGE, 0x9001),
            placed(OverlayKind::Assist, Some(0x9000))
        );
        assert_eq!(bench.read(VP_ASSIST_PAGE, 0), Ok(0x9001));
        assert_eq!(bench.write(RESET, 1), Ok(Effect::Reset));
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        let mut bench = Bench::new(true);
        // VP runtime, guest idle, reenlightenment, invariant TSC control, debugging, holes.
        for msr in [
            0x4000_0010,
            0x4000_00f0,
            0x4000_0106,
            0x4000_0118,
            0x4000_00f1,
            0x4000_0004,
            0x4000_01ff,
        ] {
            assert_eq!(bench.read(msr, 0), Err(GeneralProtection), "{msr:#x}");
            assert_eq!(bench.write(msr, 0), Err(GeneralProtection), "{msr:#x}");
        }
    }

    #[test]
    fn every_register_takes_every_pattern() {
        let mut bench = Bench::new(true);
        for value in [
            0,
            1,
            u64::MAX,
            0x5555_5555_5555_5555,
            1 << 63,
            0x7fff_ffff_ffff_f001,
        ] {
            for msr in 0x4000_0000..0x4000_0200 {
                let _ = bench.write(msr, value);
                let _ = bench.read(msr, u64::MAX);
                bench.hyperv.poll(u64::MAX, &mut bench.apic);
                bench.hyperv.deadline();
            }
        }
    }
}
