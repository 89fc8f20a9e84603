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
    u16::from(pit.read(0x40 + channel, now_ns)) | u16::from(pit.read(0x40 + channel, now_ns)) << 8
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
