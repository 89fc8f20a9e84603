use super::*;
use crate::apic::Destination;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use hypervisor_abi::Vendor;

const X2APIC_END_OF_INTERRUPT: u32 = 0x80b;
const TSC_HZ: u64 = 2_000_000_000;
const EPOCH: u64 = 5_000_000_000_000;

struct Bench {
    partition: Partition,
    processor: VirtualProcessor,
    messages: &'static Page,
    assist: &'static Page,
    tsc: u64,
}

fn host(leaf: u32, subleaf: u32) -> [u32; 4] {
    match (leaf, subleaf) {
        (0, _) => [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
        (1, _) => [0x0080_0f12, 0x800, 0x7ed8_320b, 0x178b_fbff],
        (0xd, 0) => [7, 0, 0, 0],
        (0xd, 2) => [256, 576, 0, 0],
        (0x8000_0000, _) => [0x8000_001f, 0, 0, 0],
        _ => [0; 4],
    }
}

impl Bench {
    fn new(index: u32) -> Self {
        let page = || -> &'static Page { Box::leak(Box::new([const { AtomicU64::new(0) }; 512])) };
        let partition = Partition::new(Vendor::Svm, 2, TSC_HZ, 200_000_000, EPOCH, true);
        let (messages, assist) = (page(), page());
        let processor = VirtualProcessor::new(&partition, index, index, messages, page(), assist);
        Self {
            partition,
            processor,
            messages,
            assist,
            tsc: EPOCH,
        }
    }

    /// With the local APIC enabled in x2APIC mode.
    fn x2apic(index: u32) -> Self {
        let mut bench = Self::new(index);
        let base = bench.read(APIC_BASE);
        assert_eq!(
            bench.write(APIC_BASE, base | 1 << 10),
            Effect::ApicPage(None)
        );
        bench.write(0x80f, 0x1ff);
        bench
    }

    fn context(&self) -> Context {
        Context {
            tsc: self.tsc,
            cr4: 1 << 18,
            xcr0: 3,
            efer: 0x500,
        }
    }

    fn read(&mut self, msr: u32) -> u64 {
        let context = self.context();
        self.processor
            .rdmsr(&self.partition, msr, &context)
            .unwrap()
    }

    fn write(&mut self, msr: u32, value: u64) -> Effect {
        let context = self.context();
        self.processor
            .wrmsr(&self.partition, msr, value, &context)
            .unwrap()
    }

    fn at(&mut self, tsc: u64) -> Option<u8> {
        self.tsc = tsc;
        self.processor.poll(&self.partition, tsc);
        self.processor.pending_interrupt()
    }

    fn deadline(&self) -> Option<u64> {
        self.processor.next_deadline(&self.partition)
    }

    fn send(&mut self, mode: DeliveryMode, vector: u8) -> Arrival {
        self.processor.deliver(&Ipi {
            mode,
            vector,
            level: false,
            destination: Destination::Myself,
        })
    }
}

#[test]
fn startup_follows_init() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.processor.activity(), Activity::WaitForStartup);
    assert_eq!(bench.send(DeliveryMode::Init, 0), Arrival::Init);
    assert_eq!(
        bench.send(DeliveryMode::StartUp, 0x9a),
        Arrival::StartUp(0x9a)
    );
    assert_eq!(bench.processor.activity(), Activity::Running);
    assert_eq!(
        bench.send(DeliveryMode::StartUp, 0x9a),
        Arrival::Nothing,
        "the second of the pair"
    );
    let mut bootstrap = Bench::new(0);
    assert_eq!(bootstrap.processor.activity(), Activity::Running);
    assert_eq!(bootstrap.send(DeliveryMode::Init, 0), Arrival::Init);
    assert_eq!(bootstrap.processor.activity(), Activity::Running);
}

