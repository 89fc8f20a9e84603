use super::*;
use crate::apic::number;

struct Bench {
    synic: Synic,
    apic: LocalApic,
}

fn page() -> &'static Page {
    Box::leak(Box::new([const { AtomicU64::new(0) }; 512]))
}

fn message(number: u64) -> Message {
    let mut message = [0; 32];
    message[0] = 1 | 8 << 32;
    message[1] = 0x77;
    message[2] = number;
    message
}

impl Bench {
    fn new() -> Self {
        let mut apic = LocalApic::new(0, true, 1, 1);
        apic.write(number::SPURIOUS << 4, 0x1ff, 0);
        Self {
            synic: Synic::new(page(), page()),
            apic,
        }
    }

    /// With SynIC, both pages and source 2 enabled at vector 0x60.
    fn enabled() -> Self {
        let mut bench = Self::new();
        bench.write(MSR_SIMP, 0x5001);
        bench.write(MSR_SIEFP, 0x6001);
        bench.write(MSR_SINT0 + 2, 0x60);
        bench.write(MSR_SCONTROL, 1);
        bench
    }

    fn write(&mut self, msr: u32, value: u64) -> Effect {
        self.synic.write_msr(msr, value, &mut self.apic).unwrap()
    }

    fn post(&mut self, number: u64) -> Result<(), PostError> {
        self.synic.post(2, &message(number), &mut self.apic)
    }

    /// What the guest's handler does: reads the slot, empties it, looks for the flag.
    fn take(&mut self) -> Option<(u64, bool)> {
        let slot = &self.synic.messages[2 * 32..];
        let header = slot[0].load(Ordering::SeqCst);
        if header as u32 == 0 {
            return None;
        }
        let number = slot[2].load(Ordering::SeqCst);
        let header = slot[0].fetch_and(!0xffff_ffff, Ordering::SeqCst);
        Some((number, header & MESSAGE_PENDING != 0))
    }

    fn interrupt(&mut self) -> Option<u8> {
        let vector = self.apic.acknowledge();
        self.apic.end_of_interrupt();
        vector
    }
}

#[test]
fn a_message_arrives_with_its_interrupt() {
    let mut bench = Bench::enabled();
    bench.post(5).unwrap();
    assert_eq!(bench.interrupt(), Some(0x60));
    assert_eq!(bench.synic.messages[64].load(Ordering::SeqCst), 1 | 8 << 32);
    assert_eq!(bench.synic.messages[65].load(Ordering::SeqCst), 0x77);
    assert_eq!(bench.take(), Some((5, false)));
    assert_eq!(bench.take(), None);
}

#[test]
fn messages_queue_behind_a_busy_slot_and_keep_their_order() {
    let mut bench = Bench::enabled();
    for number in 0..4 {
        bench.post(number).unwrap();
    }
    assert_eq!(bench.interrupt(), Some(0x60));
    assert_eq!(bench.interrupt(), None, "one message, one interrupt");
    for number in 0..4 {
        assert_eq!(bench.take(), Some((number, number < 3)));
        bench.write(MSR_EOM, 0);
        assert_eq!(bench.interrupt(), (number < 3).then_some(0x60));
    }
    assert!(bench.synic.is_idle());
}

#[test]
fn the_queue_is_bounded() {
    let mut bench = Bench::enabled();
    for number in 0..17 {
        assert!(bench.synic.has_room());
        bench.post(number).unwrap();
    }
    assert!(!bench.synic.has_room());
    assert_eq!(bench.post(17), Err(PostError::QueueFull));
    bench.take();
    bench.write(MSR_EOM, 0);
    assert_eq!(bench.post(17), Ok(()));
}

#[test]
fn a_message_before_the_page_is_enabled_is_not_lost() {
    for order in [
        [MSR_SIMP, MSR_SINT0 + 2, MSR_SCONTROL],
        [MSR_SCONTROL, MSR_SINT0 + 2, MSR_SIMP],
        [MSR_SCONTROL, MSR_SIMP, MSR_SINT0 + 2],
    ] {
        let mut bench = Bench::new();
        bench.post(1).unwrap();
        for (step, msr) in order.into_iter().enumerate() {
            assert_eq!(bench.take(), None, "before step {step} of {order:x?}");
            bench.write(msr, if msr == MSR_SINT0 + 2 { 0x60 } else { 0x5001 });
        }
        assert_eq!(bench.interrupt(), Some(0x60), "{order:x?}");
        assert_eq!(bench.take(), Some((1, false)));
    }
}

#[test]
fn a_masked_source_holds_its_message_until_it_is_unmasked_or_drained() {
    let mut bench = Bench::enabled();
    bench.write(MSR_SINT0 + 2, 0x60 | SINT_MASKED);
    bench.post(1).unwrap();
    bench.post(2).unwrap();
    assert_eq!(bench.take(), None);
    bench.write(MSR_EOM, 0);
    assert_eq!(bench.take(), Some((1, true)), "end of message drains");
    assert_eq!(bench.interrupt(), None, "without an interrupt");
    bench.write(MSR_SINT0 + 2, 0x60);
    assert_eq!(bench.interrupt(), Some(0x60));
    assert_eq!(bench.take(), Some((2, false)));
}

#[test]
fn polling_delivers_without_interrupts() {
    let mut bench = Bench::enabled();
    bench.write(MSR_SINT0 + 2, 0x60 | SINT_MASKED | SINT_POLLING);
    bench.post(1).unwrap();
    assert_eq!(bench.interrupt(), None);
    assert_eq!(bench.take(), Some((1, false)));
    assert!(bench.synic.signal(2, 7, &mut bench.apic));
    assert_eq!(bench.interrupt(), None);
}

