use super::*;

#[derive(Default)]
struct Bench {
    pm: AcpiPm,
    interrupts: Interrupts,
    outputs: Outputs,
}

impl Bench {
    fn write(&mut self, offset: u16, size: u8, value: u32, now_ns: u64) {
        self.pm.write(
            offset,
            size,
            value,
            now_ns,
            &mut self.interrupts,
            &mut self.outputs,
        );
    }

    fn sci(&mut self) -> bool {
        self.interrupts.pic.write(0x4d1, 0x02);
        self.interrupts.pic.read(0xa0) & 2 != 0
    }
}

#[test]
fn timer_counts_24_bits() {
    let mut bench = Bench::default();
    assert_eq!(bench.pm.read(8, 4, 1_000_000_000), 3_579_545);
    assert_eq!(bench.pm.read(8, 4, 10_000_000_000), 35_795_450 % (1 << 24));
    assert_eq!(bench.pm.read(9, 1, 1_000_000_000), 3_579_545 >> 8 & 0xff);
}

#[test]
fn timer_overflow_interrupts_when_enabled() {
    let mut bench = Bench::default();
    bench.pm.write_apm(0xb2, ACPI_ENABLE, &mut bench.interrupts);
    assert_eq!(bench.pm.read(4, 2, 0), 1);
    bench.write(2, 2, 1, 0);
    let due = bench.pm.next_deadline_ns().expect("enabled");
    assert_eq!(due, 2_343_484_438, "2^23 ticks");
    bench.pm.advance(due - 1, &mut bench.interrupts);
    assert!(!bench.sci());
    bench.pm.advance(due, &mut bench.interrupts);
    assert!(bench.sci());
    bench.write(0, 2, 1, due);
    assert!(!bench.sci());
    assert!(bench.pm.next_deadline_ns().is_some_and(|next| next > due));
}

#[test]
fn soft_off() {
    let mut bench = Bench::default();
    bench.write(4, 2, 0x0801 | 1 << 13, 0);
    assert!(!bench.outputs.power_off, "sleep type 2 is not off");
    for hibernate_or_off in [0x2401, 0x2001] {
        bench.outputs.power_off = false;
        bench.write(4, 2, hibernate_or_off, 0);
        assert!(bench.outputs.power_off);
    }
    assert_eq!(bench.pm.read(4, 2, 0), 1);
}

#[test]
fn power_button() {
    let mut bench = Bench::default();
    assert!(!bench.pm.power_button_enabled());
    bench.write(2, 2, 0x100, 0);
    bench.pm.press_power_button(&mut bench.interrupts);
    assert!(!bench.sci(), "ACPI is not enabled");
    bench.pm.write_apm(0xb2, ACPI_ENABLE, &mut bench.interrupts);
    assert!(bench.pm.power_button_enabled());
    assert!(bench.sci());
    bench.write(0, 2, 0x100, 0);
    assert!(!bench.sci());
}
