use super::*;

const TSC_HZ: u64 = 1_000_000_000;
const APIC_HZ: u64 = 100_000_000;
const ENABLE: u32 = SPURIOUS_ENABLED | 0xff;

fn enabled() -> LocalApic {
    let mut apic = LocalApic::new(3, false, TSC_HZ, APIC_HZ);
    assert_eq!(write(&mut apic, number::SPURIOUS, ENABLE), Effect::None);
    apic
}

fn x2apic() -> LocalApic {
    let mut apic = enabled();
    let base = apic.base();
    assert_eq!(
        apic.set_base(base | BASE_X2APIC, 40),
        Ok(Effect::ApicPage(None))
    );
    apic
}

fn write(apic: &mut LocalApic, register: u32, value: u32) -> Effect {
    apic.write(register << 4, value, 0)
}

fn read(apic: &mut LocalApic, register: u32) -> u32 {
    apic.read(register << 4, 0)
}

#[test]
fn power_on_state_is_the_manuals() {
    let mut apic = LocalApic::new(5, true, TSC_HZ, APIC_HZ);
    assert_eq!(apic.base(), 0xfee0_0900);
    assert_eq!(read(&mut apic, number::ID), 5 << 24);
    assert_eq!(read(&mut apic, number::SPURIOUS), 0xff);
    assert_eq!(read(&mut apic, number::DESTINATION_FORMAT), u32::MAX);
    assert_eq!(read(&mut apic, number::LVT_TIMER), LVT_MASKED);
    assert_eq!(read(&mut apic, number::VERSION), 0x50014);
    assert!(apic.accepts_extint(), "firmware uses the 8259s first");
    assert!(!LocalApic::new(1, false, TSC_HZ, APIC_HZ).accepts_extint());
}

#[test]
fn disabled_apic_accepts_nothing_and_masks_local_vectors() {
    let mut apic = LocalApic::new(0, true, TSC_HZ, APIC_HZ);
    assert!(!apic.accept(0x40, false));
    write(&mut apic, number::LVT_TIMER, 0x40);
    assert_eq!(read(&mut apic, number::LVT_TIMER), LVT_MASKED | 0x40);
    write(&mut apic, number::SPURIOUS, ENABLE);
    write(&mut apic, number::LVT_TIMER, 0x40);
    assert_eq!(read(&mut apic, number::LVT_TIMER), 0x40);
    write(&mut apic, number::SPURIOUS, 0xff);
    assert_eq!(read(&mut apic, number::LVT_TIMER), LVT_MASKED | 0x40);
}

#[test]
fn interrupts_nest_by_class() {
    let mut apic = enabled();
    assert!(apic.accept(0x45, false));
    assert_eq!(apic.acknowledge(), Some(0x45));
    assert_eq!(read(&mut apic, number::PROCESSOR_PRIORITY), 0x40);
    apic.accept(0x4f, false);
    assert_eq!(apic.highest_pending(), None, "same class waits");
    apic.accept(0x50, false);
    assert_eq!(apic.acknowledge(), Some(0x50));
    assert_eq!(apic.end_of_interrupt(), None);
    assert_eq!(apic.highest_pending(), None);
    write(&mut apic, number::END_OF_INTERRUPT, 0);
    assert_eq!(apic.acknowledge(), Some(0x4f));
}

#[test]
fn task_priority_holds_back_its_class_and_lower() {
    let mut apic = enabled();
    apic.accept(0x45, false);
    apic.set_task_priority_class(4);
    assert_eq!(apic.highest_pending(), None);
    assert_eq!(read(&mut apic, number::TASK_PRIORITY), 0x40);
    apic.set_task_priority_class(3);
    assert_eq!(apic.highest_pending(), Some(0x45));
    write(&mut apic, number::TASK_PRIORITY, 0x35);
    apic.set_task_priority_class(3);
    assert_eq!(
        read(&mut apic, number::TASK_PRIORITY),
        0x35,
        "an unchanged class keeps the sub-class"
    );
}

#[test]
fn level_interrupts_are_broadcast_at_their_end() {
    let mut apic = enabled();
    apic.accept(0x61, true);
    assert_eq!(read(&mut apic, number::TRIGGER_MODE + 3), 1 << 1);
    apic.acknowledge();
    assert_eq!(
        write(&mut apic, number::END_OF_INTERRUPT, 0),
        Effect::EndOfInterrupt(0x61)
    );
    apic.accept(0x61, false);
    apic.acknowledge();
    assert_eq!(write(&mut apic, number::END_OF_INTERRUPT, 0), Effect::None);
    assert_eq!(
        write(&mut apic, number::END_OF_INTERRUPT, 0),
        Effect::None,
        "none in service"
    );
}

