use super::*;
use std::sync::mpsc::{Receiver, channel};

struct Bench {
    uart: Uart,
    interrupts: Interrupts,
    sent: Receiver<u8>,
}

impl Bench {
    fn new() -> Self {
        let (sender, sent) = channel();
        let sink = move |byte| sender.send(byte).expect("the test listens");
        Bench {
            uart: Uart::new(4, Some(Box::new(sink))),
            interrupts: Interrupts::default(),
            sent,
        }
    }

    fn read(&mut self, offset: u16) -> u8 {
        self.uart.read(offset, &mut self.interrupts)
    }

    fn write(&mut self, offset: u16, value: u8) {
        self.uart.write(offset, value, &mut self.interrupts);
    }

    fn line(&mut self) -> bool {
        self.interrupts.pic.read(0x20) & 0x10 != 0
    }
}

#[test]
fn sends_and_reports_an_empty_transmitter() {
    let mut bench = Bench::new();
    bench.write(4, MCR_OUT2);
    bench.write(1, IER_TRANSMITTER_EMPTY);
    assert!(bench.line());
    assert_eq!(bench.read(2), 0x02);
    assert!(!bench.line(), "reading the cause ends it");
    bench.write(0, b'x');
    assert!(bench.line());
    assert_eq!(bench.sent.try_recv(), Ok(b'x'));
    assert_eq!(bench.read(5), 0x60);
}

#[test]
fn receives_through_the_fifo_with_trigger_and_timeout() {
    let mut bench = Bench::new();
    bench.write(4, MCR_OUT2);
    bench.write(2, 0x81);
    bench.write(1, IER_RECEIVED);
    assert_eq!(bench.uart.receive(b"0123456", &mut bench.interrupts), 7);
    assert_eq!(bench.read(2), 0xcc, "below the trigger: timeout");
    bench.uart.receive(b"7", &mut bench.interrupts);
    assert_eq!(bench.read(2), 0xc4);
    assert!(bench.line());
    for expected in b"01234567" {
        assert_eq!(bench.read(5) & LSR_DATA, LSR_DATA);
        assert_eq!(bench.read(0), *expected);
    }
    assert!(!bench.line());
    assert_eq!(bench.read(2), 0xc1);
    assert_eq!(
        bench.uart.receive(&[0; 5000], &mut bench.interrupts),
        BACKLOG_BYTES
    );
}

#[test]
fn loopback_as_drivers_probe_it() {
    let mut bench = Bench::new();
    bench.write(4, MCR_LOOPBACK | MCR_OUT2 | 2);
    assert_eq!(bench.read(6) & 0xf0, 0x90);
    bench.write(0, 0xa5);
    assert_eq!(bench.read(5) & LSR_DATA, LSR_DATA);
    bench.write(0, 0x5a);
    assert_eq!(
        bench.read(5) & LSR_OVERRUN,
        LSR_OVERRUN,
        "no FIFO: one byte"
    );
    assert_eq!(bench.read(0), 0xa5);
    assert!(bench.sent.try_recv().is_err());
}

#[test]
fn divisor_latch_and_scratch() {
    let mut bench = Bench::new();
    bench.write(3, LCR_DIVISOR | 3);
    bench.write(0, 0x01);
    bench.write(1, 0x02);
    assert_eq!((bench.read(0), bench.read(1)), (0x01, 0x02));
    bench.write(3, 3);
    assert_eq!(bench.read(1), 0);
    bench.write(7, 0x77);
    assert_eq!((bench.read(7), bench.read(3)), (0x77, 3));
    assert!(bench.sent.try_recv().is_err(), "the divisor is not data");
}

#[test]
fn interrupt_needs_out2() {
    let mut bench = Bench::new();
    bench.write(1, IER_TRANSMITTER_EMPTY);
    assert!(!bench.line());
    bench.write(4, MCR_OUT2);
    assert!(bench.line());
    bench.uart.reset(&mut bench.interrupts);
    assert!(!bench.line());
}
