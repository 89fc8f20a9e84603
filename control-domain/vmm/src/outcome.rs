//! How a machine's run ends.

/// Why the processors were stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest asked for a reset.
    Reset,
    /// The guest powered off; a test payload gives a code.
    PoweredOff(u8),
    /// A processor met a fault while it delivered a double fault.
    TripleFault(String),
    /// The vmm or the hypervisor can't go on with this guest.
    Failed(String),
}