#[test]
fn auto_eoi_vectors_are_never_in_service() {
    let mut apic = enabled();
    let mut set = VectorSet::default();
    set.insert(0x70);
    apic.set_auto_eoi(set);
    apic.accept(0x70, false);
    assert_eq!(apic.acknowledge(), Some(0x70));
    apic.accept(0x70, false);
    assert_eq!(apic.acknowledge(), Some(0x70));
}

#[test]
fn commands_become_messages() {
    let mut apic = enabled();
    write(&mut apic, number::COMMAND_HIGH, 2 << 24);
    let effect = write(&mut apic, number::COMMAND, 0x4031);
    let expected = Ipi {
        mode: DeliveryMode::Fixed,
        vector: 0x31,
        level: false,
        destination: Destination::Physical(2),
    };
    assert_eq!(effect, Effect::SendIpi(expected));
    assert_eq!(read(&mut apic, number::COMMAND), 0x4031);
    assert_eq!(read(&mut apic, number::COMMAND_HIGH), 2 << 24);

    let Effect::SendIpi(ipi) = write(&mut apic, number::COMMAND, 0xc4600) else {
        panic!("start-up to all others")
    };
    assert_eq!(
        (ipi.mode, ipi.destination),
        (DeliveryMode::StartUp, Destination::Others)
    );
    let Effect::SendIpi(ipi) = write(&mut apic, number::COMMAND, 0x4831) else {
        panic!("logical")
    };
    assert_eq!(ipi.destination, Destination::LogicalXapic(2));
    assert_eq!(
        write(&mut apic, number::COMMAND, 0x8500),
        Effect::None,
        "INIT de-assert"
    );
    assert!(
        matches!(
            write(&mut apic, number::COMMAND, 0xc500),
            Effect::SendIpi(_)
        ),
        "INIT assert"
    );

    assert_eq!(
        write(&mut apic, number::COMMAND, 0x44041),
        Effect::None,
        "to myself"
    );
    assert_eq!(apic.acknowledge(), Some(0x41));
}

#[test]
fn illegal_vectors_and_registers_are_errors() {
    let mut apic = enabled();
    write(&mut apic, number::LVT_ERROR, 0xfe);
    assert_eq!(write(&mut apic, number::COMMAND, 0x400f), Effect::None);
    assert_eq!(apic.acknowledge(), Some(0xfe));
    assert_eq!(
        read(&mut apic, number::ERROR_STATUS),
        0,
        "shown after a write only"
    );
    apic.accept(3, false);
    assert_eq!(read(&mut apic, 0x3a), 0);
    write(&mut apic, number::ERROR_STATUS, 0);
    assert_eq!(read(&mut apic, number::ERROR_STATUS), 0xe0);
    write(&mut apic, number::ERROR_STATUS, 0);
    assert_eq!(read(&mut apic, number::ERROR_STATUS), 0);
}

#[test]
fn an_illegal_error_vector_does_not_recurse() {
    let mut apic = enabled();
    write(&mut apic, number::LVT_ERROR, 2);
    write(&mut apic, number::LVT_TIMER, 1);
    write(&mut apic, number::TIMER_INITIAL, 1);
    apic.poll(u64::MAX);
    assert_eq!(apic.request.highest(), None);
}

#[test]
fn timer_interrupts_unless_masked() {
    let mut apic = enabled();
    write(&mut apic, number::TIMER_DIVIDE, 0b1011);
    write(&mut apic, number::TIMER_INITIAL, 1000);
    assert_eq!(apic.deadline(), None, "masked");
    apic.poll(20_000);
    assert_eq!(apic.highest_pending(), None);
    write(&mut apic, number::LVT_TIMER, 0x40 | 1 << 17);
    write(&mut apic, number::TIMER_INITIAL, 1000);
    assert_eq!(apic.deadline(), Some(10_000));
    assert_eq!(apic.read(number::TIMER_CURRENT << 4, 2_500), 750);
    apic.poll(9_999);
    assert_eq!(apic.highest_pending(), None);
    apic.poll(10_000);
    assert_eq!(apic.acknowledge(), Some(0x40));
    assert_eq!(apic.deadline(), Some(20_000));
    write(&mut apic, number::TIMER_INITIAL, 0);
    assert_eq!(apic.deadline(), None);
}

