//! What is left to do after a guest's write.

use crate::apic::Ipi;
use crate::hyperv::Overlay;

/// What is left to do after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Send this message (it may be for the sender as well).
    SendIpi(Ipi),
    /// A level-triggered interrupt ended: tell the IOAPIC its vector.
    EndOfInterrupt(u8),
    /// Place, move or take away an overlay page.
    Overlay(Overlay),
    /// The guest-physical page of the xAPIC registers: `None` while disabled or in x2APIC mode.
    ApicPage(Option<u64>),
    /// Load EFER; the world switch may refuse it with #GP.
    Efer(u64),
    /// Load PAT; the value is legal.
    Pat(u64),
    /// Load this difference, guest TSC minus physical TSC.
    TscOffset(u64),
    /// Execute an indirect branch prediction barrier if the CPU has one.
    PredictionBarrier,
    /// The guest reports a crash: parameters P0 to P4 and the control register.
    Crash([u64; 6]),
    /// The guest asks for a reset of the machine.
    Reset,
}