#[test]
fn a_halt_ends_with_what_can_be_delivered() {
    let mut bench = Bench::x2apic(0);
    bench.processor.halt();
    assert_eq!(bench.at(EPOCH), None);
    assert_eq!(bench.processor.activity(), Activity::Halted);
    bench.processor.set_task_priority(5);
    assert_eq!(bench.send(DeliveryMode::Fixed, 0x50), Arrival::Pending);
    bench.at(EPOCH);
    assert_eq!(
        bench.processor.activity(),
        Activity::Halted,
        "held back by its priority"
    );
    assert_eq!(bench.processor.blocked_by_task_priority(), Some(0x50));
    assert_eq!(bench.send(DeliveryMode::Nmi, 0), Arrival::Pending);
    bench.at(EPOCH);
    assert_eq!(bench.processor.activity(), Activity::Running);
    assert!(bench.processor.nmi_pending());
    bench.processor.take_nmi();
    bench.processor.set_task_priority(4);
    assert_eq!(bench.processor.blocked_by_task_priority(), None);
    assert_eq!(bench.processor.acknowledge(), Some(0x50));
}

#[test]
fn a_masked_halt_waits_for_an_nmi() {
    let mut bench = Bench::x2apic(0);
    bench.write(0x832, 0x40);
    bench.write(0x838, 2_000);
    bench.write(0x835, 0x700);
    assert!(bench.processor.accepts_extint());
    bench.processor.halt_masked();
    assert!(!bench.processor.accepts_extint());
    assert_eq!(bench.deadline(), None, "no timer can wake it");
    assert_eq!(bench.at(u64::MAX), Some(0x40));
    assert_eq!(bench.processor.activity(), Activity::Halted);
    bench.send(DeliveryMode::Nmi, 0);
    bench.at(u64::MAX);
    assert_eq!(bench.processor.activity(), Activity::Running);
    bench.processor.halt();
    bench.at(u64::MAX);
    assert_eq!(bench.processor.activity(), Activity::Running);
}

/// A bench whose guest has placed its assist page, and 0x60 in service.
fn serving(level: bool) -> Bench {
    let mut bench = Bench::x2apic(0);
    bench.write(0x4000_0073, 0x9001);
    let processor = &mut bench.processor;
    processor.deliver(&Ipi {
        mode: DeliveryMode::Fixed,
        vector: 0x60,
        level,
        destination: Destination::Myself,
    });
    processor.withdraw_end();
    assert_eq!(processor.acknowledge(), Some(0x60));
    processor.offer_end();
    bench
}

impl Bench {
    fn exit(&mut self) {
        self.processor.take_offered_end(&self.partition, || EPOCH);
    }
}

#[test]
fn an_interrupt_ends_without_a_word() {
    let mut bench = serving(false);
    assert_eq!(bench.assist[0].load(SeqCst), 1);
    // In the handler, which exits for something else: an equal one waits.
    bench.exit();
    bench.send(DeliveryMode::Fixed, 0x60);
    assert_eq!(bench.at(EPOCH), None);
    // The guest's test and clear at its end, and the next exit, whatever for.
    bench.assist[0].store(0, SeqCst);
    bench.exit();
    assert_eq!(bench.at(EPOCH), Some(0x60));
}

#[test]
fn what_waits_for_the_end_makes_the_guest_tell_it() {
    let mut bench = serving(false);
    bench.exit();
    bench.send(DeliveryMode::Fixed, 0x41);
    bench.processor.withdraw_end();
    assert_eq!(bench.assist[0].load(SeqCst), 0);
    bench.exit();
    assert_eq!(bench.at(EPOCH), None, "it has not ended");
    bench.write(X2APIC_END_OF_INTERRUPT, 0);
    assert_eq!(bench.at(EPOCH), Some(0x41));
}

#[test]
fn levels_and_nested_interrupts_are_told() {
    assert_eq!(serving(true).assist[0].load(SeqCst), 0);
    let mut bench = serving(false);
    bench.send(DeliveryMode::Fixed, 0x90);
    bench.processor.withdraw_end();
    assert_eq!(bench.processor.acknowledge(), Some(0x90));
    bench.processor.offer_end();
    assert_eq!(bench.assist[0].load(SeqCst), 0);
    // Without a page there is nothing to look at.
    let mut bench = Bench::x2apic(0);
    bench.send(DeliveryMode::Fixed, 0x60);
    bench.processor.acknowledge();
    bench.processor.offer_end();
    assert_eq!(bench.assist[0].load(SeqCst), 0);
}

