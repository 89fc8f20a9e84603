//! The reference counter, its page, and the frequencies (TLFS 12).

use super::enlightenments::fault;
use crate::clock::{TIME_REF_COUNT, now, sleep_us};
use crate::cpu::{cpuid, read_msr, tsc, write_msr};
use crate::page::Page;
use crate::report::{Outcome, equal, holds};

const REFERENCE_TSC: u32 = 0x4000_0021;
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;

static TSC_PAGE: Page = Page::new();

pub fn reference_counter() -> Outcome {
    let mut last = read_msr(TIME_REF_COUNT).map_err(fault("read"))?;
    for _ in 0..100 {
        let next = now();
        holds("runs forward", next >= last, next)?;
        last = next;
    }
    let hz = read_msr(TSC_FREQUENCY).map_err(fault("frequency"))?;
    let (start, tsc_start) = (now(), tsc());
    sleep_us(20_000);
    let (end, tsc_end) = (now(), tsc());
    let by_tsc = (u128::from(tsc_end - tsc_start) * 10_000_000 / u128::from(hz.max(1))) as u64;
    let difference = by_tsc.abs_diff(end - start);
    // 1 % and the time between the two readings.
    holds(
        "agrees with the time stamp counter",
        difference < (end - start) / 100 + 2000,
        difference,
    )
}

pub fn frequencies() -> Outcome {
    let tsc = read_msr(TSC_FREQUENCY).map_err(fault("TSC"))?;
    // Emulators that count instructions have slow ones.
    holds("TSC", (10_000_000..20_000_000_000).contains(&tsc), tsc)?;
    let apic = read_msr(APIC_FREQUENCY).map_err(fault("APIC"))?;
    holds("APIC", (1_000_000..20_000_000_000).contains(&apic), apic)
}

pub fn reference_tsc_page() -> Outcome {
    if cpuid(0x4000_0003, 0)[0] >> 9 & 1 == 0 {
        crate::say!(
            "payload: reference-tsc-page is not offered: the time stamp counter is not trusted"
        );
        return Ok(());
    }
    write_msr(REFERENCE_TSC, TSC_PAGE.address() | 1).map_err(fault("write"))?;
    holds(
        "sequence",
        TSC_PAGE.read(0) & 0xffff_ffff != 0,
        TSC_PAGE.read(0),
    )?;
    let (scale, offset) = (TSC_PAGE.read(8), TSC_PAGE.read(16));
    for _ in 0..10 {
        let before = now();
        let by_page = ((u128::from(tsc()) * u128::from(scale)) >> 64) as u64;
        let by_page = by_page.wrapping_add(offset);
        let after = now();
        holds(
            "not before the counter",
            by_page + 20 >= before,
            before.wrapping_sub(by_page),
        )?;
        holds(
            "not behind the counter",
            by_page <= after + 20,
            by_page.wrapping_sub(after),
        )?;
    }
    write_msr(REFERENCE_TSC, 0).map_err(fault("disable"))?;
    equal(
        "disabled",
        read_msr(REFERENCE_TSC).map_err(fault("read"))? & 1,
        0,
    )
}
