//! The log: lines on the first serial port (16550, polled) and in the crash record, from any CPU.

use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use hypervisor_boot::record::{self, Record};

const COM1: u16 = 0x3f8;
const LINE_CONTROL: u16 = COM1 + 3;
const LINE_STATUS: u16 = COM1 + 5;

/// Line status bit: the transmitter takes a byte (the whole FIFO is empty).
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Polls before a byte is given up: above the 87 µs that one takes at 115200 baud, and small
/// enough that a port that is stuck costs no more than seconds.
const POLLS: u32 = 100_000;

static PRESENT: AtomicBool = AtomicBool::new(false);
static BUSY: AtomicBool = AtomicBool::new(false);
/// The crash record that all lines go into as well.
static RECORD: AtomicPtr<AtomicU8> = AtomicPtr::new(core::ptr::null_mut());

/// Lets all further lines go into the record in `cells` too.
pub fn keep(cells: &'static [AtomicU8; record::SIZE]) {
    RECORD.store(cells.as_ptr().cast_mut(), Ordering::Release);
}

/// The crash record, if there is one.
pub fn record() -> Option<Record<'static>> {
    let cells = RECORD.load(Ordering::Acquire);
    if cells.is_null() {
        return None;
    }
    // SAFETY: set by `keep` only, from a reference to as many cells that stay for ever.
    Record::new(unsafe { core::slice::from_raw_parts(cells, record::SIZE) })
}

fn read(port: u16) -> u8 {
    let value;
    // SAFETY: the ports are those of the first serial port, whose registers affect no memory.
    unsafe {
        core::arch::asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags))
    };
    value
}

fn write(port: u16, value: u8) {
    // SAFETY: as in `read`.
    unsafe {
        core::arch::asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags))
    };
}

/// Sets the port to 115200 baud, 8 data bits, no parity, if there is one.
pub fn initialize() {
    write(LINE_CONTROL, 0x80); // divisor latch
    write(COM1, 1);
    write(COM1 + 1, 0);
    write(LINE_CONTROL, 0x03);
    write(COM1 + 1, 0); // no interrupts
    write(COM1 + 2, 0x07); // FIFO on and empty
    write(COM1 + 4, 0x03); // DTR, RTS
    // An address that nothing answers reads as all ones.
    PRESENT.store(
        read(LINE_CONTROL) == 0x03 && read(LINE_STATUS) != 0xff,
        Ordering::Relaxed,
    );
}

struct Port;

impl Write for Port {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        if !PRESENT.load(Ordering::Relaxed) {
            return Ok(());
        }
        for byte in text.bytes() {
            for _ in 0..POLLS {
                if read(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
                    break;
                }
                core::hint::spin_loop();
            }
            write(COM1, byte);
        }
        Ok(())
    }
}

struct Recorder(Record<'static>);

impl Write for Recorder {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.append(text);
        Ok(())
    }
}

/// Writes one line. A CPU that holds the port longer than its line takes is written over: a mixed
/// line is better than a silent machine.
pub fn line(text: Arguments<'_>) {
    for _ in 0..50_000_000u32 {
        if BUSY
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            break;
        }
        core::hint::spin_loop();
    }
    // Neither writer ever fails.
    let _ = write!(Port, "entente: {text}\r\n");
    if let Some(record) = record() {
        let _ = writeln!(Recorder(record), "{text}");
    }
    BUSY.store(false, Ordering::Release);
}

/// Writes one line to the log, with the arguments of `format!`.
macro_rules! log {
    ($($arg:tt)*) => { $crate::machine::serial::line(format_args!($($arg)*)) };
}
pub(crate) use log;