#[test]
fn apic_timer_deadline_is_in_physical_ticks() {
    let mut bench = Bench::x2apic(0);
    bench.tsc = EPOCH + 1_000;
    bench.write(0x83e, 0b1011);
    bench.write(0x832, 0x40);
    bench.write(0x838, 2_000);
    // 2000 counts at 200 MHz are 20000 ticks at 2 GHz.
    assert_eq!(bench.deadline(), Some(EPOCH + 21_000));
    assert_eq!(bench.at(EPOCH + 20_999), None);
    assert_eq!(bench.at(EPOCH + 21_000), Some(0x40));
    assert_eq!(bench.deadline(), None);
}

#[test]
fn the_guests_tsc_starts_at_the_epoch_and_follows_its_writes() {
    let mut bench = Bench::x2apic(0);
    bench.tsc = EPOCH + 700;
    assert_eq!(bench.read(TSC), 700);
    assert_eq!(
        bench.processor.tsc_offset(&bench.partition),
        EPOCH.wrapping_neg()
    );
    assert_eq!(
        bench.write(TSC, 100_700),
        Effect::TscOffset(100_000u64.wrapping_sub(EPOCH))
    );
    assert_eq!(bench.read(TSC), 100_700);
    assert_eq!(bench.read(TSC_ADJUST), 100_000);
    assert_eq!(bench.read(0x4000_0020), 3, "reference time does not follow");
    bench.write(0x832, 0x40 | 2 << 17);
    bench.write(TSC_DEADLINE, 101_000);
    assert_eq!(bench.deadline(), Some(EPOCH + 1_000));
    assert_eq!(
        bench.write(TSC_ADJUST, 0),
        Effect::TscOffset(EPOCH.wrapping_neg())
    );
    assert_eq!(bench.deadline(), Some(EPOCH + 101_000));
    assert_eq!(bench.at(EPOCH + 101_000), Some(0x40));
    assert_eq!(bench.read(TSC_DEADLINE), 0);
}

#[test]
fn synthetic_timer_in_direct_mode() {
    let mut bench = Bench::x2apic(0);
    bench.write(0x4000_00b0, 1 << 12 | 0x61 << 4 | 1 << 3);
    bench.write(0x4000_00b1, 50);
    let deadline = bench.deadline().unwrap();
    assert!((EPOCH + 10_000..=EPOCH + 10_001).contains(&deadline));
    assert_eq!(bench.at(deadline - 1), None);
    assert_eq!(bench.at(deadline), Some(0x61));
}

#[test]
fn a_waiting_timer_message_comes_with_the_end_of_interrupt() {
    let mut bench = Bench::x2apic(0);
    for (msr, value) in [(0x4000_0080, 1), (0x4000_0083, 0x5001), (0x4000_0092, 0x60)] {
        bench.write(msr, value);
    }
    let mut message = [0; 32];
    message[0] = 1;
    bench.processor.post_message(2, &message).unwrap();
    bench.write(0x4000_00b0, 2 << 16 | 1 << 3);
    bench.write(0x4000_00b1, 50);
    assert_eq!(bench.at(EPOCH + 20_000), Some(0x60));
    assert_eq!(bench.processor.acknowledge(), Some(0x60));
    assert_eq!(bench.deadline(), None);
    bench.messages[64].store(0, SeqCst);
    bench.write(X2APIC_END_OF_INTERRUPT, 0);
    assert_eq!(bench.messages[64].load(SeqCst) as u32, 0x8000_0010);
    assert_eq!(bench.at(EPOCH + 20_000), Some(0x60));
}

#[test]
fn the_end_of_a_level_interrupt_is_told_in_both_modes() {
    let level = Ipi {
        mode: DeliveryMode::Fixed,
        vector: 0x70,
        level: true,
        destination: Destination::Myself,
    };
    let mut bench = Bench::x2apic(0);
    bench.processor.deliver(&level);
    bench.processor.acknowledge();
    assert_eq!(
        bench.write(X2APIC_END_OF_INTERRUPT, 0),
        Effect::EndOfInterrupt(0x70)
    );
    let mut bench = Bench::new(0);
    bench
        .processor
        .write_apic(&bench.partition, 0xf0, 0x1ff, EPOCH);
    bench.processor.deliver(&level);
    bench.processor.acknowledge();
    let effect = bench.processor.write_apic(&bench.partition, 0xb0, 0, EPOCH);
    assert_eq!(effect, Effect::EndOfInterrupt(0x70));
}

