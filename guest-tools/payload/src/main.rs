//! A tiny guest that exercises the virtual processor, entered in long mode by `vmm payload`.
//!
//! Built for the bare machine: `cargo build --target x86_64-unknown-none -p payload`. It writes
//! `payload: TEST ok` or `payload: TEST FAILED: why` to the serial port and ends with
//! `payload: N passed, M failed`; the vmm's exit code is 0 when nothing failed.
//!
//! What is absent: a heap, firmware, paging of its own. Everything below is `unsafe` of the kind
//! that a kernel needs: this program *is* the guest, and may harm nothing but itself.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod apic;
#[cfg(target_os = "none")]
mod assist;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod options;
#[cfg(target_os = "none")]
mod page;
#[cfg(target_os = "none")]
mod processors;
#[cfg(target_os = "none")]
mod pvh;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod serial;
#[cfg(target_os = "none")]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "payload: a guest of its own; build it with --target x86_64-unknown-none and start it by vmm payload"
    );
    std::process::exit(1);
}
