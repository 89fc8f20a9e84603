//! The VP assist page of the first processor: ends of interrupts that need not be told (TLFS, EOI Assist).

use crate::cpu::write_msr;
use crate::interrupts::Fault;
use crate::page::Page;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

const VP_ASSIST_PAGE: u32 = 0x4000_0073;
const NO_EOI_REQUIRED: u64 = 1;

static PAGE: Page = Page::new();
static ENABLED: AtomicBool = AtomicBool::new(false);
/// Ends that were not told.
static UNTOLD: AtomicU32 = AtomicU32::new(0);

/// Places the page, or takes it away.
pub fn enable(enabled: bool) -> Result<(), Fault> {
    let place = if enabled { PAGE.address() | 1 } else { 0 };
    ENABLED.store(enabled, SeqCst);
    write_msr(VP_ASSIST_PAGE, place)
}

/// In a handler of the first processor, at its end: need the end not be told?
pub fn end_is_untold() -> bool {
    let untold = ENABLED.load(SeqCst) && PAGE.take(0) & NO_EOI_REQUIRED != 0;
    UNTOLD.fetch_add(untold.into(), SeqCst);
    untold
}

/// How many ends were not told so far.
pub fn untold() -> u32 {
    UNTOLD.load(SeqCst)
}