#[test]
fn mode_transitions_follow_the_manual() {
    const DISABLED: u64 = 0xfee0_0000;
    const XAPIC: u64 = 0xfee0_0800;
    const X2APIC: u64 = 0xfee0_0c00;
    const INVALID: u64 = 0xfee0_0400;
    let at = |path: &[u64]| {
        let mut apic = LocalApic::new(3, false, TSC_HZ, APIC_HZ);
        path.iter()
            .map(|&base| apic.set_base(base, 40))
            .last()
            .unwrap()
    };
    assert_eq!(at(&[XAPIC]), Ok(Effect::None));
    assert_eq!(at(&[DISABLED]), Ok(Effect::ApicPage(None)));
    assert_eq!(at(&[DISABLED, XAPIC]), Ok(Effect::ApicPage(Some(DISABLED))));
    assert_eq!(at(&[0x8000_0800]), Ok(Effect::ApicPage(Some(0x8000_0000))));
    assert_eq!(at(&[X2APIC, DISABLED]), Ok(Effect::None));
    assert_eq!(at(&[INVALID]), Err(GeneralProtection));
    assert_eq!(at(&[X2APIC, XAPIC]), Err(GeneralProtection));
    assert_eq!(at(&[X2APIC, INVALID]), Err(GeneralProtection));
    assert_eq!(at(&[DISABLED, X2APIC]), Err(GeneralProtection));
    assert_eq!(at(&[DISABLED, INVALID]), Err(GeneralProtection));
    assert_eq!(at(&[XAPIC | 1]), Err(GeneralProtection));
    assert_eq!(at(&[XAPIC | 1 << 40]), Err(GeneralProtection));
}

#[test]
fn disabling_resets_and_keeps_the_bootstrap_flag() {
    let mut apic = LocalApic::new(0, true, TSC_HZ, APIC_HZ);
    write(&mut apic, number::SPURIOUS, ENABLE);
    apic.accept(0x50, false);
    apic.set_base(0xfee0_0000, 40).unwrap();
    assert_eq!(apic.request.highest(), None);
    assert_eq!(apic.base(), 0xfee0_0100);
    assert!(apic.accepts_extint());
}

#[test]
fn x2apic_registers_are_msrs() {
    let mut apic = x2apic();
    assert_eq!(apic.read_msr(0x802, 0), Ok(3));
    assert_eq!(apic.read_msr(0x80d, 0), Ok(1 << 3));
    let ipi = Ipi {
        mode: DeliveryMode::Fixed,
        vector: 0x55,
        level: false,
        destination: Destination::Physical(0x12345),
    };
    assert_eq!(
        apic.write_msr(0x830, 0x0001_2345_0000_0055, 0),
        Ok(Effect::SendIpi(ipi))
    );
    assert_eq!(apic.read_msr(0x830, 0), Ok(0x0001_2345_0000_0055));
    let Ok(Effect::SendIpi(ipi)) = apic.write_msr(0x830, 0xffff_ffff_0000_0855, 0) else {
        panic!("broadcast")
    };
    assert_eq!(
        ipi.destination,
        Destination::All,
        "logical mode broadcasts too"
    );
    assert_eq!(apic.write_msr(0x83f, 0x66, 0), Ok(Effect::None));
    assert_eq!(apic.acknowledge(), Some(0x66));
    assert_eq!(apic.write_msr(0x80b, 0, 0), Ok(Effect::None));
}

#[test]
fn x2apic_refuses_what_the_manual_refuses() {
    let mut apic = x2apic();
    for (msr, value) in [
        (0x802, 0),
        (0x803, 0),
        (0x80a, 0),
        (0x80b, 1),
        (0x80d, 0),
        (0x80e, 0),
        (0x808, 0x100),
        (0x80f, 0x1000),
        (0x810, 0),
        (0x828, 1),
        (0x82f, 0),
        (0x830, 1 << 20),
        (0x830, 1 << 13),
        (0x831, 0),
        (0x832, 1 << 8),
        (0x838, 1 << 32),
        (0x839, 0),
        (0x83e, 4),
        (0x83f, 0x100),
        (0x840, 0),
        (0x8ff, 0),
    ] {
        assert_eq!(
            apic.write_msr(msr, value, 0),
            Err(GeneralProtection),
            "{msr:#x} = {value:#x}"
        );
    }
    for msr in [
        0x800, 0x809, 0x80b, 0x80c, 0x80e, 0x82f, 0x831, 0x83a, 0x83f, 0x8ff, 0x7ff,
    ] {
        assert_eq!(apic.read_msr(msr, 0), Err(GeneralProtection), "{msr:#x}");
    }
    let mut apic = enabled();
    assert_eq!(
        apic.read_msr(0x802, 0),
        Err(GeneralProtection),
        "xAPIC mode has no MSRs"
    );
    assert_eq!(apic.write_msr(0x808, 0, 0), Err(GeneralProtection));
}

