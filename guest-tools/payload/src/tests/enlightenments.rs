//! What tells a guest that it is on Hyper-V's interface (TLFS 2, 3).

use crate::cpu::{read_msr, write_msr};
use crate::options::Options;
use crate::page::Page;
use crate::report::{Failure, Outcome, equal, holds};

const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const VP_INDEX: u32 = 0x4000_0002;

static HYPERCALL_PAGE: Page = Page::new();

/// HV_STATUS_INVALID_HYPERCALL_CODE.
const INVALID_CODE: u64 = 2;
/// HV_STATUS_INVALID_CONNECTION_ID.
const INVALID_CONNECTION: u64 = 0x12;

pub fn cpuid() -> Outcome {
    holds("hypervisor bit", cpuid_leaf(1)[2] >> 31 == 1, 0)?;
    let [max, a, b, c] = cpuid_leaf(0x4000_0000);
    holds(
        "highest leaf",
        (0x4000_0005..=0x4000_ffff).contains(&max),
        max.into(),
    )?;
    let name = [a, b, c].map(u32::to_le_bytes);
    holds("vendor", name.as_flattened() == b"Microsoft Hv", a.into())?;
    equal(
        "interface",
        cpuid_leaf(0x4000_0001)[0].into(),
        u32::from_le_bytes(*b"Hv#1").into(),
    )?;
    let [features, privileges, _, more] = cpuid_leaf(0x4000_0003).map(u64::from);
    // Counter, SynIC, timers, hypercalls, VP index, frequencies.
    let wanted = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 11;
    equal("features", features & wanted, wanted)?;
    equal("messages and events", privileges & 0x30, 0x30)?;
    // A root partition, or one that knows its id, has duties that nobody serves.
    equal("root and partition id", privileges & (1 << 12 | 1 << 1), 0)?;
    equal("frequency MSRs", more >> 8 & 1, 1)?;
    holds(
        "most processors",
        cpuid_leaf(0x4000_0005)[0] >= Options::get().processors as u32,
        0,
    )
}

fn cpuid_leaf(leaf: u32) -> [u32; 4] {
    crate::cpu::cpuid(leaf, 0)
}

/// An exception where none should be.
pub fn fault(what: &'static str) -> impl Fn(crate::interrupts::Fault) -> Failure {
    move |fault| Failure {
        what,
        found: fault.vector.into(),
        expected: 0,
    }
}

pub fn guest_os_id() -> Outcome {
    let id = 0x8100_0001_0002_0003;
    write_msr(GUEST_OS_ID, id).map_err(fault("write"))?;
    equal(
        "read back",
        read_msr(GUEST_OS_ID).map_err(fault("read"))?,
        id,
    )
}

/// Calls through the page: control, input, output.
pub fn hypercall(control: u64, input: u64, output: u64) -> u64 {
    let result;
    // SAFETY: the page holds the hypervisor's code, which changes RAX only besides the registers
    // that a call names.
    unsafe {
        core::arch::asm!("call {page}", page = in(reg) HYPERCALL_PAGE.address(),
            inout("rcx") control => _, inout("rdx") input => _, inout("r8") output => _, lateout("rax") result,
            out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// Where the page lies.
pub fn hypercall_page_address() -> u64 {
    HYPERCALL_PAGE.address()
}

/// Switches the page on, once the guest has an id.
pub fn enable_hypercalls() -> Outcome {
    write_msr(GUEST_OS_ID, 0x8100_0000_0000_0001).map_err(fault("guest id"))?;
    write_msr(HYPERCALL, HYPERCALL_PAGE.address() | 1).map_err(fault("page"))?;
    let value = read_msr(HYPERCALL).map_err(fault("page"))?;
    equal("page", value, HYPERCALL_PAGE.address() | 1)
}

pub fn hypercall_page() -> Outcome {
    write_msr(GUEST_OS_ID, 0).map_err(fault("guest id"))?;
    let _ = write_msr(HYPERCALL, HYPERCALL_PAGE.address() | 1);
    let enabled = read_msr(HYPERCALL).map_err(fault("page"))? & 1;
    equal("enabled without a guest id", enabled, 0)?;
    enable_hypercalls()?;
    // ENDBR64, or a kernel with indirect branch tracking could not call it.
    equal(
        "first instruction",
        HYPERCALL_PAGE.read(0) & 0xffff_ffff,
        0xfa1e_0ff3,
    )?;
    equal(
        "unknown call",
        hypercall(0xffff, 0, 0) & 0xffff,
        INVALID_CODE,
    )?;
    let before = HYPERCALL_PAGE.read(0);
    // The page can't be written, and doing so does not kill.
    let _ = crate::cpu::write_memory(HYPERCALL_PAGE.address(), 0);
    equal("contents after a write", HYPERCALL_PAGE.read(0), before)?;
    // Fast HvSignalEvent to a connection that is nobody's.
    let status = hypercall(0x1_005d, 0xffff_ffff, 0) & 0xffff;
    equal("unknown connection", status, INVALID_CONNECTION)
}

pub fn vp_index() -> Outcome {
    equal(
        "bootstrap processor",
        read_msr(VP_INDEX).map_err(fault("read"))?,
        0,
    )
}
