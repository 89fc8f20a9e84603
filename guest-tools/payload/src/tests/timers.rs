//! The APIC's timer and the synthetic timers (TLFS 12.3), in both modes.

use super::enlightenments::fault;
use super::synic::{self, MESSAGES, SINT};
use crate::clock::{now, wait_until_us};
use crate::cpu::{cpuid, read_msr, set_interrupts, tsc, wait, write_msr};
use crate::interrupts::{handled, last_tsc};
use crate::options::Options;
use crate::report::{Outcome, equal, holds};
use crate::{apic, say};

const STIMER0_CONFIG: u32 = 0x4000_00b0;
const STIMER0_COUNT: u32 = 0x4000_00b1;
const STIMER1_CONFIG: u32 = 0x4000_00b2;
const STIMER1_COUNT: u32 = 0x4000_00b3;

const ENABLE: u64 = 1;
const PERIODIC: u64 = 1 << 1;
const DIRECT: u64 = 1 << 12;

const APIC_VECTOR: u8 = 0x60;
const DIRECT_VECTOR: u8 = 0x61;

/// 100 ns in a millisecond.
const MS: u64 = 10_000;

/// Two ticks of the control domain's kernel, at 250 per second.
const TWO_TICKS: u64 = 8 * MS;

pub fn apic_timer() -> Outcome {
    let hz = read_msr(0x4000_0023).map_err(fault("frequency"))?;
    let before = handled(0, APIC_VECTOR);
    let start = now();
    holds(
        "once",
        apic::start_timer(APIC_VECTOR, (hz / 100) as u32, false),
        0,
    )?;
    while handled(0, APIC_VECTOR) == before && now() < start + 1000 * MS {
        wait();
    }
    let took = now() - start;
    equal("interrupts", (handled(0, APIC_VECTOR) - before).into(), 1)?;
    holds("not early", took + MS / 10 >= 10 * MS, took)?;
    holds(
        "periodic",
        apic::start_timer(APIC_VECTOR, (hz / 500) as u32, true),
        0,
    )?;
    set_interrupts(true);
    let came = wait_until_us(1_000_000, || handled(0, APIC_VECTOR) >= before + 6);
    set_interrupts(false);
    holds("stopped", apic::start_timer(APIC_VECTOR, 0, false), 0)?;
    holds("periods", came, handled(0, APIC_VECTOR).into())
}

pub fn stimer_message() -> Outcome {
    synic::enable()?;
    let before = handled(0, synic::VECTOR);
    let due = now() + 5 * MS;
    write_msr(STIMER0_COUNT, due).map_err(fault("count"))?;
    write_msr(STIMER0_CONFIG, ENABLE | (SINT as u64) << 16).map_err(fault("configuration"))?;
    while handled(0, synic::VECTOR) == before && now() < due + 1000 * MS {
        wait();
    }
    equal("type", synic::message_type(0), 0x8000_0010)?;
    equal("timer", MESSAGES[0].read(256 * SINT + 16) & 0xffff_ffff, 0)?;
    equal("expiration", MESSAGES[0].read(256 * SINT + 24), due)?;
    let delivered = MESSAGES[0].read(256 * SINT + 32);
    holds(
        "delivery time",
        delivered >= due && delivered <= now(),
        delivered,
    )?;
    equal(
        "one shot is over",
        read_msr(STIMER0_CONFIG).map_err(fault("configuration"))? & ENABLE,
        0,
    )?;
    equal("interrupts", (handled(0, synic::VECTOR) - before).into(), 1)?;
    synic::take_message(0).map_err(fault("EOM"))
}

fn direct_offered() -> bool {
    let offered = cpuid(0x4000_0003, 0)[3] >> 19 & 1 == 1;
    if !offered {
        say!("payload: direct mode of synthetic timers is not offered");
    }
    offered
}

fn arm_direct(count: u64, flags: u64) -> Outcome {
    let config = ENABLE | DIRECT | u64::from(DIRECT_VECTOR) << 4 | flags;
    // The count first: a timer that is enabled with a count that has passed is due.
    write_msr(STIMER1_CONFIG, 0).map_err(fault("configuration"))?;
    write_msr(STIMER1_COUNT, count).map_err(fault("count"))?;
    write_msr(STIMER1_CONFIG, config).map_err(fault("configuration"))
}

pub fn stimer_direct() -> Outcome {
    if !direct_offered() {
        return Ok(());
    }
    for _ in 0..10 {
        let before = handled(0, DIRECT_VECTOR);
        let due = now() + 2 * MS;
        arm_direct(due, 0)?;
        while handled(0, DIRECT_VECTOR) == before && now() < due + 1000 * MS {
            wait();
        }
        equal("interrupts", (handled(0, DIRECT_VECTOR) - before).into(), 1)?;
        let at = now();
        holds("not early", at >= due, due.saturating_sub(at))?;
    }
    // A time that has passed fires at once.
    let before = handled(0, DIRECT_VECTOR);
    arm_direct(1, 0)?;
    set_interrupts(true);
    let came = wait_until_us(100_000, || handled(0, DIRECT_VECTOR) == before + 1);
    set_interrupts(false);
    holds("due in the past", came, 0)
}

pub fn stimer_periodic() -> Outcome {
    if !direct_offered() {
        return Ok(());
    }
    let before = handled(0, DIRECT_VECTOR);
    let start = now();
    arm_direct(5 * MS, PERIODIC)?;
    set_interrupts(true);
    let came = wait_until_us(2_000_000, || handled(0, DIRECT_VECTOR) >= before + 10);
    let took = now() - start;
    write_msr(STIMER1_CONFIG, 0).map_err(fault("stop"))?;
    set_interrupts(false);
    holds(
        "ten periods",
        came,
        (handled(0, DIRECT_VECTOR) - before).into(),
    )?;
    holds("not early", took + MS >= 45 * MS, took)?;
    let stopped = handled(0, DIRECT_VECTOR);
    set_interrupts(true);
    wait_until_us(20_000, || false);
    set_interrupts(false);
    equal("stopped", handled(0, DIRECT_VECTOR).into(), stopped.into())
}

/// A guest that never halts: its timers must come in time all the same.
pub fn busy() -> Outcome {
    if !direct_offered() {
        return Ok(());
    }
    let hz = read_msr(0x4000_0022).map_err(fault("frequency"))?.max(1);
    let rounds = Options::get().number("rounds", 100);
    let (mut worst, mut sum) = (0, 0);
    for n in 0..rounds {
        let before = handled(0, DIRECT_VECTOR);
        let (start, tsc_start) = (now(), tsc());
        let due = start + 3 * MS + n % 7 * MS;
        arm_direct(due, 0)?;
        set_interrupts(true);
        // No exit of its own: reading the counter would be one.
        let give_up = tsc_start.wrapping_add(hz);
        while handled(0, DIRECT_VECTOR) == before && tsc() < give_up {
            core::hint::spin_loop();
        }
        set_interrupts(false);
        equal("interrupts", (handled(0, DIRECT_VECTOR) - before).into(), 1)?;
        let ticks = last_tsc(DIRECT_VECTOR).wrapping_sub(tsc_start);
        let came = start + (u128::from(ticks) * 10_000_000 / u128::from(hz)) as u64;
        let late = came.saturating_sub(due);
        worst = worst.max(late);
        sum += late;
    }
    say!(
        "payload: timer-busy {rounds} rounds, late by {} us on average, {} us at worst",
        sum / rounds.max(1) / 10,
        worst / 10
    );
    holds("late by less than two ticks", worst < TWO_TICKS, worst)
}