#[test]
fn hypercalls_need_a_page_and_privilege() {
    let mut bench = Bench::new(0);
    let ask = |bench: &Bench, cpl, cr0| {
        let gpr = |index| if index == 1 { 0x1005d } else { 0 };
        bench
            .processor
            .hypercall(&bench.partition, gpr, CodeMode::Bits64, cpl, cr0)
    };
    assert_eq!(ask(&bench, 0, 1), HypercallAnswer::InvalidOpcode, "no page");
    bench.write(0x4000_0000, 1);
    assert!(matches!(
        bench.write(0x4000_0001, 0x1001),
        Effect::Overlay(_)
    ));
    assert_eq!(ask(&bench, 0, 1), HypercallAnswer::ToVmm([0x1005d, 0, 0]));
    assert_eq!(ask(&bench, 3, 1), HypercallAnswer::InvalidOpcode);
    assert_eq!(
        ask(&bench, 0, 0),
        HypercallAnswer::InvalidOpcode,
        "real mode"
    );
}

#[test]
fn cpuid_shows_the_hypervisor_and_this_processor() {
    let bench = Bench::new(1);
    let cpuid = |leaf| {
        bench
            .processor
            .cpuid(&bench.partition, leaf, 0, &bench.context(), host)
    };
    assert_eq!(cpuid(1)[1] >> 24, 1);
    assert_eq!(cpuid(1)[2] >> 31, 1);
    assert_eq!(cpuid(0x4000_0001)[0], 0x3123_7648);
    assert_eq!(cpuid(0x4000_0100), [0; 4]);
    assert_eq!(cpuid(0xd)[1], 576);
}

#[test]
fn xcr0_is_what_this_cpu_has() {
    let bench = Bench::new(0);
    assert_eq!(bench.processor.xsetbv(0, 7, host), Ok(7));
    assert_eq!(
        bench.processor.xsetbv(0, 0xe7, host),
        Err(GeneralProtection)
    );
    assert_eq!(bench.processor.xsetbv(1, 7, host), Err(GeneralProtection));
}

/// A guest that does the wildest things to every register at every time: nothing panics, and time
/// never runs backwards in the deadline.
#[test]
fn no_input_panics() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bench = Bench::x2apic(1);
    let ranges = [
        (0u32, 0x900u32),
        (0x4000_0000, 0x120),
        (0xc000_0080, 0x10),
        (0xc001_0000, 0x130),
        (0x800, 0x40),
    ];
    for _ in 0..200_000 {
        let (first, count) = ranges[random() as usize % ranges.len()];
        let msr = first + random() as u32 % count;
        let value = match random() % 4 {
            0 => random(),
            1 => 1 << (random() & 63),
            2 => random() & 0xffff,
            _ => u64::MAX,
        };
        let context = Context {
            tsc: random(),
            cr4: random(),
            xcr0: random(),
            efer: random(),
        };
        let _ = bench
            .processor
            .wrmsr(&bench.partition, msr, value, &context);
        let _ = bench.processor.rdmsr(&bench.partition, msr, &context);
        let offset = random() as u32 & 0xfff;
        bench
            .processor
            .write_apic(&bench.partition, offset, value as u32, context.tsc);
        bench
            .processor
            .read_apic(&bench.partition, offset, context.tsc);
        bench.processor.poll(&bench.partition, random());
        bench.processor.acknowledge();
        let _ = bench.processor.signal_event(value as u8, msr as u16);
        let mut message = [value; 32];
        message[0] = random();
        let _ = bench.processor.post_message(msr as u8 & 31, &message);
        bench.processor.cpuid(
            &bench.partition,
            value as u32,
            msr,
            &context,
            |leaf, subleaf| [leaf, subleaf, !leaf, value as u32],
        );
        let _ = bench.processor.xsetbv(0, value, host);
        bench.send(
            DeliveryMode::from_field(msr).unwrap_or(DeliveryMode::Fixed),
            value as u8,
        );
    }
}

#[test]
fn what_every_exit_looks_at_lies_close_together() {
    assert!(core::mem::offset_of!(VirtualProcessor, hyperv) < 1024);
    assert!(size_of::<VirtualProcessor>() < 2 * 4096);
}