#[test]
fn a_slot_emptied_while_the_flag_is_set_is_used_at_once() {
    // The guest runs on another processor and empties the slot at a random moment.
    let mut bench = Bench::enabled();
    let messages = bench.synic.messages;
    std::thread::scope(|scope| {
        let guest = scope.spawn(move || {
            let (mut taken, mut told) = (0u64, 0u64);
            while taken < 20_000 {
                let slot = &messages[64];
                if slot.load(Ordering::SeqCst) as u32 == 0 {
                    std::hint::spin_loop();
                    continue;
                }
                assert_eq!(messages[66].load(Ordering::SeqCst), taken);
                taken += 1;
                let header = slot.fetch_and(!0xffff_ffff, Ordering::SeqCst);
                told += u64::from(header & MESSAGE_PENDING != 0);
            }
            told
        });
        // Nothing is queued here: each message is tried until its slot takes it.
        for number in 0..20_000 {
            while !bench
                .synic
                .try_deliver(2, &message(number), &mut bench.apic)
            {
                std::hint::spin_loop();
            }
        }
        guest.join().unwrap();
    });
}

#[test]
fn event_flags_interrupt_on_their_edge() {
    let mut bench = Bench::enabled();
    assert!(bench.synic.signal(2, 2047, &mut bench.apic));
    assert_eq!(bench.interrupt(), Some(0x60));
    assert!(bench.synic.signal(2, 2047, &mut bench.apic));
    assert_eq!(bench.interrupt(), None, "still set");
    assert_eq!(
        bench.synic.events[2 * 32 + 31].swap(0, Ordering::SeqCst),
        1 << 63
    );
    assert!(bench.synic.signal(2, 2047, &mut bench.apic));
    assert_eq!(bench.interrupt(), Some(0x60));
}

#[test]
fn event_flags_are_refused_where_the_guest_would_miss_them() {
    let mut bench = Bench::enabled();
    assert!(!bench.synic.signal(3, 0, &mut bench.apic), "masked");
    assert!(!bench.synic.signal(16, 0, &mut bench.apic));
    assert!(!bench.synic.signal(2, 2048, &mut bench.apic));
    bench.write(MSR_SIEFP, 0);
    assert!(!bench.synic.signal(2, 0, &mut bench.apic), "no page");
    assert!(
        bench
            .synic
            .events
            .iter()
            .all(|word| word.load(Ordering::SeqCst) == 0)
    );
}

#[test]
fn auto_eoi_reaches_the_apic() {
    let mut bench = Bench::enabled();
    bench.write(MSR_SINT0 + 2, 0x60 | SINT_AUTO_EOI);
    bench.post(1).unwrap();
    assert_eq!(bench.apic.acknowledge(), Some(0x60));
    assert_eq!(bench.apic.end_of_interrupt(), None);
    assert_eq!(
        bench.apic.read(number::PROCESSOR_PRIORITY << 4, 0),
        0,
        "nothing in service"
    );
}

#[test]
fn registers_read_back_and_refuse() {
    let mut bench = Bench::new();
    for sint in MSR_SINT0..=MSR_SINT15 {
        assert_eq!(bench.synic.read_msr(sint), Ok(0x10000));
    }
    assert_eq!(bench.synic.read_msr(MSR_SVERSION), Ok(1));
    assert_eq!(bench.synic.read_msr(MSR_EOM), Ok(0));
    let apic = &mut bench.apic;
    assert_eq!(
        bench.synic.write_msr(MSR_SVERSION, 1, apic),
        Err(GeneralProtection)
    );
    assert_eq!(
        bench.synic.write_msr(MSR_SINT0, 15, apic),
        Err(GeneralProtection)
    );
    assert_eq!(
        bench.synic.write_msr(MSR_SINT0, SINT_MASKED, apic),
        Ok(Effect::None)
    );
    assert_eq!(
        bench.synic.write_msr(0x4000_0085, 0, apic),
        Err(GeneralProtection)
    );
    assert_eq!(bench.synic.read_msr(0x4000_0085), Err(GeneralProtection));
    let placed = Effect::Overlay(Overlay {
        kind: OverlayKind::Messages,
        gpa: Some(0x7000),
    });
    assert_eq!(bench.synic.write_msr(MSR_SIMP, 0x7001, apic), Ok(placed));
    assert_eq!(
        bench.synic.write_msr(MSR_SIMP, 0x7801, apic),
        Ok(Effect::None),
        "reserved bits are kept"
    );
    assert_eq!(bench.synic.read_msr(MSR_SIMP), Ok(0x7801));
    let removed = Effect::Overlay(Overlay {
        kind: OverlayKind::Messages,
        gpa: None,
    });
    assert_eq!(bench.synic.write_msr(MSR_SIMP, 0x7000, apic), Ok(removed));
}

#[test]
fn malformed_messages_are_refused() {
    let mut bench = Bench::enabled();
    let post = |source, header, bench: &mut Bench| {
        let mut message = message(0);
        message[0] = header;
        bench.synic.post(source, &message, &mut bench.apic)
    };
    assert_eq!(post(16, 1, &mut bench), Err(PostError::Invalid));
    assert_eq!(post(2, 0, &mut bench), Err(PostError::Invalid));
    assert_eq!(post(2, 1 | 241 << 32, &mut bench), Err(PostError::Invalid));
    assert_eq!(post(2, 1 | 240 << 32, &mut bench), Ok(()));
}