#[test]
fn whole_register_file_is_total() {
    let mut apic = enabled();
    for offset in 0..0x1000 {
        apic.read(offset, u64::MAX);
        apic.write(offset, u32::MAX, u64::MAX);
        apic.write(offset, 0, 0);
    }
    let mut apic = x2apic();
    for msr in 0x700..0xa00 {
        let _ = apic.read_msr(msr, 0);
        let _ = apic.write_msr(msr, u64::MAX, u64::MAX);
        let _ = apic.write_msr(msr, 0, 0);
    }
}

fn identity(apic_id: u32) -> Identity {
    Identity {
        apic_id,
        logical_id: 0,
        flat: true,
        x2apic: false,
        enabled: true,
    }
}

fn targets(
    ipi_destination: Destination,
    mode: DeliveryMode,
    sender: Option<usize>,
    all: &[Identity],
) -> u64 {
    let ipi = Ipi {
        mode,
        vector: 0x41,
        level: false,
        destination: ipi_destination,
    };
    ipi.targets(
        sender,
        all.iter()
            .map(|identity| Identity::unpack(identity.pack()))
            .enumerate(),
    )
}

#[test]
fn physical_and_shorthand_destinations() {
    let all = [identity(0), identity(2), identity(4)];
    let fixed = |destination| targets(destination, DeliveryMode::Fixed, Some(1), &all);
    assert_eq!(fixed(Destination::Physical(4)), 0b100);
    assert_eq!(fixed(Destination::Physical(1)), 0);
    assert_eq!(fixed(Destination::All), 0b111);
    assert_eq!(fixed(Destination::Others), 0b101);
    assert_eq!(fixed(Destination::Myself), 0b010);
}

#[test]
fn logical_destinations() {
    let flat = |bits| Identity {
        logical_id: bits,
        ..identity(9)
    };
    let all = [flat(1), flat(2), flat(4), flat(0x81)];
    assert_eq!(
        targets(
            Destination::LogicalXapic(0x83),
            DeliveryMode::Fixed,
            None,
            &all
        ),
        0b1011
    );
    let cluster = |bits| Identity {
        logical_id: bits,
        flat: false,
        ..identity(9)
    };
    let all = [cluster(0x11), cluster(0x12), cluster(0x21)];
    assert_eq!(
        targets(
            Destination::LogicalXapic(0x13),
            DeliveryMode::Fixed,
            None,
            &all
        ),
        0b011
    );
    assert_eq!(
        targets(
            Destination::LogicalXapic(0xf1),
            DeliveryMode::Fixed,
            None,
            &all
        ),
        0b101
    );
    let x2apic = |apic_id| Identity {
        x2apic: true,
        ..identity(apic_id)
    };
    let all = [x2apic(0), x2apic(1), x2apic(0x11), x2apic(0x12)];
    assert_eq!(
        targets(
            Destination::LogicalX2apic(0x0000_0003),
            DeliveryMode::Fixed,
            None,
            &all
        ),
        0b0011
    );
    assert_eq!(
        targets(
            Destination::LogicalX2apic(0x0001_0006),
            DeliveryMode::Fixed,
            None,
            &all
        ),
        0b1100
    );
}

#[test]
fn lowest_priority_goes_to_one_enabled_processor() {
    let all = [
        Identity {
            enabled: false,
            ..identity(0)
        },
        identity(1),
        identity(2),
    ];
    let mask = targets(Destination::All, DeliveryMode::LowestPriority, None, &all);
    assert_eq!(mask.count_ones(), 1);
    assert_eq!(mask & 1, 0);
    assert_eq!(
        targets(
            Destination::LogicalXapic(0),
            DeliveryMode::LowestPriority,
            None,
            &all
        ),
        0
    );
}

#[test]
fn message_signalled_interrupts() {
    let msi = Ipi::from_msi(0xfee0_2004, 0x8151).unwrap();
    assert_eq!(
        msi,
        Ipi {
            mode: DeliveryMode::LowestPriority,
            vector: 0x51,
            level: true,
            destination: Destination::LogicalXapic(2)
        }
    );
    assert_eq!(
        Ipi::from_msi(0xfeef_f000, 0x51).unwrap().destination,
        Destination::All
    );
    let redirected = Ipi::from_msi(0xfee0_300c, 0x51).unwrap();
    assert_eq!(redirected.mode, DeliveryMode::LowestPriority);
    assert_eq!(Ipi::from_msi(0xfec0_0000, 0x51), None);
    assert_eq!(Ipi::from_msi(0xfee0_0000, 0x351), None, "reserved mode");
}
