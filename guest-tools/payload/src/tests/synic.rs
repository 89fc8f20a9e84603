//! The synthetic interrupt controller (TLFS 11): messages and event flags.
//!
//! The vmm of a test payload answers HvPostMessage and HvSignalEvent to connection `n` by posting
//! the message, or setting the flag, on SINT 2 of processor `n`.

use super::enlightenments::{enable_hypercalls, fault, hypercall};
use crate::clock::wait_until_us;
use crate::cpu::{read_msr, set_interrupts, write_msr};
use crate::interrupts::{handled, processor};
use crate::page::Page;
use crate::processors;
use crate::report::{Outcome, equal, holds};

const SCONTROL: u32 = 0x4000_0080;
const SIEFP: u32 = 0x4000_0082;
const SIMP: u32 = 0x4000_0083;
const EOM: u32 = 0x4000_0084;
const SINT0: u32 = 0x4000_0090;

/// The source that messages and events use here.
pub const SINT: usize = 2;
/// Its vector.
pub const VECTOR: u8 = 0x50;

/// HV_STATUS_SUCCESS.
const SUCCESS: u64 = 0;

pub static MESSAGES: [Page; 2] = [const { Page::new() }; 2];
static EVENTS: [Page; 2] = [const { Page::new() }; 2];
static INPUT: Page = Page::new();

/// Switches the controller of this processor on, with SINT 2 on its vector.
pub fn enable() -> Outcome {
    let me = processor();
    holds("processor 0 or 1", me < 2, me as u64)?;
    write_msr(SIMP, MESSAGES[me].address() | 1).map_err(fault("SIMP"))?;
    write_msr(SIEFP, EVENTS[me].address() | 1).map_err(fault("SIEFP"))?;
    write_msr(SINT0 + SINT as u32, VECTOR.into()).map_err(fault("SINT"))?;
    write_msr(SCONTROL, 1).map_err(fault("SCONTROL"))?;
    equal(
        "SCONTROL",
        read_msr(SCONTROL).map_err(fault("SCONTROL"))? & 1,
        1,
    )
}

/// Type of the message in the slot of SINT 2; 0 if it is empty.
pub fn message_type(me: usize) -> u64 {
    MESSAGES[me].read(256 * SINT) & 0xffff_ffff
}

/// Empties the slot and asks for the next message.
pub fn take_message(me: usize) -> Result<(), crate::interrupts::Fault> {
    MESSAGES[me].write(256 * SINT, 0);
    write_msr(EOM, 0)
}

/// HvPostMessage to connection `connection` with one word of payload.
fn post(connection: u64, kind: u32, word: u64) -> u64 {
    INPUT.write(0, connection);
    INPUT.write(8, u64::from(kind) | 8 << 32);
    INPUT.write(16, word);
    hypercall(0x5c, INPUT.address(), 0) & 0xffff
}

pub fn message() -> Outcome {
    enable_hypercalls()?;
    enable()?;
    let before = handled(0, VECTOR);
    equal("status", post(0, 1, 0x1234_5678_9abc_def0), SUCCESS)?;
    set_interrupts(true);
    let came = wait_until_us(1_000_000, || {
        message_type(0) != 0 && handled(0, VECTOR) == before + 1
    });
    set_interrupts(false);
    holds("came", came, (handled(0, VECTOR) - before).into())?;
    equal("type", message_type(0), 1)?;
    equal("size", MESSAGES[0].read(256 * SINT) >> 32 & 0xff, 8)?;
    equal(
        "payload",
        MESSAGES[0].read(256 * SINT + 16),
        0x1234_5678_9abc_def0,
    )?;
    take_message(0).map_err(fault("EOM"))
}

/// A second message waits for the first to be taken, and says so.
pub fn queue() -> Outcome {
    enable_hypercalls()?;
    enable()?;
    let before = handled(0, VECTOR);
    for n in 1..=3 {
        equal("status", post(0, 1, n), SUCCESS)?;
    }
    set_interrupts(true);
    for n in 1..=3u64 {
        let came = wait_until_us(1_000_000, || message_type(0) != 0);
        holds("came", came, n)?;
        equal("payload", MESSAGES[0].read(256 * SINT + 16), n)?;
        // Message flags: bit 0 says that more wait. It may be set late, but not for the last.
        let pending = MESSAGES[0].read(256 * SINT) >> 40 & 1;
        holds("pending flag", n < 3 || pending == 0, pending)?;
        take_message(0).map_err(fault("EOM"))?;
    }
    let came = wait_until_us(1_000_000, || handled(0, VECTOR) == before + 3);
    set_interrupts(false);
    holds("interrupts", came, (handled(0, VECTOR) - before).into())
}

fn flag(me: usize, number: usize) -> bool {
    EVENTS[me].read(256 * SINT + number / 64 * 8) >> (number % 64) & 1 != 0
}

pub fn event() -> Outcome {
    enable_hypercalls()?;
    enable()?;
    for number in [0usize, 77, 2047] {
        let before = handled(0, VECTOR);
        // Fast: the connection, and the flag in bits 47:32.
        let status = hypercall(0x1_005d, (number as u64) << 32, 0) & 0xffff;
        equal("status", status, SUCCESS)?;
        set_interrupts(true);
        let came = wait_until_us(1_000_000, || flag(0, number) && handled(0, VECTOR) > before);
        set_interrupts(false);
        holds("came", came, number as u64)?;
        EVENTS[0].write(256 * SINT + number / 64 * 8, 0);
    }
    Ok(())
}

/// Events for another processor, which sleeps.
pub fn remote_event() -> Outcome {
    if super::interrupts::running()? < 2 {
        crate::say!("payload: remote-event needs a second processor");
        return Ok(());
    }
    enable_hypercalls()?;
    processors::give(1, || u32::from(enable().is_ok()));
    equal(
        "enabled there",
        processors::wait_for(1, 1_000_000).map_or(0, u64::from),
        1,
    )?;
    for number in 1..50usize {
        let before = handled(1, VECTOR);
        let status = hypercall(0x1_005d, 1 | (number as u64) << 32, 0) & 0xffff;
        equal("status", status, SUCCESS)?;
        let came = wait_until_us(1_000_000, || handled(1, VECTOR) == before + 1);
        holds("came", came && flag(1, number), number as u64)?;
    }
    Ok(())
}
