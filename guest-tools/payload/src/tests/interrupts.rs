//! Exceptions, the local APIC, other processors.

use super::enlightenments::fault;
use crate::clock::{sleep_us, wait_until_us};
use crate::interrupts::{MAX_PROCESSORS, handled};
use crate::options::Options;
use crate::report::{Outcome, equal, holds};
use crate::{apic, assist, cpu, processors};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

const SELF_VECTOR: u8 = 0x40;
const LOWER_VECTOR: u8 = 0x30;
const PING: u8 = 0x41;
const PONG: u8 = 0x42;
const ROUNDS: u32 = 200;

/// The other processor counts pings from now on.
static READY: AtomicBool = AtomicBool::new(false);
/// Processors that have been started, the first included.
static RUNNING: AtomicUsize = AtomicUsize::new(1);

pub fn faults() -> Outcome {
    let vector = |result: Result<(), crate::interrupts::Fault>| {
        result.map_or_else(|f| f.vector.into(), |()| 0)
    };
    equal(
        "unknown MSR",
        vector(cpu::read_msr(0xdead_0000).map(drop)),
        13,
    )?;
    equal(
        "write to an unknown MSR",
        vector(cpu::write_msr(0xdead_0000, 0)),
        13,
    )?;
    // Non-canonical, then beyond what is mapped.
    equal(
        "non-canonical address",
        vector(cpu::read_memory(1 << 63).map(drop)),
        13,
    )?;
    let fault = cpu::read_memory(0x80_0000_0000).err();
    equal("unmapped address", fault.map_or(0, |f| f.vector.into()), 14)?;
    equal("error code", fault.map_or(99, |f| f.error_code.into()), 0)
}

pub fn x2apic() -> Outcome {
    equal("CPUID", (cpu::cpuid(1, 0)[2] >> 21 & 1).into(), 1)?;
    equal("id", apic::id().map_or(u64::MAX, u64::from), 0)
}

pub fn self_ipi() -> Outcome {
    let before = handled(0, SELF_VECTOR);
    for n in 1..=ROUNDS {
        holds("sent", apic::send_to_self(SELF_VECTOR), 0)?;
        cpu::set_interrupts(true);
        // Must arrive before the next instruction; a few are granted.
        core::hint::black_box(n);
        cpu::set_interrupts(false);
        equal(
            "handled",
            (handled(0, SELF_VECTOR) - before).into(),
            n.into(),
        )?;
    }
    Ok(())
}

/// With the assist page, the end of an interrupt is told only if another one waits for it.
pub fn untold_end() -> Outcome {
    assist::enable(true).map_err(fault("VP assist page"))?;
    let before = assist::untold();
    self_ipi()?;
    equal("untold", (assist::untold() - before).into(), ROUNDS.into())?;
    let lower = handled(0, LOWER_VECTOR);
    for n in 1..=ROUNDS {
        apic::send_to_self(LOWER_VECTOR);
        apic::send_to_self(SELF_VECTOR);
        cpu::set_interrupts(true);
        core::hint::black_box(n);
        cpu::set_interrupts(false);
        equal(
            "behind",
            (handled(0, LOWER_VECTOR) - lower).into(),
            n.into(),
        )?;
    }
    equal(
        "told for the one behind",
        (assist::untold() - before).into(),
        (2 * ROUNDS).into(),
    )?;
    assist::enable(false).map_err(fault("VP assist page"))
}

pub fn processors() -> Outcome {
    let count = (Options::get().processors as usize).min(MAX_PROCESSORS);
    for index in 1..count {
        holds("started", processors::start(index), index as u64)?;
        RUNNING.fetch_add(1, SeqCst);
        processors::give(index, || {
            cpu::read_msr(0x4000_0002).map_or(u32::MAX, |vp| vp as u32)
        });
        equal(
            "VP index",
            processors::wait_for(index, 1_000_000).map_or(99, u64::from),
            index as u64,
        )?;
    }
    Ok(())
}

/// Processors that were started; starts them if that was not done.
pub fn running() -> Result<usize, crate::report::Failure> {
    if RUNNING.load(SeqCst) == 1 {
        processors()?;
    }
    Ok(RUNNING.load(SeqCst))
}

pub fn ipi() -> Outcome {
    let count = running()?;
    for index in 1..count {
        let (pings, pongs) = (handled(index, PING), handled(0, PONG));
        // The other one answers each ping it sees.
        READY.store(false, SeqCst);
        processors::give(index, || {
            let me = crate::interrupts::processor();
            let mut answered = handled(me, PING);
            let end = answered + ROUNDS;
            READY.store(true, SeqCst);
            while answered < end {
                if !wait_until_us(2_000_000, || handled(me, PING) > answered) {
                    break;
                }
                answered += 1;
                apic::send(0, PONG);
            }
            end - answered
        });
        holds("ready", wait_until_us(1_000_000, || READY.load(SeqCst)), 0)?;
        cpu::set_interrupts(true);
        for n in 1..=ROUNDS {
            apic::send(index as u32, PING);
            if !wait_until_us(2_000_000, || handled(0, PONG) == pongs + n) {
                cpu::set_interrupts(false);
                return equal("answers", (handled(0, PONG) - pongs).into(), n.into());
            }
        }
        cpu::set_interrupts(false);
        equal(
            "left over",
            processors::wait_for(index, 1_000_000).map_or(99, u64::from),
            0,
        )?;
        equal(
            "handled there",
            (handled(index, PING) - pings).into(),
            ROUNDS.into(),
        )?;
    }
    Ok(())
}

/// Sent while the other one sleeps in HLT: each must wake it.
pub fn ipi_to_halted() -> Outcome {
    for index in 1..running()? {
        for n in 0..20 {
            sleep_us(500);
            processors::give(index, || 7);
            let answer = processors::wait_for(index, 1_000_000);
            equal("woken", answer.map_or(n, u64::from), 7)?;
        }
    }
    Ok(())
}
