use super::*;

/// 2000-02-29 12:34:56 UTC.
const START: u64 = 951_827_696;

struct Bench {
    rtc: Rtc,
    interrupts: Interrupts,
}

impl Bench {
    fn new() -> Self {
        Bench {
            rtc: Rtc::new(START),
            interrupts: Interrupts::default(),
        }
    }

    fn get(&mut self, index: u8, now_ns: u64) -> u8 {
        self.rtc.write(0x70, index, now_ns, &mut self.interrupts);
        self.rtc.read(0x71, now_ns, &mut self.interrupts)
    }

    fn set(&mut self, index: u8, value: u8, now_ns: u64) {
        self.rtc.write(0x70, index, now_ns, &mut self.interrupts);
        self.rtc.write(0x71, value, now_ns, &mut self.interrupts);
    }

    fn interrupted(&mut self) -> bool {
        self.interrupts.pic.read(0xa0) & 1 != 0
    }
}

#[test]
fn shows_the_time_in_both_codes() {
    let mut bench = Bench::new();
    let fields = [0, 2, 4, 6, 7, 8, 9, 0x32].map(|index| bench.get(index, 0));
    assert_eq!(fields, [0x56, 0x34, 0x12, 3, 0x29, 2, 0x00, 0x20]);
    bench.set(0x0b, 0x06, 0);
    let fields = [0, 2, 4, 7, 0x32].map(|index| bench.get(index, 4 * SECOND_NS));
    assert_eq!(fields, [0, 35, 12, 29, 20]);
    bench.set(0x0b, 0x00, 0);
    assert_eq!(bench.get(4, 0), 0x92, "12 hour code, afternoon");
}

#[test]
fn setting_the_time_stops_the_clock() {
    let mut bench = Bench::new();
    bench.set(0x0b, 0x82, 0);
    for (index, value) in [
        (0x32, 0x19),
        (9, 0x99),
        (8, 0x12),
        (7, 0x31),
        (4, 0x23),
        (2, 0x59),
        (0, 0x58),
    ] {
        bench.set(index, value, 7 * SECOND_NS);
    }
    assert_eq!(bench.get(0, 9 * SECOND_NS), 0x58);
    bench.set(0x0b, 0x02, 10 * SECOND_NS);
    assert_eq!(bench.get(0, 11 * SECOND_NS), 0x59);
    assert_eq!(
        [9, 8, 7].map(|index| bench.get(index, 12 * SECOND_NS)),
        [0x00, 0x01, 0x01]
    );
}

#[test]
fn update_in_progress_precedes_the_second() {
    let mut bench = Bench::new();
    assert_eq!(bench.get(0x0a, 0) & 0x80, 0);
    assert_eq!(bench.get(0x0a, SECOND_NS - 100_000) & 0x80, 0x80);
    assert_eq!(bench.get(0x0a, SECOND_NS) & 0x80, 0);
}

#[test]
fn periodic_interrupt_waits_for_register_c() {
    let mut bench = Bench::new();
    assert_eq!(bench.rtc.next_deadline_ns(), None);
    bench.set(0x0b, 0x42, 0);
    let due = bench.rtc.next_deadline_ns().expect("enabled");
    assert_eq!(due, 976_562, "1024 Hz");
    bench.rtc.advance(due, &mut bench.interrupts);
    assert!(bench.interrupted());
    assert_eq!(
        bench.rtc.next_deadline_ns(),
        None,
        "nothing more until register C is read"
    );
    assert_eq!(bench.get(0x0c, due), 0xc0);
    assert!(!bench.interrupted());
    assert_eq!(bench.get(0x0c, due), 0);
    assert_eq!(bench.rtc.next_deadline_ns(), Some(2 * 976_562));
}

#[test]
fn update_and_alarm_interrupts() {
    let mut bench = Bench::new();
    bench.set(0x0b, 0x12, 0);
    assert_eq!(bench.rtc.next_deadline_ns(), Some(SECOND_NS));
    bench.rtc.advance(SECOND_NS, &mut bench.interrupts);
    assert_eq!(bench.get(0x0c, SECOND_NS) & 0x90, 0x90);

    bench.set(0x0b, 0x22, SECOND_NS);
    for (index, value) in [(1, 0x05), (3, 0xff), (5, 0xff)] {
        bench.set(index, value, SECOND_NS);
    }
    assert_eq!(
        bench.rtc.next_deadline_ns(),
        Some(9 * SECOND_NS),
        "12:35:05"
    );
    bench.rtc.advance(9 * SECOND_NS, &mut bench.interrupts);
    assert_eq!(bench.get(0x0c, 9 * SECOND_NS) & 0xa0, 0xa0);
}

#[test]
fn memory_keeps_both_banks_apart() {
    let mut bench = Bench::new();
    bench.set(0x34, 0x12, 0);
    bench.rtc.write(0x72, 0x34, 0, &mut bench.interrupts);
    bench.rtc.write(0x73, 0x56, 0, &mut bench.interrupts);
    assert_eq!(bench.get(0x34, 0), 0x12);
    assert_eq!(bench.rtc.read(0x73, 0, &mut bench.interrupts), 0x56);
    assert_eq!(bench.get(0x0d, 0), 0x80);
}

#[test]
fn nonsense_in_the_date_does_no_harm() {
    let mut bench = Bench::new();
    for value in 0..=255 {
        for index in [0, 2, 4, 6, 7, 8, 9, 0x32] {
            bench.set(index, value, u64::from(value) * SECOND_NS);
            bench.get(index, u64::from(value) * SECOND_NS);
        }
    }
}
